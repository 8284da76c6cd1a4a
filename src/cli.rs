//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// Changes the version of live WebSocket services.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Run),
    /// Print the custom resource definitions as YAML.
    Crds,
}

/// How the operator is run.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "POINTSMAN_ADMIN_ADDRESS", default_value = "0.0.0.0:9090")]
    pub admin_address: SocketAddr,
    /// Namespaces to watch, separated by commas; all when empty.
    #[arg(long, env = "POINTSMAN_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Namespace of the lease by which one replica leads.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Name of this replica; the host name when absent.
    #[arg(long, env = "POD_NAME")]
    pub name: Option<String>,
    /// Reconciles at once.
    #[arg(long, env = "POINTSMAN_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
}
