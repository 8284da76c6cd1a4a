//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// See and steer rollouts of live services.
#[derive(Debug, Parser)]
#[command(name = "kubectl-pointsman", bin_name = "kubectl pointsman", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// Where the rollouts are.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// Namespace; that of the context when absent
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Path of the kubeconfig
    #[arg(long, global = true)]
    pub kubeconfig: Option<std::path::PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show one rollout: its steps, revisions and pods
    Get(Get),
    /// List rollouts
    List(List),
    /// Follow a rollout until it ends
    Watch(Watch),
    /// Go past the present step, or switch a blue-green preview
    Promote(Promote),
    /// Hold everything; an abort still acts
    Pause(Named),
    /// Go on after a pause of everything
    Resume(Named),
    /// Send everything back to the stable revision
    Abort(Abort),
    /// Try an aborted revision again
    Retry(Named),
    /// Go back to the revision that served before, or to any that history lists
    Undo(Undo),
    /// List the revisions that undo can go back to
    History(Named),
    /// Print a completion script
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// A rollout by name.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// NAME or rollout/NAME
    #[arg(value_parser = name)]
    pub name: String,
    /// `server`: let the API server check the change without keeping it
    #[arg(long, value_enum, default_value = "none")]
    pub dry_run: DryRun,
}

/// Whether a change is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is.
    #[default]
    None,
    /// It is only checked.
    Server,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For people with wide screens.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `rollout.pointsman.dev/NAME`.
    Name,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// NAME or rollout/NAME; lists all when absent
    #[arg(value_parser = name)]
    pub name: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// In every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only those with these labels
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// Until when a rollout is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// It is stable, or aborted.
    #[default]
    Stable,
    /// It waits for a promotion, or is stable, or aborted.
    Paused,
    /// It is aborted, or stable.
    Aborted,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// NAME or rollout/NAME
    #[arg(value_parser = name)]
    pub name: String,
    /// When to end
    #[arg(long, value_enum, default_value = "stable")]
    pub until: Until,
    /// Give up after this long, such as 90s or 10m; the exit code is 3 then
    #[arg(long, value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// Arguments of `promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// Which.
    #[command(flatten)]
    pub named: Named,
    /// To the end, past every step
    #[arg(long)]
    pub full: bool,
}

/// Arguments of `abort`.
#[derive(Debug, Args)]
pub struct Abort {
    /// Which.
    #[command(flatten)]
    pub named: Named,
    /// Why, for events and status
    #[arg(long, default_value = "")]
    pub reason: String,
}

/// Arguments of `undo`.
#[derive(Debug, Args)]
pub struct Undo {
    /// Which.
    #[command(flatten)]
    pub named: Named,
    /// Number or name of the revision to go back to; see `history`
    #[arg(long)]
    pub to_revision: Option<String>,
}

fn name(text: &str) -> Result<String, String> {
    let kinds = [
        "rollout/",
        "rollouts/",
        "pmr/",
        "rollout.pointsman.dev/",
        "rollouts.pointsman.dev/",
    ];
    let name = kinds
        .iter()
        .find_map(|kind| text.strip_prefix(kind))
        .unwrap_or(text);
    if name.is_empty() || name.contains('/') {
        return Err(format!("{text:?} is not NAME or rollout/NAME"));
    }
    Ok(name.to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let millis = pointsman_api::duration::parse_ms(text)?;
    u64::try_from(millis)
        .map(Duration::from_millis)
        .map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_may_carry_their_kind() {
        assert_eq!(name("rollout/chat").unwrap(), "chat");
        assert_eq!(name("chat").unwrap(), "chat");
        assert!(name("deployment/chat").unwrap_err().contains("rollout/NAME"));
    }
}
