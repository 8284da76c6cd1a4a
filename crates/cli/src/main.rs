//! `kubectl-pointsman`, called by kubectl as `kubectl pointsman`.

use std::process::ExitCode;

use clap::Parser as _;
use pointsman_cli::arguments::Cli;
use pointsman_cli::commands;
use pointsman_cli::error::Error;

#[tokio::main]
async fn main() -> ExitCode {
    match commands::run(Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        // `list | head` is no failure worth a word.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", error.line());
            ExitCode::FAILURE
        }
    }
}
