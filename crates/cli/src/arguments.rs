//! The command line.

use std::path::PathBuf;
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
    pub kubeconfig: Option<PathBuf>,
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
    /// Go past the pause of a canary, or switch a blue-green preview
    Promote(Promote),
    /// Hold everything; an abort still acts
    Pause(Order),
    /// Go on after a pause of everything
    Resume(Order),
    /// Send everything back to the stable revision
    Abort(Abort),
    /// Try an aborted revision again
    Retry(Order),
    /// Go back to the revision that served before, or to any that history lists
    Undo(Undo),
    /// List the revisions that undo can go back to
    History(History),
    /// Print a completion script
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// What may come next; kubectl calls it through kubectl_complete-pointsman.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words so far; the last may be empty.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// An order to one rollout.
#[derive(Clone, Debug, Args)]
pub struct Order {
    /// NAME or rollout/NAME
    #[arg(value_parser = name)]
    pub name: String,
    /// `server`: let the API server check the change without keeping it
    #[arg(long, value_enum, default_value = "none")]
    pub dry_run: DryRun,
    /// Follow until what was asked for is done
    #[arg(long)]
    pub wait: bool,
    /// With --wait: give up after this long, such as 90s or 10m; the exit code is 3 then
    #[arg(long, value_parser = duration, requires = "wait")]
    pub timeout: Option<Duration>,
}

/// Whether a change is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Keep the change
    #[default]
    None,
    /// Only check it
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
    #[arg(value_parser = name, conflicts_with_all = ["all_namespaces", "selector"])]
    pub name: Option<String>,
    /// Which, and how to print
    #[command(flatten)]
    pub list: List,
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
    /// The revision is stable
    #[default]
    Stable,
    /// It is held: by spec.paused, or until it is promoted
    Paused,
    /// It is aborted
    Aborted,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// NAME or rollout/NAME
    #[arg(value_parser = name)]
    pub name: String,
    /// When to end with exit code 0; with 1 when it ends otherwise
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
    pub order: Order,
    /// To the end, past every step
    #[arg(long)]
    pub full: bool,
}

/// Arguments of `abort`.
#[derive(Debug, Args)]
pub struct Abort {
    /// Which.
    #[command(flatten)]
    pub order: Order,
    /// Why, for events and status; at most 512 characters
    #[arg(long, value_parser = reason)]
    pub reason: Option<String>,
}

/// Arguments of `undo`.
#[derive(Debug, Args)]
pub struct Undo {
    /// Which.
    #[command(flatten)]
    pub order: Order,
    /// Ordinal or name of the revision to go back to; see `history`
    #[arg(long)]
    pub to_revision: Option<String>,
    /// List the revisions instead, as `history` does
    #[arg(long, conflicts_with_all = ["to_revision", "wait", "dry_run"])]
    pub list: bool,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// NAME or rollout/NAME
    #[arg(value_parser = name)]
    pub name: String,
}

fn name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("rollout" | "rollouts" | "pmr" | "rollout.pointsman.dev" | "rollouts.pointsman.dev", name)) => {
            name
        }
        Some(_) => "",
    };
    if name.is_empty() || name.contains('/') {
        return Err("write NAME or rollout/NAME".to_owned());
    }
    Ok(name.to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > 512 {
        return Err(format!("{length} characters; at most 512"));
    }
    Ok(text.to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let span_ms = pointsman_api::duration::parse_ms(text)?;
    u64::try_from(span_ms)
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
        for text in ["chat", "rollout/chat", "rollouts.pointsman.dev/chat", "pmr/chat"] {
            assert_eq!(name(text).unwrap(), "chat", "{text}");
        }
        for text in ["deployment/chat", "rollout/", "", "a/b/c"] {
            assert!(name(text).unwrap_err().contains("rollout/NAME"), "{text}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_a_usage_error() {
        for line in [
            "get chat -A",
            "get chat -l app=chat",
            "promote chat --timeout 5s",
            "watch chat --timeout 5",
            "watch chat --until gone",
            "undo chat --list --wait",
            "promote",
            "list -o xml",
        ] {
            let words = std::iter::once("kubectl-pointsman").chain(line.split(' '));
            let error = Cli::try_parse_from(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
