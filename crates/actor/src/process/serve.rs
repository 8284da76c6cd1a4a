//! The other side: a process that runs actors for the one that started it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use futures::future::join_all;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::codec::FramedRead;

use super::VARIABLE;
use super::frame::{self, Down, Up, VERSION};
use super::host::{Back, Host, write_all};
use crate::actor::{Kind, MessageOf};
use crate::handle::{Ending, Handle, State, Stop};
use crate::reply::{self, AnswerSink};
use crate::runner;
use crate::settings::Settings;

/// Until the greeting says how long messages are.
const MESSAGE_BYTES_FIRST: usize = 4_096;

/// Whether this process was started to run actors: then call [`serve`] and nothing else.
///
/// A program that a worker starts inherits the variable `POINTSMAN_ACTOR_WORKER` and the socket as its standard input:
/// remove the one and replace the other.
pub fn is_worker() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Why a worker could not go on. Never retry here: the process that started it does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Standard input is not the socket of a worker.
    #[error(
        "standard input is no socket; only a Worker may start this program with POINTSMAN_ACTOR_WORKER set: {0}"
    )]
    NotAWorker(io::Error),
    /// The bytes are not of this protocol.
    #[error("{0}")]
    Protocol(String),
    /// The socket fails.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
}

/// Kinds of actors that this program can run, by name.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, StartKind>,
}

type StartKind = Box<dyn Fn(&[u8], Settings, &Arc<Host>, u32) -> Result<Hosted, String> + Send + Sync>;
type Deliver = Box<dyn Fn(&[u8]) -> Result<(), String> + Send>;

impl Registry {
    /// Without kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this kind too. Of two kinds with one name the later counts.
    #[must_use]
    pub fn with<K: Kind>(mut self) -> Self
    where
        MessageOf<K>: DeserializeOwned,
    {
        self.kinds.insert(K::NAME, Box::new(start::<K>));
        self
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.kinds.keys()).finish()
    }
}

/// One actor of this process.
pub(super) struct Hosted {
    /// Holds the only reference; gone when nobody on the other side has one.
    deliver: Option<Deliver>,
    handle: Handle,
}

impl Hosted {
    fn open(&self) -> Option<(&Deliver, &Handle)> {
        self.deliver.as_ref().map(|deliver| (deliver, &self.handle))
    }
}

fn start<K: Kind>(
    argument: &[u8],
    settings: Settings,
    host: &Arc<Host>,
    number: u32,
) -> Result<Hosted, String>
where
    MessageOf<K>: DeserializeOwned,
{
    let factory: K = postcard::from_bytes(argument).map_err(|error| format!("start argument: {error}"))?;
    settings.check().map_err(|error| error.to_string())?;
    let queue = host.queue.clone();
    let on_taken = Box::new(move || {
        let _ = queue.send(Back::Taken(number));
    });
    let (actor, handle, seat) = runner::open::<MessageOf<K>>(settings, Some(on_taken));
    tokio::spawn(runner::run(factory, seat));
    let sink: Arc<dyn AnswerSink> = Arc::<Host>::clone(host);
    let deliver: Deliver = Box::new(move |body: &[u8]| {
        let message = reply::decode(body, &sink).map_err(|error| error.to_string())?;
        actor.try_send(message).map_err(|error| error.to_string())
    });
    Ok(Hosted {
        deliver: Some(deliver),
        handle,
    })
}

/// Runs actors for the process that started this one, until that ends or wants this one to end. Then the actors are
/// stopped and it returns; end the program.
///
/// To be called on a tokio runtime; the actors run there. Standard input is taken.
pub async fn serve(registry: &Registry) -> Result<(), ServeError> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = std::os::unix::net::UnixStream::from(input);
    socket.peer_addr().map_err(ServeError::NotAWorker)?;
    socket.set_nonblocking(true)?;
    let (read, mut write) = UnixStream::from_std(socket)?.into_split();
    let mut buffer = BytesMut::new();
    frame::put(&mut buffer, &Up::Hello { version: VERSION }, &[]).map_err(ServeError::Protocol)?;
    if let Err(error) = write.write_all(&buffer).await {
        return gone(error);
    }
    let mut frames = FramedRead::new(read, frame::codec(MESSAGE_BYTES_FIRST));
    let (message_bytes_max, stop_within) = match frames.next().await {
        Some(Ok(first)) => welcomed(&first)?,
        Some(Err(error)) => return gone(error),
        None => return Ok(()),
    };
    *frames.decoder_mut() = frame::codec(message_bytes_max);
    let (queue, waiting) = mpsc::unbounded_channel();
    let host = Arc::new(Host::new(queue, message_bytes_max));
    let writing = tokio::spawn(write_all(waiting, write));
    let result = loop {
        match frames.next().await {
            None => break Ok(()),
            Some(Err(error)) => break gone(error),
            Some(Ok(frame)) => {
                if let Err(reason) = told(registry, &host, &frame) {
                    break Err(ServeError::Protocol(reason));
                }
            }
        }
    };
    end(&host, stop_within).await;
    // The other side may be gone, so that nothing can be written any more.
    let _ = timeout(stop_within, writing).await;
    result
}

/// That the other side has ended is no error.
fn gone(error: io::Error) -> Result<(), ServeError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(error.into()),
    }
}

fn welcomed(frame: &[u8]) -> Result<(usize, Duration), ServeError> {
    match frame::take::<Down>(frame).map_err(ServeError::Protocol)?.0 {
        Down::Welcome {
            version: VERSION,
            message_bytes_max,
            stop_within_ms,
        } => Ok((message_bytes_max as usize, Duration::from_millis(stop_within_ms))),
        Down::Welcome { version, .. } => Err(ServeError::Protocol(format!(
            "the other side speaks version {version}, not {VERSION}; start the same build"
        ))),
        _ => Err(ServeError::Protocol("the other side does not greet".to_owned())),
    }
}

fn told(registry: &Registry, host: &Arc<Host>, frame: &[u8]) -> Result<(), String> {
    let (down, body) = frame::take::<Down>(frame)?;
    match down {
        Down::Welcome { .. } => return Err("the other side greets twice".to_owned()),
        Down::Start {
            actor,
            kind,
            settings,
        } => begin(registry, host, actor, &kind, settings, body),
        Down::Deliver { actor, replies } => {
            let actors = host.actors();
            let hosted = actors.get(&actor);
            let Some((deliver, handle)) = hosted.and_then(Hosted::open) else {
                drop(actors);
                unanswered(host, &replies);
                return Ok(());
            };
            if let Err(reason) = deliver(body) {
                tracing::error!(actor = handle.name(), %reason, "a message was not delivered");
                drop(actors);
                unanswered(host, &replies);
                // Its room in the mailbox is free again.
                let _ = host.queue.send(Back::Taken(actor));
            }
        }
        Down::Unreferenced { actor } => {
            let mut actors = host.actors();
            let deliver = actors.get_mut(&actor).and_then(|hosted| hosted.deliver.take());
            drop(actors);
            drop(deliver);
        }
        Down::Stop {
            actor,
            drain,
            within_ms,
        } => {
            let within = Duration::from_millis(within_ms);
            if let Some(hosted) = host.actors().get(&actor) {
                let stop = if drain {
                    Stop::Drain(within)
                } else {
                    Stop::Now(within)
                };
                hosted.handle.order_stop(stop);
            }
        }
    }
    Ok(())
}

fn unanswered(host: &Host, replies: &[u64]) {
    for number in replies {
        let _ = host.queue.send(Back::NoAnswer(*number));
    }
}

fn begin(registry: &Registry, host: &Arc<Host>, actor: u32, kind: &str, settings: Settings, argument: &[u8]) {
    let started = match registry.kinds.get(kind) {
        Some(start) => start(argument, settings, host, actor),
        None => Err(format!(
            "the worker knows no kind of the name {kind}; add it to its registry"
        )),
    };
    match started {
        Ok(hosted) => {
            let mut states = hosted.handle.states();
            host.actors().insert(actor, hosted);
            let reporter = Arc::clone(host);
            host.reporters.spawn(async move {
                loop {
                    let state = states.borrow_and_update().clone();
                    let ended = matches!(state, State::Ended(_));
                    let _ = reporter.queue.send(Back::Is(actor, state));
                    if ended || states.changed().await.is_err() {
                        break;
                    }
                }
                let hosted = reporter.actors().remove(&actor);
                drop(hosted);
            });
        }
        Err(reason) => {
            tracing::error!(kind, %reason, "an actor was not started");
            let ended = State::Ended(Ending::Failed(reason));
            let _ = host.queue.send(Back::Is(actor, ended));
        }
    }
}

/// Ends all actors and reports it.
async fn end(host: &Host, within: Duration) {
    let actors: Vec<Handle> = host
        .actors()
        .values()
        .map(|hosted| hosted.handle.clone())
        .collect();
    join_all(actors.iter().map(|handle| handle.stop(Stop::Now(within)))).await;
    host.reporters.close();
    // One that holds its thread never reports its end.
    let _ = timeout(within, host.reporters.wait()).await;
    let _ = host.queue.send(Back::End);
}
