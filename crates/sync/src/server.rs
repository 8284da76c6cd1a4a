//! One replica of the service: sessions, documents, its peers, and the port that the operator steers it by.

pub mod authentication;
mod control;
pub mod documents;
mod drain;
mod handshake;
mod http;
mod hub;
mod leases;
mod numbers;
pub mod peers;
mod port;
mod service;
mod session;
pub mod streams;
pub mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use pointsman_replication::{COPIES, Copies};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use hub::Hub;
use service::Service;
pub use service::{Application, AuthenticationOptions, Limits};

use crate::spaces::Spaces;
use crate::store::{Directory, Memory, Store, StoreError};

/// An operator repeats its orders every second or so; one that is silent for longer has lost interest or its life.
pub const ORDER_WITHIN: Duration = Duration::from_secs(30);

/// Connections to the control port: the operator, the kubelet, a scraper, the peers.
const CONTROL_CONNECTIONS_MAX: usize = 512;
/// Clients that a dead replica lost come all at once; the usual 128 would make some of them wait for a second.
const BACKLOG: u32 = 4_096;
/// Sessions that are closed take no longer to go.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// The last state takes no longer to hand over.
const FLUSHED_WITHIN: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Where a replica writes down who it was.
const REPLICA: &str = "replica";

/// How a replica is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where sessions are served.
    pub listen: SocketAddr,
    /// Where the control endpoints are served; on `listen` when absent.
    pub control: Option<SocketAddr>,
    /// File with the bearer tokens of `/sessions` and `/peer`, one a line; open to everybody when absent.
    pub control_token_file: Option<PathBuf>,
    /// Revision that sessions are told.
    pub revision: String,
    /// Control addresses of other replicas, `host:port`.
    pub peers: Vec<String>,
    /// A name whose addresses are all other replicas, `host:port`; looked up every second.
    pub peers_dns: Option<String>,
    /// Percent of calls that fail on purpose, for demonstrations.
    pub fail_rate_percent: u8,
    /// How long to stay open after SIGTERM, so that endpoints and gateways can forget this pod.
    pub drain_delay: Duration,
    /// Time between two sessions told to move when nobody ordered a rate.
    pub drain_interval: Duration,
    /// After this long a shutdown cuts what is left.
    pub drain_deadline: Duration,
    /// An order that is not repeated for so long is over.
    pub order_within: Duration,
    /// A session that was told to move and is still there after this long is closed.
    pub moved_within: Duration,
    /// What was lost between replicas is made good this often.
    pub relay_every: Duration,
    /// Documents that there may be.
    pub spaces: Spaces,
    /// A connection that has sent no request after this long is closed.
    pub header_within: Duration,
    /// New sessions per second that it tells the operator it can take; no limit when absent.
    pub handshakes_per_second: Option<u32>,
    /// Sessions at most; more are refused with 503.
    pub sessions_max: usize,
    /// Directory for documents and files; in memory when absent.
    pub data: Option<PathBuf>,
    /// Who may come in.
    pub authentication: AuthenticationOptions,
    /// Origins whose pages may use `/api`; `*` for all. None when empty.
    pub allow_origins: Vec<String>,
    /// What a client may use.
    pub limits: Limits,
}

impl Options {
    /// A replica on loopback for tests and trying.
    #[must_use]
    pub fn local(revision: &str) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: None,
            control_token_file: None,
            revision: revision.to_owned(),
            peers: Vec::new(),
            peers_dns: None,
            fail_rate_percent: 0,
            drain_delay: Duration::from_millis(5_000),
            drain_interval: Duration::from_millis(50),
            drain_deadline: Duration::from_secs(60),
            order_within: ORDER_WITHIN,
            moved_within: Duration::from_secs(30),
            relay_every: Duration::from_secs(2),
            spaces: rooms(COPIES),
            header_within: Duration::from_secs(5),
            handshakes_per_second: None,
            sessions_max: 10_000,
            data: None,
            authentication: AuthenticationOptions::default(),
            allow_origins: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// The space of the example application: rooms, each held by so many replicas.
#[must_use]
pub fn rooms(copies: usize) -> Spaces {
    const ROOMS: &str = r#"{
        "likes": {"type": "g-counter"}, "tags": {"type": "2p-set"}, "inventory": {"type": "map"},
        "presence": {"type": "map"}, "counts": {"type": "map"}, "title": {"type": "lww-register"},
        "open": {"type": "enable-wins-flag"}, "locked": {"type": "disable-wins-flag"}, "links": {"type": "or-graph"},
        "agenda": {"type": "list"}, "notes": {"type": "text"}
    }"#;
    // A test reads it, so it has no fault.
    Spaces::default()
        .with("rooms/", ROOMS, Copies::Placed(copies))
        .unwrap_or_default()
}

/// Why a replica could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option makes no sense.
    #[error("{field}: {fix}")]
    Option {
        /// Which.
        field: &'static str,
        /// What to give instead.
        fix: &'static str,
    },
    /// An address cannot be bound. Trying again may help once nobody else has it.
    #[error("{field} {address} cannot be bound: {source}")]
    Bind {
        /// Which option.
        field: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The directory of documents cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory of the data cannot be used.
    #[error("data {} cannot be used: {source}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The keys of tokens cannot be used.
    #[error("{field} {source}")]
    Keys {
        /// Which option.
        field: &'static str,
        /// Why.
        source: authentication::KeyError,
    },
    /// The file of tokens cannot be read.
    #[error("control-token-file {} cannot be read: {source}", file.display())]
    Tokens {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// True for what may name a revision: it goes into labels and URLs as it is.
pub(crate) fn is_revision(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A replica that runs.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    /// Where sessions are served.
    pub address: SocketAddr,
    /// Where the control endpoints are served.
    pub control: SocketAddr,
}

impl Server {
    /// Checks the options, binds the ports and serves.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        Self::start_with(options, Application::of(Vec::new())).await
    }

    /// As [`Server::start`], with what an application brings.
    pub async fn start_with(options: Options, application: Application) -> Result<Self, StartError> {
        check(&options).await?;
        let service = Service::new(&options, application).await?;
        let (sessions, address) = bind("listen", options.listen).await?;
        let control = match options.control {
            Some(listen) => Some(bind("control", listen).await?),
            None => None,
        };
        let store: Arc<dyn Store> = match &options.data {
            Some(path) => Arc::new(Directory::open(path)?),
            None => Arc::new(Memory::default()),
        };
        let used = numbers::load(store.as_ref());
        let hub = Arc::new(Hub::with(options, service, store));
        let weak = Arc::downgrade(&hub);
        hub.peers.set_handler(Box::new(move |from, method, payload| {
            match weak.upgrade().filter(|_| method == session::elsewhere::METHOD) {
                Some(hub) => session::elsewhere::answer(&hub, from, &payload),
                None => Box::pin(async { (404, bytes::Bytes::new()) }),
            }
        }));
        // Before anybody is told of this process.
        hub.peers.know(used);
        let router = control::router();
        let upgrade = any(session::upgrade);
        let control_address = if let Some((listener, control_address)) = control {
            hub.serve(listener, router, CONTROL_CONNECTIONS_MAX);
            let router = Router::new().route("/healthz", get(|| async { "ok\n" }));
            let router = router.merge(http::router(&hub)).fallback(upgrade);
            hub.serve(sessions, router, hub.connections_max());
            control_address
        } else {
            let router = router.merge(http::router(&hub)).fallback(upgrade);
            hub.serve(sessions, router, hub.connections_max());
            address
        };
        let (all_tried, tried) = watch::channel(false);
        for task in [
            Box::pin(drain::run(Arc::clone(&hub))) as Pin<Box<dyn Future<Output = ()> + Send>>,
            Box::pin(peers::run(Arc::clone(&hub), all_tried)),
            Box::pin(join(Arc::clone(&hub), tried)),
            Box::pin(numbers::run(Arc::clone(&hub))),
            Box::pin(tick(Arc::clone(&hub))),
        ] {
            let ended = hub.ended.clone();
            tokio::spawn(async move { ended.run_until_cancelled(task).await });
        }
        Ok(Self {
            hub,
            address,
            control: control_address,
        })
    }

    /// Number of this replica.
    #[must_use]
    pub fn replica(&self) -> u64 {
        self.hub.replica
    }

    /// Sessions that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.hub.open()
    }

    /// Other replicas that hold what this one has, and hear of each write.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.hub.peers.members().len()
    }

    /// The replica of documents, once this one is a member.
    #[must_use]
    pub fn member(&self) -> Option<pointsman_crdt::Replica> {
        self.hub.peers.me()
    }

    /// The documents, for units and tests.
    #[must_use]
    pub fn documents(&self) -> &Arc<documents::Documents> {
        &self.hub.documents
    }

    /// Waits until this replica is a member, so that documents open.
    pub async fn is_member(&self) {
        self.hub.peers.is_member().await;
    }

    /// Waits until another process turns out to be the same replica, so that this one has to end.
    pub async fn must_end(&self) {
        self.hub.peers.twice.notified().await;
    }

    /// Ends the way SIGTERM does: not ready, wait, paced drain, what is left closed, documents handed over. With a
    /// deadline of zero nobody is asked to move and everybody is closed at once.
    pub async fn shutdown(self) {
        let hub = &self.hub;
        hub.stop_being_ready();
        // The others take over what is held here while sessions move.
        hub.peers.drain();
        hub.documents.look();
        tracing::info!(open = hub.open(), "ending: no longer ready");
        tokio::time::sleep(hub.options.drain_delay).await;
        if !hub.options.drain_deadline.is_zero() {
            hub.order_everybody_out();
            let _ = tokio::time::timeout(hub.options.drain_deadline, hub.wait_until_empty()).await;
        }
        hub.tell_everybody(&hub::Told::Close);
        let _ = tokio::time::timeout(CLOSED_WITHIN, hub.wait_until_empty()).await;
        // Nobody to hand over to when alone: then what is stored stays stored.
        if !hub.peers.members().is_empty()
            && tokio::time::timeout(FLUSHED_WITHIN, hub.documents.handed_over())
                .await
                .is_err()
        {
            tracing::warn!(
                documents = hub.documents.count(),
                "not everything was handed over"
            );
        }
        hub.peers.leave();
        // Time for the last words to go out.
        tokio::time::sleep(LAST_WORDS).await;
        tracing::info!(open = hub.open(), "ended");
        self.stop();
    }

    /// Cuts every session without a word, as a lost network would; the replica goes on.
    pub fn cut(&self) {
        self.hub.tell_everybody(&hub::Told::Cut);
    }

    /// Ends at once, as a crash would.
    pub fn stop(self) {
        self.hub.ended.cancel();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hub.ended.cancel();
    }
}

impl Hub {
    /// Beyond the sessions some room to refuse more of them in words.
    fn connections_max(&self) -> usize {
        self.options.sessions_max.saturating_add(CONTROL_CONNECTIONS_MAX)
    }

    fn serve(self: &Arc<Self>, listener: TcpListener, router: Router<Arc<Self>>, connections_max: usize) {
        let port = port::Port {
            listener,
            router: router.with_state(Arc::clone(self)),
            connections_max: connections_max.min(tokio::sync::Semaphore::MAX_PERMITS),
            header_within: self.options.header_within,
            ended: self.ended.clone(),
        };
        tokio::spawn(port.serve());
    }
}

/// Becomes a member, and opens what is stored here.
async fn join(hub: Arc<Hub>, tried: watch::Receiver<bool>) {
    let stored = hub.documents.store.get(REPLICA).ok().flatten();
    let stored = stored.and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).ok()?;
        let (slot, incarnation) = text.split_once('/')?;
        pointsman_crdt::Replica::new(slot.parse().ok()?, incarnation.parse().ok()?)
    });
    // The last one may have ended before it wrote down all numbers.
    hub.peers.know(stored);
    let replica = hub.peers.enter(&tried, stored).await;
    // Before the first dot is made: whoever starts again from this directory goes on after it.
    let text = format!("{}/{}", replica.slot(), replica.incarnation());
    if let Err(error) = hub.documents.store.set(REPLICA, text.as_bytes()) {
        tracing::error!(%error, "the storage does not work");
    }
    hub.documents.open_stored();
    tracing::info!(?replica, "a member");
    hub.set_joined();
}

async fn tick(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(hub.options.relay_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.peers.tick();
        hub.documents.tick();
    }
}

async fn bind(field: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A replica that is started again does not wait for the sockets of the last one.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    bound().await.map_err(|source| StartError::Bind {
        field,
        address,
        source,
    })
}

async fn check(options: &Options) -> Result<(), StartError> {
    let wrong = |field, fix| Err(StartError::Option { field, fix });
    if !is_revision(&options.revision) {
        return wrong("revision", "give 1 to 63 letters, digits, '-', '_' and '.'");
    }
    let has_port = |address: &str| {
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        let port = address
            .rsplit_once(':')
            .map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        port == Some(true)
    };
    if !options.peers.iter().all(|peer| has_port(peer)) {
        return wrong(
            "peer",
            "give the control address of a replica, such as http://127.0.0.1:8081",
        );
    }
    if options.peers_dns.as_deref().is_some_and(|name| !has_port(name)) {
        return wrong(
            "peers-dns",
            "give a name and a port, such as chat-peers.default.svc:8081",
        );
    }
    if options.sessions_max == 0 {
        return wrong("sessions-max", "give at least 1");
    }
    if let Some(file) = &options.control_token_file {
        // Later it may be missing for a moment while it is rotated; now that is a mistake.
        tokio::fs::read(file).await.map_err(|source| StartError::Tokens {
            file: file.clone(),
            source,
        })?;
    }
    Ok(())
}
