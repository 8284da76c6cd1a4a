//! What each command does.

use std::io::Write as _;

use clap::CommandFactory as _;
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use kube::{Resource as _, ResourceExt as _};
use pointsman_api::rollout::Rollout;

use crate::arguments::{Cli, Command, DryRun, Get, List, Order, Output, Place, Undo, Until, Watch};
use crate::cluster::{Cluster, typed};
use crate::complete;
use crate::error::Error;
use crate::follow::follow;
use crate::goal::{Ended, Goal, Wanted};
use crate::intent::{self, Change, Refusal};
use crate::paint::Paint;
use crate::view;

/// Runs a command; returns the exit code.
pub async fn run(cli: Cli) -> Result<u8, Error> {
    let place = cli.place;
    match cli.command {
        Command::Get(get) => show(&place, get).await,
        Command::List(given) => list(&place, &given).await,
        Command::Watch(watch) => watched(&place, &watch).await,
        Command::Promote(given) => {
            let wanted = if given.full { Wanted::Stable } else { Wanted::Rest };
            order(&place, &given.order, wanted, |rollout| {
                intent::promote(rollout, given.full)
            })
            .await
        }
        Command::Abort(given) => {
            order(&place, &given.order, Wanted::Aborted, |rollout| {
                intent::abort(rollout, given.reason.as_deref())
            })
            .await
        }
        Command::Retry(given) => order(&place, &given, Wanted::Rest, intent::retry).await,
        Command::Pause(given) => {
            let pause = |rollout: &Rollout| intent::pause(rollout, true);
            order(&place, &given, Wanted::Paused, pause).await
        }
        Command::Resume(given) => {
            let resume = |rollout: &Rollout| intent::pause(rollout, false);
            order(&place, &given, Wanted::Rest, resume).await
        }
        Command::Undo(given) => undo(&place, &given).await,
        Command::History(given) => history(&place, &given.name).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kubectl-pointsman", &mut script);
            std::io::stdout().write_all(&script)?;
            Ok(0)
        }
        Command::Complete { words } => {
            print(&complete::answer(&words, &place).await)?;
            Ok(0)
        }
    }
}

/// Prints lines; a reader that went away is an error, not a crash.
fn print(text: &str) -> Result<(), Error> {
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

async fn order(
    place: &Place,
    order: &Order,
    wanted: Wanted,
    decide: impl Fn(&Rollout) -> Result<Change, Refusal>,
) -> Result<u8, Error> {
    let cluster = Cluster::connect(place).await?;
    give(&cluster, order, wanted, decide).await
}

async fn give(
    cluster: &Cluster,
    order: &Order,
    wanted: Wanted,
    decide: impl Fn(&Rollout) -> Result<Change, Refusal>,
) -> Result<u8, Error> {
    let (change, rollout) = cluster.change(&order.name, order.dry_run, decide).await?;
    if order.dry_run == DryRun::Server {
        print(&format!(
            "{} (server dry run: it may be done, nothing was changed)",
            change.said
        ))?;
        return Ok(0);
    }
    print(&change.said)?;
    if !order.wait {
        let (next, name, namespace) = (change.next, &order.name, &cluster.namespace);
        print(&format!("next: kubectl pointsman {next} {name} -n {namespace}"))?;
        return Ok(0);
    }
    let goal = Goal::new(wanted, rollout.metadata.generation, change.ends_with);
    finish(follow(cluster, &order.name, goal, order.timeout).await?)
}

async fn undo(place: &Place, given: &Undo) -> Result<u8, Error> {
    if given.list {
        return history(place, &given.order.name).await;
    }
    let cluster = Cluster::connect(place).await?;
    // Templates of past revisions never change; the rollout itself is read again for each try.
    let family = cluster.family(&given.order.name).await?;
    if let Some(note) = family.notes.first().filter(|_| family.deployments.is_empty()) {
        return Err(Error::Forbidden(note.clone()));
    }
    let past = view::past(&family.deployments);
    give(&cluster, &given.order, Wanted::Rest, |rollout| {
        intent::undo(rollout, &past, given.to_revision.as_deref())
    })
    .await
}

async fn history(place: &Place, name: &str) -> Result<u8, Error> {
    let family = Cluster::connect(place).await?.family(name).await?;
    if family.deployments.is_empty() {
        let why = family.notes.first().map_or("", String::as_str);
        eprintln!("No revisions found for rollout {name}. {why}");
        return Ok(0);
    }
    print(&view::history(&family, Timestamp::now()))?;
    Ok(0)
}

async fn watched(place: &Place, watch: &Watch) -> Result<u8, Error> {
    let cluster = Cluster::connect(place).await?;
    let wanted = match watch.until {
        Until::Stable => Wanted::Stable,
        Until::Paused => Wanted::Paused,
        Until::Aborted => Wanted::Aborted,
    };
    finish(
        follow(
            &cluster,
            &watch.name,
            Goal::new(wanted, None, None),
            watch.timeout,
        )
        .await?,
    )
}

fn finish(ended: Ended) -> Result<u8, Error> {
    match ended {
        Ended::Reached(said) => {
            print(&said)?;
            Ok(0)
        }
        Ended::Missed(said) => {
            eprintln!("{said}");
            Ok(1)
        }
        Ended::Timeout(said) => {
            eprintln!("not there in time: {said}");
            Ok(3)
        }
    }
}

async fn show(place: &Place, get: Get) -> Result<u8, Error> {
    let Some(name) = get.name else {
        return list(place, &get.list).await;
    };
    let cluster = Cluster::connect(place).await?;
    match get.list.output {
        Output::Table => {
            let family = cluster.family(&name).await?;
            let paint = Paint::detect();
            let lines: Vec<String> = view::tree(&family, Timestamp::now())
                .iter()
                .map(|line| line.render(paint, None))
                .collect();
            print(&lines.join("\n"))?;
        }
        Output::Wide => {
            let family = cluster.family(&name).await?;
            let text = view::list(
                &[family.rollout],
                Some(&family.deployments),
                false,
                true,
                Timestamp::now(),
            );
            print(&text)?;
        }
        Output::Name => print(&named(&cluster.raw(&name).await?))?,
        Output::Json | Output::Yaml => {
            let object = trimmed(cluster.raw(&name).await?);
            print(&written(&serde_json::to_value(object), get.list.output)?)?;
        }
    }
    Ok(0)
}

async fn list(place: &Place, given: &List) -> Result<u8, Error> {
    let cluster = Cluster::connect(place).await?;
    let everywhere = given.all_namespaces;
    let mut found = cluster.list(everywhere, given.selector.as_deref()).await?;
    found.sort_by_key(|rollout| (rollout.namespace(), rollout.name_any()));
    if found.is_empty() && matches!(given.output, Output::Table | Output::Wide | Output::Name) {
        if everywhere {
            eprintln!("No rollouts found.");
        } else {
            eprintln!("No rollouts found in namespace {}.", cluster.namespace);
        }
        return Ok(0);
    }
    match given.output {
        Output::Table | Output::Wide => {
            let workloads = cluster.workloads(everywhere).await;
            let mut rollouts = Vec::new();
            for object in &found {
                match typed(object) {
                    Ok(rollout) => rollouts.push(rollout),
                    Err(error) => eprintln!("warning: {}", error.line()),
                }
            }
            let wide = given.output == Output::Wide;
            let now = Timestamp::now();
            print(&view::list(
                &rollouts,
                workloads.as_deref(),
                everywhere,
                wide,
                now,
            ))?;
        }
        Output::Name => {
            let names: Vec<String> = found.iter().map(named).collect();
            print(&names.join("\n"))?;
        }
        Output::Json | Output::Yaml => {
            let items: Vec<DynamicObject> = found.into_iter().map(trimmed).collect();
            let value = serde_json::to_value(items)
                .map(|items| serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}));
            print(&written(&value, given.output)?)?;
        }
    }
    Ok(0)
}

fn named(object: &DynamicObject) -> String {
    format!(
        "{}.{}/{}",
        Rollout::kind(&()).to_lowercase(),
        Rollout::group(&()),
        object.name_any()
    )
}

/// As kubectl prints it: with its kind, which listed objects lack, and without the bookkeeping of fields.
fn trimmed(mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    object.types = Some(kube::core::TypeMeta::resource::<Rollout>());
    object
}

fn written(value: &Result<serde_json::Value, serde_json::Error>, output: Output) -> Result<String, Error> {
    let unreadable = |why: String| Error::Unreadable {
        what: "the object".to_owned(),
        why,
    };
    let value = value.as_ref().map_err(|error| unreadable(error.to_string()))?;
    if output == Output::Yaml {
        return serde_norway::to_string(value).map_err(|error| unreadable(error.to_string()));
    }
    serde_json::to_string_pretty(value).map_err(|error| unreadable(error.to_string()))
}
