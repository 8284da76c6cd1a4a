//! A port: connections bounded in number, headers bounded in time. axum's own loop bounds neither.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const HEADER_BYTES_MAX: usize = 16 * 1024;

/// How a port is served.
pub(super) struct Port {
    pub(super) listener: TcpListener,
    pub(super) router: Router,
    /// Connections at most that are not WebSockets yet; more wait in the kernel's queue.
    pub(super) connections_max: usize,
    /// A connection that has sent no request after this long is closed.
    pub(super) header_within: Duration,
    pub(super) ended: CancellationToken,
}

impl Port {
    /// Serves until the replica ends.
    pub(super) async fn serve(self) {
        let places = Arc::new(Semaphore::new(self.connections_max));
        let ended = self.ended.clone();
        let _ = ended.run_until_cancelled(self.accept(places)).await;
    }

    async fn accept(self, places: Arc<Semaphore>) {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let socket = match self.listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (router, within, ended) = (self.router.clone(), self.header_within, self.ended.clone());
            tokio::spawn(async move {
                let _ = ended
                    .run_until_cancelled(connection(socket, router, within))
                    .await;
                drop(place);
            });
        }
    }
}

async fn connection(socket: TcpStream, router: Router, header_within: Duration) {
    // Packets are small and answers are waited for.
    let _ = socket.set_nodelay(true);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_within)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection broke");
    }
}
