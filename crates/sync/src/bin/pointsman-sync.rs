//! `pointsman-sync`: one replica of the sync service.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pointsman_sync::server::{AuthenticationOptions, Limits, Options, Server, rooms};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Live WebSocket sessions over shared documents.
#[derive(Debug, Parser)]
#[command(name = "pointsman-sync", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to end; SIGTERM moves every session away first, a second one ends at once.
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where sessions are served
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the control endpoints are served; on the same port when absent
    #[arg(long)]
    control: Option<SocketAddr>,
    /// File with the tokens of the control endpoints, one a line; open to everybody when absent
    #[arg(long, env = "POINTSMAN_CONTROL_TOKEN_FILE")]
    control_token_file: Option<PathBuf>,
    /// Revision that sessions are told
    #[arg(long, env = "POINTSMAN_REVISION", default_value = "local")]
    revision: String,
    /// Another replica, such as http://127.0.0.1:8081; may be given again
    #[arg(long = "peer", value_name = "URL")]
    peers: Vec<String>,
    /// A name whose addresses are the other replicas
    #[arg(long, env = "POINTSMAN_PEERS_DNS", value_name = "HOST:PORT")]
    peers_dns: Option<String>,
    /// Replicas that hold each document
    #[arg(long, env = "POINTSMAN_COPIES", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    copies: u8,
    /// Percent of calls that fail on purpose, for demonstrations
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_rate: u8,
    /// After SIGTERM, how long to stay open so that endpoints and gateways can forget this replica
    #[arg(long, default_value_t = 5_000)]
    drain_delay_ms: u64,
    /// After that, the time between two sessions told to move
    #[arg(long, default_value_t = 100)]
    drain_interval_ms: u64,
    /// After this long what is left is closed; 0 closes everybody at once and asks nobody to move
    #[arg(long, default_value_t = 60_000)]
    drain_deadline_ms: u64,
    /// New sessions per second that this replica tells the operator it can take; no limit when absent
    #[arg(long, value_name = "N")]
    handshakes_per_second: Option<u32>,
    /// Sessions at most; more are refused with 503
    #[arg(long, default_value_t = 10_000)]
    sessions_max: usize,
    /// Directory for documents and files; in memory when absent
    #[arg(long, env = "POINTSMAN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    bounds: Bounds,
}

#[derive(Debug, clap::Args)]
struct Access {
    /// File with the key of JSON Web Tokens: a public key in PEM (RSA, P-256, P-384, Ed25519), or a secret of 32 bytes or more
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_file")]
    jwt_key_file: Option<PathBuf>,
    /// File with a JSON Web Key Set
    #[arg(long, value_name = "FILE")]
    jwks_file: Option<PathBuf>,
    /// Audience that tokens must be for; any when absent
    #[arg(long, value_name = "NAME")]
    jwt_audience: Option<String>,
    /// Who must have issued tokens; anybody with the key when absent
    #[arg(long, value_name = "NAME")]
    jwt_issuer: Option<String>,
    /// Let whoever has not signed in do nothing but that
    #[arg(long)]
    require_authentication: bool,
    /// Let tokens say who may read and write which documents, by their claim `documents`; otherwise everybody may
    #[arg(long)]
    claimed_documents: bool,
    /// Origin whose pages may use /api, such as https://app.example, or *; may be given again
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allow_origins: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Bounds {
    /// Calls of one session that wait for their turn; more are answered with 503
    #[arg(long, value_name = "N", default_value_t = 256)]
    calls_waiting_max: usize,
    /// A call that takes longer is answered with 408
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    call_within_ms: u64,
    /// With --require-authentication, time to sign in
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    unauthenticated_within_ms: u64,
    /// With --require-authentication, bytes that may come before
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    unauthenticated_bytes_max: usize,
    /// Bytes of one uploaded file
    #[arg(long, value_name = "BYTES", default_value_t = 67_108_864)]
    file_bytes_max: u64,
    /// Bytes of all files; in memory no more than 64 MiB
    #[arg(long, value_name = "BYTES", default_value_t = 1_073_741_824)]
    files_bytes_max: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Serve(serve) = Cli::parse().command;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let server = match Server::start(options(&serve)).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("pointsman-sync: --{error}");
            return ExitCode::FAILURE;
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("pointsman-sync: signals cannot be heard");
        return ExitCode::FAILURE;
    };
    let announced = async {
        server.is_member().await;
        // After the signals are heard, so that whoever reads it may send one. Nobody has to read it.
        let _ = writeln!(
            std::io::stdout(),
            "ready http://{} replica {}",
            server.address,
            server.replica()
        );
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = announced => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = server.must_end() => return ExitCode::FAILURE,
    }
    tokio::select! {
        () = server.shutdown() => ExitCode::SUCCESS,
        _ = terminate.recv() => ExitCode::from(130),
        _ = interrupt.recv() => ExitCode::from(130),
    }
}

fn options(serve: &Serve) -> Options {
    Options {
        listen: serve.listen,
        control: serve.control,
        control_token_file: serve.control_token_file.clone(),
        peers: serve.peers.clone(),
        peers_dns: serve.peers_dns.clone(),
        spaces: rooms(usize::from(serve.copies)),
        fail_rate_percent: serve.fail_rate,
        drain_delay: Duration::from_millis(serve.drain_delay_ms),
        drain_interval: Duration::from_millis(serve.drain_interval_ms),
        drain_deadline: Duration::from_millis(serve.drain_deadline_ms),
        handshakes_per_second: serve.handshakes_per_second,
        sessions_max: serve.sessions_max,
        data: serve.data.clone(),
        authentication: authentication(&serve.access),
        allow_origins: serve.access.allow_origins.clone(),
        limits: limits(&serve.bounds),
        ..Options::local(&serve.revision)
    }
}

fn authentication(access: &Access) -> AuthenticationOptions {
    AuthenticationOptions {
        jwt_key_file: access.jwt_key_file.clone(),
        jwks_file: access.jwks_file.clone(),
        audience: access.jwt_audience.clone(),
        issuer: access.jwt_issuer.clone(),
        required: access.require_authentication,
        claimed_documents: access.claimed_documents,
    }
}

fn limits(bounds: &Bounds) -> Limits {
    Limits {
        calls_waiting_max: bounds.calls_waiting_max,
        call_within: Duration::from_millis(bounds.call_within_ms),
        unauthenticated_within: Duration::from_millis(bounds.unauthenticated_within_ms),
        unauthenticated_bytes_max: bounds.unauthenticated_bytes_max,
        file_bytes_max: bounds.file_bytes_max,
        files_bytes_max: bounds.files_bytes_max,
        ..Limits::default()
    }
}
