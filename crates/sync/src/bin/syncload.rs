//! `syncload`: many live clients, and what happens to them.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pointsman_sync::client;
use pointsman_sync::load::{Load, Options};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Holds live clients on a sync service and reports what happens to them.
#[derive(Debug, Parser)]
#[command(name = "syncload", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect clients, then do what standard input says, a line each, and answer each with a line of JSON:
    /// `snapshot` where the clients are; `phase NAME` the report of the phase that ends here; `stop` the last report.
    /// The end of the input is a stop. The first line of the output comes once every client is connected.
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Where the service is, such as ws://chat.example/
    #[arg(long)]
    url: String,
    /// Where to connect instead of the host in the URL
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<String>,
    /// Clients
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Time between two writes of one client; 0 for none
    #[arg(long, default_value_t = 1_000)]
    write_interval_ms: u64,
    /// Time between the starts of two clients
    #[arg(long, default_value_t = 5)]
    start_interval_ms: u64,
    /// Every client must be connected within this time
    #[arg(long, default_value_t = 60)]
    connect_within_seconds: u64,
    /// Stop after this long by itself; until told when 0
    #[arg(long, default_value_t = 0)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    let options = Options {
        client: client::Options {
            url: run.url.clone(),
            connect: run.connect.clone(),
            ask_within: Duration::from_secs(20),
        },
        clients: run.clients,
        write_interval: Duration::from_millis(run.write_interval_ms),
        start_interval: Duration::from_millis(run.start_interval_ms),
    };
    let load = Load::start(options).await;
    if !load
        .connected(Duration::from_secs(run.connect_within_seconds))
        .await
    {
        eprintln!(
            "syncload: not every client is connected after {} s: {}",
            run.connect_within_seconds,
            load.snapshot()
        );
        return ExitCode::FAILURE;
    }
    println!("{}", json!({"ready": true, "connected": run.clients}));
    if run.seconds > 0 {
        tokio::time::sleep(Duration::from_secs(run.seconds)).await;
    } else {
        commands(&load).await;
    }
    match serde_json::to_string(&load.stop().await) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("syncload: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers commands until `stop` or the end of the input.
async fn commands(load: &Load) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("", _) => {}
            ("snapshot", _) => println!("{}", load.snapshot()),
            ("phase", name) if !name.is_empty() => println!("{}", json!(load.phase(name).await)),
            ("stop", _) => return,
            (other, _) => println!(
                "{}",
                json!({"error": format!("{other}: commands are snapshot, phase NAME and stop")})
            ),
        }
    }
}
