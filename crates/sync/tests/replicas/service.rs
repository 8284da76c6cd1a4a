//! A service of several processes. Each replica is at a place whose address stays, so that the others find whatever
//! process is there now.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Only a broken build takes so long.
pub const LIMIT: Duration = Duration::from_secs(60);
const ASK_WITHIN: Duration = Duration::from_secs(20);
pub const COPIES: usize = 2;

/// Passes connections on to whoever is behind it now; to those with the revision that is asked for, when there are any,
/// one after the other.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    behind: Arc<Mutex<Vec<(String, SocketAddr)>>>,
    turn: Arc<AtomicUsize>,
}

impl Door {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Self {
            address: listener.local_addr().unwrap(),
            behind: Arc::default(),
            turn: Arc::default(),
        };
        let passes = door.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(passes.clone().pass(socket));
            }
        });
        door
    }

    async fn pass(self, mut socket: TcpStream) {
        let mut head = vec![0; 4_096];
        let read = socket.peek(&mut head).await.unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        let Some(to) = self.next(&head) else { return };
        if let Ok(mut server) = TcpStream::connect(to).await {
            let _ = server.set_nodelay(true);
            let _ = socket.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut socket, &mut server).await;
        }
    }

    fn next(&self, head: &str) -> Option<SocketAddr> {
        let behind = self.behind.lock().unwrap();
        let named = |(revision, _): &&(String, SocketAddr)| {
            head.lines()
                .next()
                .is_some_and(|line| line.contains(&format!("pointsman-revision={revision} ")))
        };
        let mut chosen: Vec<_> = behind.iter().filter(named).collect();
        if chosen.is_empty() {
            chosen = behind.iter().collect();
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (_, address) = chosen.get(turn % chosen.len().max(1))?;
        Some(*address)
    }

    fn set(&self, behind: Vec<(String, SocketAddr)>) {
        *self.behind.lock().unwrap() = behind;
    }
}

/// One process.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    revision: String,
    log: PathBuf,
}

impl Process {
    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs");
        let kill = format!("kill -{name} {id}");
        let status = std::process::Command::new("sh").args(["-c", &kill]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until it has ended; its code and what it said.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let said = std::fs::read_to_string(&self.log).unwrap();
        (status.expect("it ends").unwrap().code(), said)
    }
}

/// Where a process may be.
pub struct Place {
    door: Door,
    disk: TempDir,
    pub process: Option<Process>,
}

/// All places.
pub struct Service {
    /// Leads to every process.
    pub gateway: Door,
    pub places: Vec<Place>,
    logs: TempDir,
    started: usize,
}

impl Service {
    /// With so many places, and nothing there yet.
    pub async fn new(places: usize) -> Self {
        let mut service = Self {
            gateway: Door::open().await,
            places: Vec::new(),
            logs: tempfile::tempdir().unwrap(),
            started: 0,
        };
        for _ in 0..places {
            service.places.push(Place {
                door: Door::open().await,
                disk: tempfile::tempdir().unwrap(),
                process: None,
            });
        }
        service
    }

    /// Starts a process at a place, from the disk that is there.
    pub async fn start(&mut self, at: usize, revision: &str) {
        self.started += 1;
        let log = self.logs.path().join(format!("{}-of-{at}", self.started));
        let level = std::env::var("POINTSMAN_TEST_LOG").unwrap_or_else(|_| "info".to_owned());
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman-sync"));
        command
            .args(["serve", "--listen=127.0.0.1:0", "--drain-delay-ms=0"])
            .args(["--drain-interval-ms=5", &format!("--copies={COPIES}")])
            .arg(format!("--revision={revision}"))
            .arg(format!("--data={}", self.places[at].disk.path().display()))
            .env("RUST_LOG", level)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true);
        for place in &self.places {
            command.arg(format!("--peer=http://{}", place.door.address));
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(LIMIT, lines.next_line()).await;
        let ready = ready.expect("it says that it is ready").unwrap();
        let ready = ready.unwrap_or_else(|| panic!("{}", std::fs::read_to_string(&log).unwrap()));
        let address = ready.strip_prefix("ready http://").unwrap();
        let address = address.split(' ').next().unwrap().parse().unwrap();
        let revision = revision.to_owned();
        self.places[at].process = Some(Process {
            child,
            address,
            revision,
            log,
        });
        self.pass();
    }

    /// Kills the process at a place, as a power cut would.
    pub async fn kill(&mut self, at: usize) {
        let mut process = self.take(at);
        process.child.kill().await.unwrap();
    }

    /// The process at a place, which the gateway and the others no longer find.
    pub fn take(&mut self, at: usize) -> Process {
        let process = self.places[at].process.take().expect("it runs");
        self.pass();
        process
    }

    /// Whatever starts at the place next begins with nothing.
    pub fn lose_disk(&mut self, at: usize) {
        self.places[at].disk = tempfile::tempdir().unwrap();
    }

    fn pass(&self) {
        for place in &self.places {
            place.door.set(place.process.iter().map(behind).collect());
        }
        let all = self.places.iter().filter_map(|place| place.process.as_ref());
        self.gateway.set(all.map(behind).collect());
    }

    /// Addresses of the processes that run.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let processes = self.places.iter().filter_map(|place| place.process.as_ref());
        processes.map(|process| process.address).collect()
    }

    /// Waits until all processes are members and each of `documents` is stored by all its holders. Nobody may write
    /// meanwhile.
    pub async fn settled(&self, documents: usize) {
        let addresses = self.addresses();
        let copies = COPIES.min(addresses.len()) * documents;
        let end = Instant::now() + LIMIT;
        loop {
            let mut found = Vec::new();
            for address in &addresses {
                found.push(numbers(*address).await);
            }
            let all = found.iter().all(|numbers| {
                numbers.ready && numbers.peers + 1 == addresses.len() && numbers.unsettled == 0
            });
            if all && found.iter().map(|numbers| numbers.held).sum::<usize>() == copies {
                return;
            }
            assert!(Instant::now() < end, "not settled: {found:?}, {copies} copies");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn behind(process: &Process) -> (String, SocketAddr) {
    (process.revision.clone(), process.address)
}

impl Drop for Service {
    /// What the processes said explains a failure.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in std::fs::read_dir(self.logs.path()).unwrap() {
                let log = log.unwrap();
                let said = std::fs::read_to_string(log.path()).unwrap_or_default();
                println!("=== {}\n{said}", log.file_name().display());
            }
        }
    }
}

/// What a replica tells of itself.
#[derive(Debug, Default)]
pub struct Numbers {
    pub ready: bool,
    pub peers: usize,
    pub sessions: usize,
    /// Documents that it is to keep.
    pub held: usize,
    /// Documents that it has open besides.
    pub others: usize,
    pub unsettled: usize,
}

pub async fn numbers(address: SocketAddr) -> Numbers {
    let (Some((ready, _)), Some((200, text))) = (
        ask(address, "GET", "/readyz", "").await,
        ask(address, "GET", "/metrics", "").await,
    ) else {
        return Numbers::default();
    };
    let number = |name: &str, end: &str| {
        let begin = format!("pointsman_sync_{name}{{");
        let mut lines = text.lines().filter(|line| line.starts_with(&begin));
        let line = lines.find(|line| line.contains(end));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    Numbers {
        ready: ready == 200,
        peers: number("peers", "}"),
        sessions: number("sessions", "}"),
        held: number("documents", "held=\"true\""),
        others: number("documents", "held=\"false\""),
        unsettled: number("documents_unsettled", "}"),
    }
}

/// Status and body of a request; `None` when there is no answer.
pub async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let asked = async {
        let mut socket = TcpStream::connect(address).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match tokio::time::timeout(ASK_WITHIN, asked).await {
        Ok(Ok(answer)) => answer,
        // Shown when a test fails.
        other => {
            println!("{method} {path} at {address}: {other:?}");
            return None;
        }
    };
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Calls a method over HTTP: the result when the answer is 200.
pub async fn call(address: SocketAddr, method: &str, arguments: &Value) -> Option<Value> {
    let path = format!("/api/{method}");
    match ask(address, "POST", &path, &arguments.to_string()).await? {
        (200, body) => Some(serde_json::from_str(&body).unwrap()),
        _ => None,
    }
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
