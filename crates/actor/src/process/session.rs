//! One connection to a worker, from this side.

use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::WorkerSettings;
use super::frame::{self, Down, Up, VERSION};
use super::link::{Link, Out, Table};
use super::supervisor::Waiting;
use crate::handle::{Order, State};

/// Frames that are put into one write.
const BATCH_MAX: usize = 256;
/// No more is put into one write after so many bytes.
const WRITE_BYTES: usize = 64 << 10;
/// What a process has written before its end is read within this.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Left {
    /// Somebody stopped the worker.
    Stopped,
    /// By itself.
    Failed(String),
}

type Frames = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

/// Runs until the process ends, breaks the protocol or is to stop.
pub(super) async fn run(
    link: &Link,
    waiting: &mut Waiting,
    settings: &WorkerSettings,
    socket: UnixStream,
    child: &mut Child,
) -> Left {
    let (read, write) = socket.into_split();
    let mut frames = FramedRead::new(read, frame::codec(settings.message_bytes_max));
    tokio::select! {
        greeted = timeout(settings.start_within, greeted(&mut frames)) => match greeted {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Left::Failed(reason),
            Err(_) => return Left::Failed(format!("no greeting within {:?}", settings.start_within)),
        },
        () = link.stop.cancelled() => return Left::Stopped,
    }
    let mut reading = Box::pin(read_all(link, &mut frames));
    let mut writing = Box::pin(write_all(link, waiting, settings, write));
    let reason = tokio::select! {
        reason = &mut reading => return Left::Failed(reason),
        reason = &mut writing => reason,
        exited = child.wait() => match exited {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        () = link.stop.cancelled() => {
            // Half of the socket closes: the worker reads its end, ends its actors, says so and goes.
            drop(writing);
            let _ = timeout(settings.stop_within, reading).await;
            return Left::Stopped;
        }
    };
    let _ = timeout(LAST_WORDS_WITHIN, reading).await;
    Left::Failed(reason)
}

async fn greeted(frames: &mut Frames) -> Result<(), String> {
    let first = next(frames).await?;
    match frame::take::<Up>(&first)? {
        (Up::Hello { version: VERSION }, _) => Ok(()),
        (Up::Hello { version }, _) => Err(format!(
            "the worker speaks version {version}, not {VERSION}; start the same build"
        )),
        _ => Err("the worker does not greet".to_owned()),
    }
}

async fn next(frames: &mut Frames) -> Result<BytesMut, String> {
    match frames.next().await {
        Some(Ok(frame)) => Ok(frame),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the process ended".to_owned()),
    }
}

async fn read_all(link: &Link, frames: &mut Frames) -> String {
    loop {
        let read = next(frames).await;
        if let Err(reason) = read.and_then(|frame| heard(link, &frame)) {
            return reason;
        }
    }
}

fn heard(link: &Link, frame: &[u8]) -> Result<(), String> {
    let (up, body) = frame::take::<Up>(frame)?;
    match up {
        Up::Hello { .. } => return Err("the worker greets twice".to_owned()),
        Up::Taken { actor, count } => {
            let count = count as usize;
            let mut table = link.table();
            // It may have ended here before it did there.
            if let Some(entry) = table.actors.get_mut(&actor) {
                let left = entry.untaken.checked_sub(count);
                entry.untaken = left.ok_or("the worker takes more than it was sent")?;
                entry.closing.gate.room.add_permits(count);
            }
        }
        Up::Answer { number } => {
            let reply = link.table().pending.remove(&number);
            if let Some(Err(error)) = reply.map(|reply| reply.answered(body)) {
                tracing::error!(%error, "an answer that is not of the type that was asked for");
            }
        }
        Up::NoAnswer { number } => {
            let reply = link.table().pending.remove(&number);
            drop(reply);
        }
        Up::Is {
            actor,
            state: State::Ended(ending),
        } => link.end(actor, ending),
        Up::Is { actor, state } => {
            if let Some(entry) = link.table().actors.get(&actor) {
                entry.closing.set(state);
            }
        }
    }
    Ok(())
}

/// Ends only with an error; the queue cannot close, because the link has its other end.
async fn write_all(
    link: &Link,
    waiting: &mut Waiting,
    settings: &WorkerSettings,
    mut socket: OwnedWriteHalf,
) -> String {
    let mut buffer = BytesMut::new();
    let mut written = begin(link, settings, &mut buffer);
    loop {
        if let Err(reason) = written {
            return reason;
        }
        if let Err(error) = socket.write_all(&buffer).await {
            return format!("writing to the process: {error}");
        }
        buffer = frame::emptied(buffer);
        if waiting.batch.is_empty() {
            let mut received = Vec::with_capacity(BATCH_MAX);
            waiting.queue.recv_many(&mut received, BATCH_MAX).await;
            waiting.batch.extend(received);
        }
        written = fill(link, waiting, &mut buffer);
    }
}

/// The greeting, and the start of all actors there are: after a restart of the process they come before the messages.
fn begin(link: &Link, settings: &WorkerSettings, buffer: &mut BytesMut) -> Result<(), String> {
    let welcome = Down::Welcome {
        version: VERSION,
        message_bytes_max: u32::try_from(settings.message_bytes_max).unwrap_or(u32::MAX),
        stop_within_ms: milliseconds(settings.stop_within),
    };
    frame::put(buffer, &welcome, &[])?;
    let mut table = link.table();
    table.connected = true;
    let numbers: Vec<u32> = table.actors.keys().copied().collect();
    for number in numbers {
        start(&mut table, number, buffer)?;
    }
    Ok(())
}

fn fill(link: &Link, waiting: &mut Waiting, buffer: &mut BytesMut) -> Result<(), String> {
    let mut dropped = Vec::new();
    let mut table = link.table();
    while buffer.len() < WRITE_BYTES {
        let Some(out) = waiting.batch.pop_front() else {
            break;
        };
        write(&mut table, out, buffer, &mut dropped)?;
    }
    drop(table);
    drop(dropped);
    Ok(())
}

fn start(table: &mut Table, actor: u32, buffer: &mut BytesMut) -> Result<(), String> {
    match table.actors.get_mut(&actor) {
        Some(entry) if !entry.started => {
            entry.started = true;
            let header = Down::Start {
                actor,
                kind: entry.kind.to_owned(),
                settings: entry.settings.clone(),
            };
            frame::put(buffer, &header, &entry.argument)
        }
        _ => Ok(()),
    }
}

fn write(table: &mut Table, out: Out, buffer: &mut BytesMut, dropped: &mut Vec<Out>) -> Result<(), String> {
    match out {
        Out::Start(actor) => start(table, actor, buffer),
        Out::Deliver { actor, body, replies } => {
            let Some(entry) = table.actors.get_mut(&actor) else {
                dropped.push(Out::Deliver { actor, body, replies });
                return Ok(());
            };
            entry.untaken += 1;
            let header = Down::Deliver {
                actor,
                replies: replies.iter().map(|(number, _)| *number).collect(),
            };
            table.pending.extend(replies);
            frame::put(buffer, &header, &body)
        }
        Out::Unreferenced(actor) => {
            let Some(entry) = table.actors.get_mut(&actor) else {
                return Ok(());
            };
            entry.leaving = true;
            frame::put(buffer, &Down::Unreferenced { actor }, &[])
        }
        Out::Stop(actor) => {
            let Some(entry) = table.actors.get_mut(&actor) else {
                return Ok(());
            };
            entry.stop_queued = false;
            entry.leaving = true;
            let (Order::Drain(deadline) | Order::Now(deadline)) = entry.order else {
                return Ok(());
            };
            let within = deadline.saturating_duration_since(Instant::now());
            let header = Down::Stop {
                actor,
                drain: matches!(entry.order, Order::Drain(_)),
                within_ms: milliseconds(within),
            };
            frame::put(buffer, &header, &[])
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{any, proptest};
    use tokio::sync::mpsc;

    use super::*;
    use crate::handle::{Ending, Handle};
    use crate::mailbox::Gate;
    use crate::settings::Settings;

    fn frame(up: &Up, body: &[u8]) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        frame::put(&mut buffer, up, body).unwrap();
        buffer.split_off(4).to_vec()
    }

    /// A link with one actor, number 1, which has been sent two messages.
    fn link() -> (Arc<Link>, Handle, Arc<Gate>, mpsc::UnboundedReceiver<Out>) {
        let (sender, queue) = mpsc::unbounded_channel();
        let link = Arc::new(Link::new(sender, 1_000, tokio::runtime::Handle::current()));
        let settings = Settings::new("a", 2);
        let gate = Gate::new("a", 2);
        let (handle, state) = Handle::new(Arc::clone(&gate));
        let number = link.add("kind", settings, Vec::new(), &gate, state, &handle);
        assert_eq!(number.unwrap(), 1);
        gate.room.forget_permits(2);
        link.table().actors.get_mut(&1).unwrap().untaken = 2;
        (link, handle, gate, queue)
    }

    #[tokio::test]
    async fn a_worker_cannot_grant_more_room_than_there_is() {
        let (link, _handle, gate, _queue) = link();
        let taken = |actor, count| frame(&Up::Taken { actor, count }, &[]);
        assert_eq!(heard(&link, &taken(1, 1)), Ok(()));
        assert_eq!(gate.room.available_permits(), 1);
        heard(&link, &taken(1, 2)).unwrap_err();
        heard(&link, &taken(1, u32::MAX)).unwrap_err();
        assert_eq!(gate.room.available_permits(), 1);
        assert_eq!(heard(&link, &taken(9, 7)), Ok(()), "it may have ended here");
    }

    #[tokio::test]
    async fn unknown_numbers_do_no_harm() {
        let (link, handle, ..) = link();
        let number = u64::MAX;
        assert_eq!(heard(&link, &frame(&Up::Answer { number }, b"12")), Ok(()));
        assert_eq!(heard(&link, &frame(&Up::NoAnswer { number }, &[])), Ok(()));
        let ended = |actor| Up::Is {
            actor,
            state: State::Ended(Ending::Stopped),
        };
        assert_eq!(heard(&link, &frame(&ended(9), &[])), Ok(()));
        assert_eq!(handle.state(), State::Starting);
        assert_eq!(heard(&link, &frame(&ended(1), &[])), Ok(()));
        assert_eq!(handle.join().await, Ending::Stopped);
        heard(&link, &frame(&Up::Hello { version: VERSION }, &[])).unwrap_err();
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_an_error_or_a_frame(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (link, _handle, gate, _queue) = link();
                let _ = heard(&link, &bytes);
                assert!(gate.room.available_permits() <= 2);
            });
            let _ = frame::take::<Down>(&bytes);
        }
    }
}
