//! The two programs as processes: what they print, how they end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Only a broken build takes so long.
const LIMIT: Duration = Duration::from_secs(30);
const SERVER: &str = env!("CARGO_BIN_EXE_pointsman-sync");
const LOAD: &str = env!("CARGO_BIN_EXE_syncload");

/// Ended when the test ends, whatever its outcome.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn code(&mut self) -> Option<i32> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(program: &str, arguments: &[&str]) -> (Running, ChildStdin, BufReader<ChildStdout>) {
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (Running(child), stdin, BufReader::new(stdout))
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A server on a free port, and its address.
fn server(more: &[&str]) -> (Running, String) {
    let arguments = [&["serve", "--listen=127.0.0.1:0", "--revision=r1"], more].concat();
    let (server, _stdin, mut stdout) = spawn(SERVER, &arguments);
    let ready = line(&mut stdout);
    let words: Vec<&str> = ready.split(' ').collect();
    assert_eq!((words[0], words[2]), ("ready", "replica"), "{ready}");
    assert!(words[3].parse::<u64>().is_ok(), "{ready}");
    (server, words[1].strip_prefix("http://").unwrap().to_owned())
}

/// Status of a request; `None` when nobody listens.
fn status(address: &str, path: &str) -> Option<u16> {
    let mut socket = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn load(address: &str, more: &[&str]) -> (Running, ChildStdin, BufReader<ChildStdout>) {
    let fixed = ["run", "--url=ws://chat.test/", "--connect", address];
    let (load, stdin, mut stdout) = spawn(LOAD, &[&fixed, more].concat());
    let ready: Value = serde_json::from_str(&line(&mut stdout)).unwrap();
    assert_eq!(ready["ready"], true);
    (load, stdin, stdout)
}

#[test]
fn sigterm_ends_readiness_first_then_sessions_then_the_process() {
    // The delay does not end here: no session is asked to leave.
    let (mut server, address) = server(&["--drain-delay-ms=600000", "--drain-interval-ms=1"]);
    until("it is ready", || status(&address, "/readyz") == Some(200));
    let (_load, mut stdin, mut stdout) = load(&address, &["--clients=3", "--write-interval-ms=0"]);
    server.signal("TERM");
    until("it is not ready", || status(&address, "/readyz") == Some(503));
    // New sessions still come in, and the old ones are there.
    let (_late, _late_stdin, _late_stdout) = load(&address, &["--clients=1", "--write-interval-ms=0"]);
    stdin.write_all(b"snapshot\n").unwrap();
    let snapshot: Value = serde_json::from_str(&line(&mut stdout)).unwrap();
    assert_eq!(
        (&snapshot["connected"], &snapshot["disconnects"]),
        (&3.into(), &0.into()),
        "{snapshot}"
    );
    // A second signal does not wait.
    server.signal("TERM");
    assert_eq!(server.code(), Some(130));
}

#[test]
fn sigterm_moves_everybody_and_ends_well() {
    let (mut server, address) = server(&[
        "--drain-delay-ms=0",
        "--drain-interval-ms=1",
        "--drain-deadline-ms=200",
    ]);
    let (_load, _stdin, _stdout) = load(&address, &["--clients=3"]);
    server.signal("TERM");
    assert_eq!(server.code(), Some(0));
    assert_eq!(status(&address, "/healthz"), None);
}

#[test]
fn the_load_tool_answers_each_command_with_a_line_and_reports_what_machines_read() {
    let (_server, address) = server(&[]);
    let (mut load, mut stdin, mut stdout) = load(&address, &["--clients=4", "--write-interval-ms=20"]);
    let mut say = |command: &str| -> Value {
        stdin.write_all(format!("{command}\n").as_bytes()).unwrap();
        serde_json::from_str(&line(&mut stdout)).unwrap()
    };
    assert_eq!(say("phase second")["phase"], "start");
    until("something is written", || {
        say("snapshot")["writesAcknowledged"].as_u64().unwrap() > 3
    });
    assert_eq!(say("snapshot")["revisions"]["r1"], 4);
    let history = say("history");
    assert_eq!(history["clients"][3][0]["revision"], "r1", "{history}");
    assert!(say("dance")["error"].as_str().unwrap().contains("snapshot"));
    let report = say("stop");
    for (field, value) in [
        ("phase", "second".into()),
        ("clients", 4.into()),
        ("peakDisconnectsPerSecond", 0.into()),
        ("failedHandshakes", 0.into()),
        ("movesBack", 0.into()),
        ("moves", 0.into()),
        ("cuts", 0.into()),
        ("writesLost", 0.into()),
        ("weights", Value::Array(Vec::new())),
    ] {
        assert_eq!(report[field], value, "{field} in {report}");
    }
    for field in [
        "/disconnectsPerClient/mean",
        "/disconnectsPerClient/p99",
        "/disconnectsPerClient/max",
    ] {
        assert_eq!(
            report.pointer(field).and_then(Value::as_f64),
            Some(0.0),
            "{field} in {report}"
        );
    }
    for field in ["/gapMs/p50", "/gapMs/p99", "/gapMs/max", "/seconds"] {
        assert!(
            report.pointer(field).is_some_and(Value::is_number),
            "{field} in {report}"
        );
    }
    assert_eq!(load.code(), Some(0));
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    for (program, arguments, named) in [
        (SERVER, vec!["serve", &listen], "--listen"),
        (SERVER, vec!["serve", "--fail-rate=101"], "--fail-rate"),
        (SERVER, vec!["serve", "--listen=here"], "--listen"),
        (SERVER, vec!["serve", "--revision=a b"], "--revision"),
        (SERVER, vec!["serve", "--peer=nowhere"], "--peer"),
        (SERVER, vec!["serve", "--peers-dns=nowhere"], "--peers-dns"),
        (SERVER, vec!["serve", "--sessions-max=0"], "--sessions-max"),
        (
            SERVER,
            vec!["serve", "--control-token-file=/no/such"],
            "--control-token-file",
        ),
        (
            SERVER,
            vec!["serve", "--require-authentication"],
            "--require-authentication",
        ),
        (SERVER, vec!["serve", "--jwt-key-file=/no/such"], "--jwt-key-file"),
        (SERVER, vec!["serve", "--jwks-file=/no/such"], "--jwks-file"),
        (SERVER, vec!["serve", "--data=/dev/null"], "--data"),
        (
            SERVER,
            vec!["serve", "--allow-origin=app.example"],
            "--allow-origin",
        ),
        (
            SERVER,
            vec!["serve", "--calls-waiting-max=0"],
            "--calls-waiting-max",
        ),
        (SERVER, vec!["serve", "--call-within-ms=0"], "--call-within-ms"),
        (LOAD, vec!["run", "--url=http://a"], "--url"),
        (LOAD, vec!["run", "--url=ws://a", "--connect=b"], "--connect"),
        (LOAD, vec!["run", "--url=ws://a", "--clients=0"], "--clients"),
    ] {
        let output = run(program, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}

#[test]
fn both_tell_their_version() {
    for program in [SERVER, LOAD] {
        let output = run(program, &["--version"]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    }
}
