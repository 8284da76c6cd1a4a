//! `syncload`: many live clients, and what happens to them.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pointsman_sync::client;
use pointsman_sync::load::{Load, Options, Report};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Longer than replicas take to tell each other.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Holds live clients on a sync service and reports what happens to them.
#[derive(Debug, Parser)]
#[command(name = "syncload", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect clients and report on them, phase by phase
    ///
    /// The clients are quiet: none leaves by itself. Each writes to the counter of its room, ten clients a room, and
    /// knows what was acknowledged. Once every client is connected a first line says so. Then standard input is read, a
    /// command a line, and each is answered with one line of JSON:
    ///
    ///   snapshot     where the clients are now
    ///   history      each client's revisions in this phase, with times
    ///   phase NAME   reads the rooms back and reports the phase that ends here; NAME begins
    ///   stop         the same, and ends; so does the end of the input
    ///
    /// A report has clients, disconnectsPerClient {mean, p99, max}, moves, cuts, peakDisconnectsPerSecond (any window of
    /// a second), gapMs {p50, p99, max}, failedHandshakes, failedByKind, movesBack, writesSent, writesAcknowledged,
    /// writesLost (acknowledged and not read back), errorReplies, unanswered, down, revisions, weights and seconds.
    #[command(verbatim_doc_comment)]
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Where the service is, such as ws://chat.example/; its host is the Host header
    #[arg(long)]
    url: String,
    /// Where to connect instead of the host in the URL, such as a gateway's address
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<String>,
    /// Clients
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    clients: u32,
    /// Time between two writes of one client; 0 for none
    #[arg(long, default_value_t = 1_000)]
    write_interval_ms: u64,
    /// Time between the starts of two clients
    #[arg(long, default_value_t = 5)]
    start_interval_ms: u64,
    /// A call without an answer after this long is counted as unanswered
    #[arg(long, default_value_t = 20_000)]
    ask_within_ms: u64,
    /// Every client must be connected within this time
    #[arg(long, default_value_t = 60)]
    connect_within_seconds: u64,
    /// Stop after this long and read no commands; until told when 0
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Reports in JSON; so they are anyway when the output is no terminal
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    match load(&run).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syncload: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn load(run: &Run) -> Result<(), String> {
    let options = Options {
        client: client::Options {
            url: run.url.clone(),
            connect: run.connect.clone(),
            ask_within: Duration::from_millis(run.ask_within_ms),
        },
        clients: usize::try_from(run.clients).unwrap_or(usize::MAX),
        write_interval: Duration::from_millis(run.write_interval_ms),
        start_interval: Duration::from_millis(run.start_interval_ms),
        seen_within: SEEN_WITHIN,
    };
    options.client.check().map_err(|error| format!("--{error}"))?;
    let load = Load::start(options).await;
    let within = run.connect_within_seconds;
    if !load.connected(Duration::from_secs(within)).await {
        return Err(format!(
            "not every client is connected after {within} s: {}",
            load.snapshot()
        ));
    }
    say(&json!({"ready": true, "connected": run.clients}))?;
    let readable = std::io::stdout().is_terminal() && !run.json;
    if run.seconds > 0 {
        tokio::time::sleep(Duration::from_secs(run.seconds)).await;
    } else {
        commands(&load, readable).await?;
    }
    tell(&load.stop().await, readable)
}

/// Answers commands until `stop` or the end of the input.
async fn commands(load: &Load, readable: bool) -> Result<(), String> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("", _) => {}
            ("snapshot", _) => say(&load.snapshot())?,
            ("history", _) => say(&load.history())?,
            ("phase", name) if !name.is_empty() => tell(&load.phase(name).await, readable)?,
            ("stop", _) => return Ok(()),
            (other, _) => {
                let error = format!("{other}: commands are snapshot, history, phase NAME and stop");
                say(&json!({"error": error}))?;
            }
        }
    }
    Ok(())
}

fn tell(report: &Report, readable: bool) -> Result<(), String> {
    if readable {
        write(&report.to_string())
    } else {
        say(report)
    }
}

fn say(value: &impl Serialize) -> Result<(), String> {
    write(&serde_json::to_string(value).map_err(|error| error.to_string())?)
}

fn write(line: &str) -> Result<(), String> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("nobody reads the output: {error}"))
}
