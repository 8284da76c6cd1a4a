//! The servers that are measured: each is a process of its own, so that what it costs is nobody else's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const READY_WITHIN: Duration = Duration::from_secs(60);
const COLLECTED_WITHIN: Duration = Duration::from_secs(60);
/// Linux tells CPU time in this unit, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Pointsman,
    Ws,
    YWebsocket,
    Hocuspocus,
}

impl Subject {
    pub const ALL: [Self; 4] = [Self::Pointsman, Self::Ws, Self::YWebsocket, Self::Hocuspocus];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pointsman => "pointsman",
            Self::Ws => "ws",
            Self::YWebsocket => "y-websocket",
            Self::Hocuspocus => "hocuspocus",
        }
    }

    fn script(self) -> Option<&'static str> {
        match self {
            Self::Pointsman => None,
            Self::Ws => Some("ws.js"),
            Self::YWebsocket => Some("node_modules/y-websocket/bin/server.cjs"),
            Self::Hocuspocus => Some("hocuspocus.js"),
        }
    }

    fn command(self, address: SocketAddr) -> Command {
        let Some(script) = self.script() else {
            let mut command = Command::new(ours());
            command.args(["serve", "--sessions-max", "100000", "--listen"]);
            command.arg(address.to_string()).env("RUST_LOG", "warn");
            return command;
        };
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let mut command = Command::new(peers.join("node_modules/.bin/node"));
        command.args(["--expose-gc", "--require", "./lifeline.cjs", script]);
        command.current_dir(peers).env("HOST", "127.0.0.1");
        command.env("PORT", address.port().to_string());
        command
    }
}

/// `POINTSMAN_SYNC`, else what `cargo build --release` makes.
fn ours() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/pointsman-sync");
    std::env::var_os("POINTSMAN_SYNC").map_or(built, PathBuf::from)
}

/// A server that runs until it is dropped.
pub struct Server {
    pub subject: Subject,
    pub address: SocketAddr,
    pub process: u32,
    child: Child,
    orders: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts one and waits until it takes connections.
    pub async fn start(subject: Subject) -> Result<Self> {
        // Free now; nobody else on this machine takes it in the moment that the server needs.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = subject.command(address);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("{} cannot be started; run `make bench-sync`", subject.name()))?;
        let orders = child.stdin.take().context("its input")?;
        let output = child.stdout.take().context("its output")?;
        let process = child.id().context("its id")?;
        let end = Instant::now() + READY_WITHIN;
        while !is_ready(subject, address).await {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended at once: {status}", subject.name());
            }
            if Instant::now() > end {
                bail!("{} takes no connections", subject.name());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let says = BufReader::new(output).lines();
        Ok(Self {
            subject,
            address,
            process,
            child,
            orders,
            says,
        })
    }

    pub fn cpu(&self) -> Result<Duration> {
        cpu(&self.process.to_string())
    }

    /// Bytes in memory, once they have settled and Node has collected its garbage.
    pub async fn settled_memory(&mut self) -> Result<u64> {
        let (mut last, end) = (0_u64, Instant::now() + COLLECTED_WITHIN);
        loop {
            self.collect().await?;
            let now = memory(self.process)?;
            if now.abs_diff(last) <= now / 500 || Instant::now() > end {
                return Ok(now);
            }
            last = now;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn collect(&mut self) -> Result<()> {
        if self.subject.script().is_none() {
            return Ok(());
        }
        self.orders.write_all(b"collect\n").await?;
        let collected = async {
            loop {
                match self.says.next_line().await? {
                    Some(line) if line == "collected" => return Ok(()),
                    Some(_) => {}
                    None => bail!("{} has ended", self.subject.name()),
                }
            }
        };
        tokio::time::timeout(COLLECTED_WITHIN, collected).await?
    }

    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Whether it takes connections; of ours also, whether it says that it is ready.
async fn is_ready(subject: Subject, address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return false;
    };
    if subject != Subject::Pointsman {
        return true;
    }
    let (request, mut answer) = (
        b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
        Vec::new(),
    );
    let asked = stream.write_all(request).await.is_ok() && stream.read_to_end(&mut answer).await.is_ok();
    asked && answer.starts_with(b"HTTP/1.1 200")
}

/// CPU time of all threads of a process so far: `self`, or its id.
pub fn cpu(process: &str) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program comes before, in brackets, and may have spaces.
    let (_, rest) = text.rsplit_once(')').context("its numbers")?;
    let ticks = |index: usize| -> Result<f64> {
        Ok(rest
            .split_whitespace()
            .nth(index)
            .context("its CPU time")?
            .parse()?)
    };
    Ok(Duration::from_secs_f64(
        (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
    ))
}

fn memory(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line
        .and_then(|line| line.split_whitespace().next())
        .context("its memory")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}
