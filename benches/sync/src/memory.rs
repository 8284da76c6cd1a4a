//! What an idle connection holds in a server's memory.

use anyhow::Result;

use crate::crowd;
use crate::server::{Server, Subject};

/// Bytes for each connection: right after the handshake, and with the document open.
pub async fn measure(subject: Subject, connections: usize) -> Result<[f64; 2]> {
    let mut server = Server::start(subject).await?;
    // What the first ones cost is the program's.
    let first = crowd::join(crowd::connect(&server, 50).await?).await?;
    let before = server.settled_memory().await?;
    let members = crowd::connect(&server, connections).await?;
    let idle = server.settled_memory().await?;
    let members = crowd::join(members).await?;
    let opened = server.settled_memory().await?;
    drop((first, members));
    server.stop().await?;
    let each = |after: u64| after.saturating_sub(before) as f64 / connections as f64;
    Ok([each(idle), each(opened)])
}
