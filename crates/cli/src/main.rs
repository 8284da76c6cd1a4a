//! `kubectl-pointsman`, called by kubectl as `kubectl pointsman`.

use std::process::ExitCode;

use clap::Parser as _;
use pointsman_cli::arguments::Cli;
use pointsman_cli::commands;

#[tokio::main]
async fn main() -> ExitCode {
    match commands::run(Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
