//! Clients: sockets of one process, from several loopback addresses so that ports do not run out.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::SinkExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::dialect::{Dialect, Heard, ROOM, dialect};
use crate::server::{Server, Subject};

/// Only a broken server is that slow.
pub const WITHIN: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 32;
const CLIENTS_PER_ADDRESS: usize = 4_000;

/// One client.
pub struct Member {
    socket: WebSocketStream<TcpStream>,
    pub dialect: Box<dyn Dialect>,
}

impl Member {
    async fn connect(subject: Subject, address: SocketAddr, number: usize) -> Result<Self> {
        let last = u8::try_from(2 + number / CLIENTS_PER_ADDRESS)?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{address}/{ROOM}").into_client_request()?;
        if subject == Subject::Pointsman {
            let protocol = HeaderValue::from_static(pointsman_wire::SUBPROTOCOL);
            request.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(64 * 1024);
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self {
            socket,
            dialect: dialect(subject),
        })
    }

    /// Opens the document.
    pub async fn join(mut self) -> Result<Self> {
        let messages = self.dialect.join()?;
        if messages.is_empty() {
            return Ok(self);
        }
        self.send(messages).await?;
        let joined = async {
            while !self.next().await?.0.joined {}
            anyhow::Ok(())
        };
        tokio::time::timeout(WITHIN, joined)
            .await
            .context("a document that opens")??;
        Ok(self)
    }

    pub async fn send(&mut self, messages: Vec<Bytes>) -> Result<()> {
        for message in messages {
            self.socket.feed(Message::Binary(message)).await?;
        }
        Ok(self.socket.flush().await?)
    }

    /// The next message and its bytes; answers what wants an answer.
    pub async fn next(&mut self) -> Result<(Heard, usize)> {
        loop {
            match self
                .socket
                .next()
                .await
                .context("the server ended the connection")??
            {
                Message::Binary(message) => {
                    let mut heard = self.dialect.hear(&message)?;
                    let replies = std::mem::take(&mut heard.replies);
                    if !replies.is_empty() {
                        self.send(replies).await?;
                    }
                    return Ok((heard, message.len()));
                }
                Message::Close(reason) => bail!("the server closed the connection: {reason:?}"),
                _ => {}
            }
        }
    }
}

/// So many clients, with a socket each and no document yet.
pub async fn connect(server: &Server, count: usize) -> Result<Vec<Member>> {
    let (subject, address) = (server.subject, server.address);
    stream::iter((0..count).map(|number| Member::connect(subject, address, number)))
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .with_context(|| format!("{count} connections; each needs a file at both ends, see `ulimit -n`"))
}

/// Lets all open the document.
pub async fn join(members: Vec<Member>) -> Result<Vec<Member>> {
    stream::iter(members.into_iter().map(Member::join))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// What subscribers have heard.
#[derive(Default)]
pub struct Board {
    /// The change that is waited for.
    target: AtomicU64,
    there: AtomicU64,
    /// Changes that reached subscribers, each counted for each of them.
    pub deliveries: AtomicU64,
    pub messages: AtomicU64,
    pub bytes: AtomicU64,
    pub all_there: Notify,
    failure: Mutex<Option<anyhow::Error>>,
    subscribers: u64,
}

impl Board {
    pub fn new(subscribers: usize) -> Arc<Self> {
        Arc::new(Self {
            subscribers: subscribers as u64,
            ..Self::default()
        })
    }

    /// From now on that change is waited for; it is not sent yet.
    pub fn wait_for(&self, target: u64) {
        self.there.store(0, Ordering::Relaxed);
        self.target.store(target, Ordering::Relaxed);
    }

    /// Whether all subscribers have it.
    pub fn are_all_there(&self) -> Result<bool> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(failure) => Err(failure),
            None => Ok(self.there.load(Ordering::Relaxed) == self.subscribers),
        }
    }

    fn heard(&self, last: &mut u64, heard: &Heard, bytes: usize) {
        let Some(reached) = heard.reached.filter(|reached| reached > last) else {
            return;
        };
        self.deliveries.fetch_add(reached - *last, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let target = self.target.load(Ordering::Relaxed);
        if *last < target && reached >= target {
            let there = self.there.fetch_add(1, Ordering::Relaxed) + 1;
            if there == self.subscribers {
                self.all_there.notify_one();
            }
        }
        *last = reached;
    }
}

/// Reads what a subscriber is told, for as long as there is somebody to tell it.
pub async fn follow(mut member: Member, board: Arc<Board>) {
    let mut last = 0;
    loop {
        match member.next().await {
            Ok((heard, bytes)) => board.heard(&mut last, &heard, bytes),
            Err(error) => {
                *board.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                board.all_there.notify_one();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_counts_once_for_each_subscriber() {
        let board = Board::new(2);
        board.wait_for(5);
        let (mut one, mut two) = (0, 0);
        let reached = |number| Heard {
            reached: Some(number),
            ..Heard::default()
        };
        board.heard(&mut one, &reached(5), 40);
        // Again, and older: no news.
        board.heard(&mut one, &reached(5), 40);
        board.heard(&mut one, &reached(3), 40);
        assert!(!board.are_all_there().unwrap());
        (1..=5).for_each(|number| board.heard(&mut two, &reached(number), 40));
        assert!(board.are_all_there().unwrap());
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(
            (of(&board.deliveries), of(&board.messages), of(&board.bytes)),
            (10, 6, 240)
        );
    }
}
