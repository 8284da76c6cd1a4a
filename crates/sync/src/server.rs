//! One replica of the service: sessions, documents, its peers, and the port that the operator steers it by.

mod control;
mod drain;
mod hub;
mod peers;
mod port;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use hub::Hub;

/// An operator repeats its orders every second or so; one that is silent for longer has lost interest or its life.
pub const ORDER_WITHIN: Duration = Duration::from_secs(30);

/// Connections to the control port: the operator, the kubelet, a scraper, the peers.
const CONTROL_CONNECTIONS_MAX: usize = 512;

/// How a replica is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where sessions are served.
    pub listen: SocketAddr,
    /// Where the control endpoints are served; on `listen` when absent.
    pub control: Option<SocketAddr>,
    /// File that holds the bearer token of `/sessions` and `/peer`; open to everybody when absent.
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
    /// Sessions at most; more are refused with 503.
    pub sessions_max: usize,
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
            sessions_max: 10_000,
        }
    }
}

/// A replica that runs.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    tasks: Vec<JoinHandle<()>>,
    /// Where sessions are served.
    pub address: SocketAddr,
    /// Where the control endpoints are served.
    pub control: SocketAddr,
}

impl Server {
    /// Binds the ports and serves. Fails when an address cannot be bound.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let sessions = TcpListener::bind(options.listen).await?;
        let address = sessions.local_addr()?;
        let hub = Arc::new(Hub::new(options.clone()));
        let mut tasks = Vec::new();
        // Beyond the sessions some room to refuse more of them in words.
        let connections_max = options.sessions_max.saturating_add(CONTROL_CONNECTIONS_MAX);
        let socket = Router::new().fallback(any(session::upgrade));
        let control = match options.control {
            None => {
                let both = control::router()
                    .fallback(any(session::upgrade))
                    .with_state(Arc::clone(&hub));
                tasks.push(serve(sessions, both, connections_max));
                address
            }
            Some(listen) => {
                let listener = TcpListener::bind(listen).await?;
                let control = listener.local_addr()?;
                tasks.push(serve(
                    listener,
                    control::router().with_state(Arc::clone(&hub)),
                    CONTROL_CONNECTIONS_MAX,
                ));
                let socket = socket
                    .route("/healthz", get(|| async { "ok\n" }))
                    .with_state(Arc::clone(&hub));
                tasks.push(serve(sessions, socket, connections_max));
                control
            }
        };
        tasks.push(tokio::spawn(drain::run(Arc::clone(&hub))));
        tasks.push(tokio::spawn(peers::run(Arc::clone(&hub))));
        Ok(Self {
            hub,
            tasks,
            address,
            control,
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

    /// Other replicas that are connected now.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.hub.peers()
    }

    /// Ends the way SIGTERM does: not ready, wait, paced drain, last state to every peer.
    pub async fn shutdown(self) {
        self.hub.stop_being_ready();
        tokio::time::sleep(self.hub.options.drain_delay).await;
        self.hub.order_everybody_out();
        let _ = tokio::time::timeout(self.hub.options.drain_deadline, self.hub.wait_until_empty()).await;
        let _ = tokio::time::timeout(Duration::from_secs(3), peers::push_everything(&self.hub)).await;
        self.stop();
    }

    /// Cuts every session without a word, as a lost network would; the replica goes on.
    pub fn cut(&self) {
        self.hub.cut_everybody();
    }

    /// Ends at once, as a crash would.
    pub fn stop(self) {
        self.hub.cut_everybody();
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn serve(listener: TcpListener, router: Router, connections_max: usize) -> JoinHandle<()> {
    tokio::spawn(port::serve(listener, router, connections_max))
}
