//! What may come next on the command line, as kubectl asks plugins for it.

use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use crate::arguments::{Cli, Place};
use crate::cluster::Cluster;

/// A shell waits for this; a slow cluster offers no names.
const WITHIN: Duration = Duration::from_secs(2);
/// Tells kubectl that file names are no answer.
const NO_FILES: &str = ":4";

/// One candidate a line, and at the end how they are to be used.
pub async fn answer(words: &[String], given: &Place) -> String {
    let (current, before) = words
        .split_last()
        .map_or(("", &[][..]), |(current, before)| (current.as_str(), before));
    let mut found = match wanted(before, current) {
        Next::Words(words) => words,
        Next::Names => tokio::time::timeout(WITHIN, names(before, given))
            .await
            .unwrap_or_default(),
    };
    found.retain(|word| word.starts_with(current));
    found.push(NO_FILES.to_owned());
    found.join("\n")
}

enum Next {
    Words(Vec<String>),
    Names,
}

fn wanted(before: &[String], current: &str) -> Next {
    let mut cli = Cli::command();
    // Passes the global flags on to the commands.
    cli.build();
    let command = before
        .iter()
        .find_map(|word| cli.get_subcommands().find(|command| command.get_name() == word));
    let Some(command) = command else {
        let commands = cli.get_subcommands().filter(|command| !command.is_hide_set());
        return Next::Words(commands.map(|command| command.get_name().to_owned()).collect());
    };
    let flag = |argument: &clap::Arg, word: &str| match word.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => {
            let short = argument.get_short().map(|letter| format!("-{letter}"));
            short.as_deref() == Some(word)
        }
    };
    let last = before.last().map_or("", String::as_str);
    let valued = command.get_arguments().find(|argument| {
        last.starts_with('-') && argument.get_action().takes_values() && flag(argument, last)
    });
    if let Some(argument) = valued {
        let values = argument.get_possible_values();
        return Next::Words(values.iter().map(|value| value.get_name().to_owned()).collect());
    }
    if current.starts_with('-') {
        let flags = command.get_arguments();
        return Next::Words(
            flags
                .filter_map(|flag| flag.get_long().map(|name| format!("--{name}")))
                .collect(),
        );
    }
    let positional = command.get_positionals().next();
    match positional {
        Some(argument) if argument.get_id() == "name" => Next::Names,
        Some(argument) => {
            let values = argument.get_possible_values();
            Next::Words(values.iter().map(|value| value.get_name().to_owned()).collect())
        }
        None => Next::Words(Vec::new()),
    }
}

/// Names of the rollouts where the words so far point to.
async fn names(before: &[String], given: &Place) -> Vec<String> {
    let Ok(cluster) = Cluster::connect(&place(before, given)).await else {
        return Vec::new();
    };
    cluster.names().await.unwrap_or_default()
}

/// Where the words so far point to; they are not a whole command yet, so only these flags are read.
fn place(before: &[String], given: &Place) -> Place {
    let mut words = vec!["kubectl-pointsman".to_owned(), "list".to_owned()];
    let mut rest = before.iter();
    while let Some(word) = rest.next() {
        let known = ["-n", "--namespace", "--context", "--kubeconfig"];
        if known.contains(&word.as_str()) {
            words.push(word.clone());
            words.extend(rest.next().cloned());
        } else if known
            .iter()
            .any(|known| word.strip_prefix(known).is_some_and(|rest| rest.starts_with('=')))
        {
            words.push(word.clone());
        }
    }
    let found = Cli::try_parse_from(words)
        .map(|cli| cli.place)
        .unwrap_or_default();
    Place {
        namespace: found.namespace.or_else(|| given.namespace.clone()),
        context: found.context.or_else(|| given.context.clone()),
        kubeconfig: found.kubeconfig.or_else(|| given.kubeconfig.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn offered(line: &str) -> Vec<String> {
        let all = words(line);
        let (current, before) = all.split_last().unwrap();
        match wanted(before, current) {
            Next::Words(words) => words
                .into_iter()
                .filter(|word| word.starts_with(current))
                .collect(),
            Next::Names => vec!["<names>".to_owned()],
        }
    }

    #[test]
    fn commands_flags_values_and_names_are_offered() {
        assert_eq!(offered("pro"), ["promote"]);
        assert!(!offered("").contains(&"__complete".to_owned()));
        assert_eq!(offered("promote "), ["<names>"]);
        assert_eq!(offered("promote --f"), ["--full"]);
        assert_eq!(offered("-n shop promote "), ["<names>"]);
        assert_eq!(offered("get -o "), ["table", "wide", "json", "yaml", "name"]);
        assert_eq!(offered("watch chat --until "), ["stable", "paused", "aborted"]);
        assert_eq!(offered("completion f"), ["fish"]);
    }

    #[test]
    fn names_are_looked_for_where_the_words_point_to() {
        let given = Place {
            namespace: Some("other".to_owned()),
            kubeconfig: Some("/etc/kube".into()),
            ..Place::default()
        };
        let place = place(&words("-n shop promote --context=blue --full"), &given);
        assert_eq!(place.namespace.as_deref(), Some("shop"));
        assert_eq!(place.context.as_deref(), Some("blue"));
        assert_eq!(place.kubeconfig, given.kubeconfig);
    }
}
