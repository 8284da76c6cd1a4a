//! What the operator costs: requests of one canary, lengths of reconciles, memory, CPU and writes at rest.
// Indexing a JSON value gives null where there is nothing; it does not panic.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use pointsman_api::rollout::{PhaseName, Rollout};
use pointsman_e2e::cluster::{Cluster, until};
use pointsman_e2e::command::{root, run};
use pointsman_e2e::install;
use pointsman_e2e::rollout::{Service, canary};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const MANY: usize = 500;
const NAMESPACE: &str = "bench";
const MANY_NAMESPACE: &str = "bench-many";

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match bench().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-operator: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// One scrape: value by name and labels.
type Scrape = BTreeMap<String, f64>;

async fn scrape(cluster: &Cluster) -> anyhow::Result<Scrape> {
    let names = install::operators(cluster).await?;
    let leader = names.first().context("no operator runs")?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), install::NAMESPACE);
    let ip = pods
        .get(leader)
        .await?
        .status
        .and_then(|status| status.pod_ip)
        .context("the leader has no address")?;
    let command = cluster.inside(&["curl", "-sf", "-m", "10", &format!("http://{ip}:9090/metrics")]);
    let (first, rest) = command.split_first().context("no command")?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let text = run(first, &rest, MINUTE).await?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

/// Requests to the API server since `before`, but for the lease: (reads, writes).
fn requests(before: &Scrape, after: &Scrape) -> (f64, f64) {
    let (mut reads, mut writes) = (0.0, 0.0);
    let of_api =
        |name: &str| name.starts_with("pointsman_api_requests_total") && !name.contains("\"leases\"");
    for (name, value) in after.iter().filter(|(name, _)| of_api(name)) {
        let more = value - before.get(name).copied().unwrap_or(0.0);
        if name.contains("verb=\"GET\"") || name.contains("verb=\"WATCH\"") {
            reads += more;
        } else {
            writes += more;
        }
    }
    (reads, writes)
}

/// A percentile of the reconciles since `before`, in milliseconds: the upper bound of its bucket.
fn reconcile_ms(before: &Scrape, after: &Scrape, percent: f64) -> f64 {
    let mut buckets: Vec<(f64, f64)> = after
        .iter()
        .filter(|(name, _)| name.starts_with("pointsman_reconcile_seconds_bucket"))
        .filter_map(|(name, value)| {
            let bound = name
                .split("le=\"")
                .nth(1)?
                .split('"')
                .next()?
                .parse()
                .unwrap_or(f64::INFINITY);
            Some((bound, value - before.get(name).copied().unwrap_or(0.0)))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = buckets.last().map_or(0.0, |last| last.1);
    let found = buckets.iter().find(|(_, count)| *count >= all * percent / 100.0);
    found.map_or(0.0, |(bound, _)| bound * 1_000.0)
}

fn megabytes(scrape: &Scrape) -> f64 {
    scrape
        .get("process_resident_memory_bytes")
        .copied()
        .unwrap_or(0.0)
        / 1_048_576.0
}

/// Waits until every rollout of a namespace is stable.
async fn all_stable(cluster: &Cluster, namespace: &str, count: usize) -> anyhow::Result<()> {
    let api: Api<Rollout> = Api::namespaced(cluster.client.clone(), namespace);
    until(
        10 * MINUTE,
        &format!("not every rollout of {namespace} is stable"),
        || async {
            let list = api.list(&ListParams::default()).await?;
            let stable = |rollout: &&Rollout| {
                rollout
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase == Some(PhaseName::Stable))
            };
            let stable = list.items.iter().filter(stable).count();
            Ok((stable == count && list.items.len() == count).then_some(()))
        },
    )
    .await
}

/// Memory once it has settled, writes a minute, and CPU in percent of one core, over a minute of rest.
async fn rest(cluster: &Cluster) -> anyhow::Result<(f64, f64, f64)> {
    tokio::time::sleep(Duration::from_secs(20)).await;
    let before = scrape(cluster).await?;
    tokio::time::sleep(MINUTE).await;
    let after = scrape(cluster).await?;
    let cpu = |scrape: &Scrape| scrape.get("process_cpu_seconds_total").copied().unwrap_or(0.0);
    let (_, writes) = requests(&before, &after);
    Ok((
        megabytes(&after),
        writes,
        (cpu(&after) - cpu(&before)) / 60.0 * 100.0,
    ))
}

async fn bench() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    let images = install::images().await?;
    // An operator that has seen nothing yet.
    let _ = cluster
        .helm(&["uninstall", "pointsman", "-n", install::NAMESPACE, "--wait"])
        .await;
    for namespace in [NAMESPACE, MANY_NAMESPACE] {
        cluster.clear_namespace(namespace, 5 * MINUTE).await?;
        cluster.namespace(namespace).await?;
    }
    install::operator(&cluster, &images).await?;
    let service = Service {
        cluster: cluster.clone(),
        namespace: NAMESPACE.to_owned(),
        image: images.sync,
        replicas: 2,
    };
    let mut rows = Vec::new();
    let mut row = |metric: &str, value: f64, unit: &str| {
        println!("{metric:<44} {value:>10.1} {unit}");
        rows.push(json!({"bench": "operator", "subject": "pointsman", "metric": metric, "value": value, "unit": unit, "better": "lower"}));
    };
    let strategy = canary(&[10, 25, 50, 75, 90], Some("1s"));
    service
        .apply(&service.manifest(&service.template("v1", &[]), &strategy, true))
        .await?;
    let old = service
        .wait_phase(PhaseName::Stable, 3 * MINUTE)
        .await?
        .stable_revision
        .unwrap_or_default();
    let (memory, writes, cpu) = rest(&cluster).await?;
    row("memory with 1 rollout at rest", memory, "MiB");
    row("writes a minute with 1 rollout at rest", writes, "writes");
    row("CPU with 1 rollout at rest", cpu, "% of a core");

    let before = scrape(&cluster).await?;
    service
        .apply(&service.manifest(&service.template("v2", &[]), &strategy, true))
        .await?;
    service.wait_promoted(&old, 5 * MINUTE).await?;
    let after = scrape(&cluster).await?;
    let (reads, writes) = requests(&before, &after);
    row("reads of one canary of 5 weights", reads, "requests");
    row("writes of one canary of 5 weights", writes, "requests");
    row(
        "reconcile p50 in that canary, at most",
        reconcile_ms(&before, &after, 50.0),
        "ms",
    );
    row(
        "reconcile p99 in that canary, at most",
        reconcile_ms(&before, &after, 99.0),
        "ms",
    );

    many(&cluster, &service).await?;
    let (memory, writes, cpu) = rest(&cluster).await?;
    row(&format!("memory with {MANY} rollouts at rest"), memory, "MiB");
    row(
        &format!("writes a minute with {MANY} rollouts at rest"),
        writes,
        "writes",
    );
    row(&format!("CPU with {MANY} rollouts at rest"), cpu, "% of a core");
    let path = root().join("target/bench/operator.json");
    tokio::fs::create_dir_all(path.parent().context("no folder")?).await?;
    tokio::fs::write(&path, serde_json::to_string_pretty(&rows)?).await?;
    println!("also in target/bench/operator.json");
    cluster.clear_namespace(NAMESPACE, 5 * MINUTE).await?;
    cluster.clear_namespace(MANY_NAMESPACE, 10 * MINUTE).await
}

/// Rollouts without pods: a node has room for some hundred pods, and it is the operator that is measured.
async fn many(cluster: &Cluster, service: &Service) -> anyhow::Result<()> {
    let api: Api<Rollout> = Api::namespaced(cluster.client.clone(), MANY_NAMESPACE);
    let strategy = canary(&[20], None);
    for index in 0..MANY {
        let mut manifest: Value = service.manifest(&service.template("v1", &[]), &strategy, false);
        manifest["metadata"]["name"] = json!(format!("many-{index}"));
        manifest["metadata"]["namespace"] = json!(MANY_NAMESPACE);
        manifest["spec"]["replicas"] = json!(0);
        api.patch(
            &format!("many-{index}"),
            &PatchParams::apply("bench").force(),
            &Patch::Apply(manifest),
        )
        .await?;
    }
    all_stable(cluster, MANY_NAMESPACE, MANY).await
}
