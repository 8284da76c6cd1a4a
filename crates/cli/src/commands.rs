//! What each command does.

use clap::CommandFactory as _;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Resource as _, ResourceExt as _};
use pointsman_api::rollout::Rollout;

use crate::arguments::{Cli, Command, DryRun, Get, List, Output, Place, Undo, Watch};
use crate::cluster::{Cluster, Error, call};
use crate::follow::{Ended, follow};
use crate::intent::{self, Change};
use crate::paint::Paint;
use crate::view;

/// Runs a command; returns the exit code of one that ended as it should.
pub async fn run(cli: Cli) -> Result<u8, Error> {
    let place = cli.place;
    match cli.command {
        Command::Get(get) => show(&place, get).await,
        Command::List(given) => list(&place, given).await,
        Command::Watch(watch) => watched(&place, &watch).await,
        Command::Promote(promote) => {
            let full = promote.full;
            let cluster = Cluster::connect(&place).await?;
            let dry_run = promote.named.dry_run;
            let done = cluster
                .change(&promote.named.name, dry_run, |rollout| {
                    intent::promote(rollout, full)
                })
                .await?;
            say(&done, dry_run, &cluster)
        }
        Command::Abort(abort) => {
            let cluster = Cluster::connect(&place).await?;
            let dry_run = abort.named.dry_run;
            let done = cluster
                .change(&abort.named.name, dry_run, |rollout| {
                    intent::abort(rollout, &abort.reason)
                })
                .await?;
            say(&done, dry_run, &cluster)
        }
        Command::Retry(named) => {
            let cluster = Cluster::connect(&place).await?;
            let done = cluster.change(&named.name, named.dry_run, intent::retry).await?;
            say(&done, named.dry_run, &cluster)
        }
        Command::Pause(named) => {
            let cluster = Cluster::connect(&place).await?;
            let done = cluster
                .change(&named.name, named.dry_run, |rollout| intent::pause(rollout, true))
                .await?;
            say(&done, named.dry_run, &cluster)
        }
        Command::Resume(named) => {
            let cluster = Cluster::connect(&place).await?;
            let done = cluster
                .change(&named.name, named.dry_run, |rollout| {
                    intent::pause(rollout, false)
                })
                .await?;
            say(&done, named.dry_run, &cluster)
        }
        Command::Undo(given) => undo(&place, &given).await,
        Command::History(named) => {
            let family = Cluster::connect(&place).await?.family(&named.name).await?;
            println!("{}", view::history(&family, Timestamp::now()));
            Ok(0)
        }
        Command::Completion { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "kubectl-pointsman",
                &mut std::io::stdout(),
            );
            Ok(0)
        }
    }
}

fn say(change: &Change, dry_run: DryRun, cluster: &Cluster) -> Result<u8, Error> {
    let suffix = if dry_run == DryRun::Server {
        " (dry run: nothing was changed)"
    } else {
        ""
    };
    println!("{}{suffix}", change.said);
    println!("next: {} -n {}", change.next, cluster.namespace);
    Ok(0)
}

async fn show(place: &Place, get: Get) -> Result<u8, Error> {
    let Some(name) = get.name else {
        let all = List {
            all_namespaces: false,
            selector: None,
            output: get.output,
        };
        return list(place, all).await;
    };
    let cluster = Cluster::connect(place).await?;
    match get.output {
        Output::Table | Output::Wide => {
            let family = cluster.family(&name).await?;
            println!(
                "{}",
                view::tree(&family, Timestamp::now(), Paint::detect()).join("\n")
            );
        }
        Output::Json | Output::Yaml | Output::Name => print(&cluster.rollout(&name).await?, get.output)?,
    }
    Ok(0)
}

async fn list(place: &Place, list: List) -> Result<u8, Error> {
    let cluster = Cluster::connect(place).await?;
    let api = if list.all_namespaces {
        Api::all(cluster.client.clone())
    } else {
        cluster.rollouts()
    };
    let mut wanted = ListParams::default();
    if let Some(selector) = &list.selector {
        wanted = wanted.labels(selector);
    }
    let mut found: Vec<Rollout> = call(api.list(&wanted)).await?.items;
    found.sort_by_key(|rollout| (rollout.namespace(), rollout.name_any()));
    match list.output {
        Output::Table | Output::Wide if found.is_empty() => {
            let place = if list.all_namespaces {
                "any namespace".to_owned()
            } else {
                format!("namespace {}", cluster.namespace)
            };
            eprintln!("No rollouts found in {place}.");
        }
        Output::Table | Output::Wide => {
            println!(
                "{}",
                view::list(
                    &found,
                    list.all_namespaces,
                    list.output == Output::Wide,
                    Timestamp::now()
                )
            );
        }
        Output::Name => {
            for rollout in &found {
                print(rollout, Output::Name)?;
            }
        }
        Output::Json | Output::Yaml => {
            let items: Vec<Rollout> = found.into_iter().map(typed).collect();
            print_value(
                &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}),
                list.output,
            )?;
        }
    }
    Ok(0)
}

async fn watched(place: &Place, watch: &Watch) -> Result<u8, Error> {
    let cluster = Cluster::connect(place).await?;
    // The first look says at once when there is nothing to follow.
    cluster.rollout(&watch.name).await?;
    match follow(&cluster, watch).await? {
        Ended::Reached => Ok(0),
        Ended::Aborted => Ok(1),
        Ended::Timeout => {
            let rollout = cluster.rollout(&watch.name).await?;
            eprintln!("not there in time: {}", view::line(&rollout));
            Ok(3)
        }
    }
}

async fn undo(place: &Place, undo: &Undo) -> Result<u8, Error> {
    let cluster = Cluster::connect(place).await?;
    let name = &undo.named.name;
    let family = cluster.family(name).await?;
    let past = view::past(&family.deployments);
    let Some(rollout) = &family.rollout else {
        return Ok(1);
    };
    let found = intent::undo(rollout, &past, undo.to_revision.as_deref())?;
    let template = found.template.clone().unwrap_or_default();
    cluster
        .put_back(name, undo.named.dry_run, found, &template)
        .await?;
    let suffix = if undo.named.dry_run == DryRun::Server {
        " (dry run: nothing was changed)"
    } else {
        ""
    };
    println!(
        "rollout {name} goes back to revision {} (number {}){suffix}",
        found.revision, found.ordinal
    );
    println!("next: kubectl pointsman watch {name} -n {}", cluster.namespace);
    Ok(0)
}

/// A listed object has no kind of its own.
fn typed(mut rollout: Rollout) -> Rollout {
    rollout.metadata.managed_fields = None;
    rollout
}

fn print(rollout: &Rollout, output: Output) -> Result<(), Error> {
    if output == Output::Name {
        println!(
            "{}.{}/{}",
            Rollout::kind(&()).to_lowercase(),
            Rollout::group(&()),
            rollout.name_any()
        );
        return Ok(());
    }
    let value =
        serde_json::to_value(typed(rollout.clone())).map_err(|error| Error::Other(error.to_string()))?;
    print_value(&value, output)
}

fn print_value(value: &serde_json::Value, output: Output) -> Result<(), Error> {
    let text = match output {
        Output::Yaml => serde_norway::to_string(value).map_err(|error| Error::Other(error.to_string()))?,
        Output::Json | Output::Table | Output::Wide | Output::Name => {
            serde_json::to_string_pretty(value).map_err(|error| Error::Other(error.to_string()))?
        }
    };
    println!("{}", text.trim_end());
    Ok(())
}
