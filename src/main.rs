//! `pointsman`: parse, set up logs, run.

use std::process::ExitCode;

use clap::Parser as _;
use pointsman::cli::{Cli, Command};
use pointsman::{app, telemetry};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(options) => {
            telemetry::logs();
            let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return failed(&error.into()),
            };
            runtime
                .block_on(app::run(options))
                .map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
        }
        Command::Crds => match pointsman_api::crds::all() {
            Ok(files) => {
                for (_, yaml) in files {
                    println!("---\n{}", yaml.trim_end());
                }
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error.into()),
        },
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("pointsman: {error:#}");
    ExitCode::FAILURE
}
