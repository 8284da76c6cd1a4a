//! End to end: a real API server, real pods, real sockets through a real gateway.
//!
//! Needs a cluster that is up (`make cluster-up`, or `KUBECONFIG`); `make e2e` runs it, one test at a time, in the order
//! of their names: those that take parts of the cluster down come last.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "e2e/a_spec.rs"]
mod a_spec;
#[path = "e2e/b_canary.rs"]
mod b_canary;
#[path = "e2e/c_blue_green.rs"]
mod c_blue_green;
#[path = "e2e/d_plain.rs"]
mod d_plain;
#[path = "e2e/e_operator.rs"]
mod e_operator;
#[path = "e2e/f_chart.rs"]
mod f_chart;
#[path = "e2e/g_outage.rs"]
mod g_outage;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use pointsman_e2e::cluster::{Cluster, until};
use pointsman_e2e::install::{self, Images};
use pointsman_e2e::load::Load;
use pointsman_e2e::rollout::Service;
use serde_json::Value;
use tokio::sync::OnceCell;

const MINUTE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 60;

/// Runs a test on a runtime of its own.
fn run(test: impl Future<Output = anyhow::Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if let Err(error) = runtime.block_on(test) {
        panic!("{error:#}");
    }
}

/// The images, built once, and the operator of this working tree, installed once.
async fn images() -> anyhow::Result<Images> {
    static IMAGES: OnceCell<Images> = OnceCell::const_new();
    let images = IMAGES.get_or_try_init(|| async {
        let images = install::images().await?;
        install::operator(&Cluster::connect().await?, &images).await?;
        Ok::<_, anyhow::Error>(images)
    });
    Ok(images.await?.clone())
}

/// A fresh namespace with room for a Rollout. What an earlier run left there goes first.
async fn service(namespace: &str, replicas: u32) -> anyhow::Result<Service> {
    let images = images().await?;
    let cluster = Cluster::connect().await?;
    cluster.clear_namespace(namespace, 3 * MINUTE).await?;
    cluster.namespace(namespace).await?;
    Ok(Service {
        cluster,
        namespace: namespace.to_owned(),
        image: images.sync,
        replicas,
    })
}

/// Brings the first version up and connects clients to it; returns its revision and the clients.
async fn serving(service: &Service, manifest: &Value, clients: usize) -> anyhow::Result<(String, Load)> {
    service.apply(manifest).await?;
    let status = service
        .wait_phase(pointsman_api::rollout::PhaseName::Stable, 3 * MINUTE)
        .await?;
    let load = Load::start(&service.cluster, &service.host(), clients).await?;
    Ok((status.stable_revision.unwrap_or_default(), load))
}

/// Ends a test: the namespace goes, so that the next one has the machine.
async fn done(service: &Service) -> anyhow::Result<()> {
    service
        .cluster
        .clear_namespace(&service.namespace, 3 * MINUTE)
        .await
}

/// Waits until the workload of a revision has so many pods.
async fn until_scaled(service: &Service, revision: &str, pods: i32) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(service.cluster.client.clone(), &service.namespace);
    let name = format!("{}-{revision}", pointsman_e2e::rollout::NAME);
    until(2 * MINUTE, &format!("{name} has not {pods} pods"), || async {
        let found = api.get_opt(&name).await?;
        let wanted = found
            .as_ref()
            .and_then(|found| found.spec.as_ref()?.replicas)
            .unwrap_or(0);
        let ready = found.and_then(|found| found.status?.ready_replicas).unwrap_or(0);
        Ok((wanted == pods && ready == pods).then_some(()))
    })
    .await
}

fn number(report: &Value, pointer: &str) -> f64 {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no {pointer} in {report}"))
}

/// What every release owes every client.
fn assert_kind(report: &Value) {
    assert!(
        number(report, "/disconnectsPerClient/max") <= 1.0,
        "somebody was moved twice: {report}"
    );
    assert_eq!(number(report, "/failedHandshakes"), 0.0, "{report}");
    assert_eq!(number(report, "/movesBack"), 0.0, "{report}");
    assert_eq!(number(report, "/writesLost"), 0.0, "{report}");
    assert!(number(report, "/writesAcknowledged") > 0.0, "{report}");
}
