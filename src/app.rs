//! The composition root: makes clients and watches, runs named tasks, owns the order of shutdown.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::Controller;
use kube::runtime::controller;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, CustomResourceExt as _, ResourceExt as _};
use pointsman_api::labels;
use pointsman_api::rollout::Rollout;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Health};
use crate::cli::Run;
use crate::kubernetes::backoff::NoBackoff;
use crate::kubernetes::client::{call, connect};
use crate::kubernetes::lease::{self, Leadership};
use crate::rollout::{self, Context};
use crate::rollout::{record, sessions::Pods};
use crate::telemetry::Metrics;
use crate::watches::{self, Scope};

const FORGET_EVERY: Duration = Duration::from_secs(60);
const GATEWAY_LOOK_EVERY: Duration = Duration::from_secs(60);
/// After the signal, running reconciles have this long.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(20);

/// Runs the operator until it is told to end. An error ends the process, and the reason is for whoever installed it.
pub async fn run(options: Run) -> anyhow::Result<()> {
    let metrics = Metrics::new()?;
    let client = connect(metrics.api_requests.clone())
        .await
        .context("no cluster to talk to")?;
    need_definitions(&client).await?;
    let gateway = has_definition(&client, "httproutes.gateway.networking.k8s.io").await?;
    if !gateway {
        tracing::warn!(
            "this cluster has no Gateway API: rollouts with spec.traffic.gateway cannot be served"
        );
    }
    let ready = Arc::new(AtomicBool::new(false));
    let listener = admin::bind(options.admin_address).await?;
    let health = Health {
        ready: Arc::clone(&ready),
        metrics: metrics.clone(),
    };
    let admin = tokio::spawn(admin::serve(listener, health));

    let (stop, stopped) = watch::channel(false);
    tokio::spawn(signals(stop));
    let me = name(&options);
    let leadership = Leadership::new();
    let lease = tokio::spawn(lease::run(
        client.clone(),
        options.namespace.clone(),
        me.clone(),
        leadership.clone(),
        until(stopped.clone()),
    ));

    let mut controllers = Vec::new();
    let mut filled = Vec::new();
    for scope in scopes(&options.watch_namespaces) {
        let (controller, full) = controller(
            &client,
            &scope,
            gateway,
            &options,
            &metrics,
            &leadership,
            &me,
            stopped.clone(),
        );
        controllers.push(tokio::spawn(controller));
        filled.push(full);
    }
    tokio::spawn(async move {
        futures::future::join_all(filled).await;
        tracing::info!("every watch has its first list");
        ready.store(true, Ordering::Relaxed);
    });
    tokio::spawn(follow_leadership(leadership, metrics.leader.clone()));
    let appeared = gateway_appears(client, gateway);
    supervise(admin, lease, controllers, appeared, stopped).await
}

/// Any task that ends before it is told to is a fault: the process ends, and the next one starts afresh.
async fn supervise(
    admin: tokio::task::JoinHandle<()>,
    mut lease: tokio::task::JoinHandle<()>,
    controllers: Vec<tokio::task::JoinHandle<()>>,
    gateway_appears: impl Future<Output = ()>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut controllers = futures::future::select_all(controllers);
    tokio::select! {
        _ = admin => bail!("the admin port is no longer served"),
        _ = &mut lease => bail!("the lease task ended"),
        _ = &mut controllers => bail!("a controller ended"),
        () = gateway_appears => bail!("Gateway API was installed meanwhile; starting again to watch it"),
        () = until(stopped) => {}
    }
    tracing::info!("told to end: finishing what runs");
    let rest = async {
        let (_, _, rest) = controllers.await;
        futures::future::join_all(rest).await;
        // Only now: a replica that took over earlier would meet our last reconciles.
        let _ = lease.await;
    };
    if tokio::time::timeout(SHUTDOWN_WITHIN, rest).await.is_err() {
        tracing::warn!("reconciles did not end in time; the next leader goes on from the status");
    }
    Ok(())
}

fn name(options: &Run) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = || {
        host()
            .map(|host| host.trim().to_owned())
            .filter(|host| !host.is_empty())
    };
    options
        .name
        .clone()
        .or_else(host)
        .unwrap_or_else(|| format!("pointsman-{:08x}", rand::random::<u32>()))
}

fn scopes(namespaces: &[String]) -> Vec<Scope> {
    let mut names: Vec<String> = namespaces
        .iter()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return vec![Scope::All];
    }
    names.into_iter().map(Scope::Namespace).collect()
}

async fn has_definition(client: &Client, name: &str) -> anyhow::Result<bool> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = call(api.get_metadata_opt(name)).await;
    match found {
        Ok(found) => Ok(found.is_some()),
        Err(error) if error.status() == Some(403) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("the definition {name} could not be read")),
    }
}

async fn need_definitions(client: &Client) -> anyhow::Result<()> {
    let name = Rollout::crd_name();
    if has_definition(client, name).await? {
        return Ok(());
    }
    bail!(
        "the custom resource definition {name} is missing (or this account may not get it); \
         install it: helm install pointsman-crds charts/pointsman-crds"
    )
}

/// Ends when Gateway API comes into a cluster that had none.
async fn gateway_appears(client: Client, known: bool) {
    if known {
        return futures::future::pending().await;
    }
    loop {
        tokio::time::sleep(GATEWAY_LOOK_EVERY).await;
        if has_definition(&client, "httproutes.gateway.networking.k8s.io")
            .await
            .unwrap_or(false)
        {
            return;
        }
    }
}

/// The controller of one scope, and a future that ends once its watches are filled.
#[expect(
    clippy::too_many_arguments,
    reason = "the composition root hands out everything once"
)]
fn controller(
    client: &Client,
    scope: &Scope,
    gateway: bool,
    options: &Run,
    metrics: &Metrics,
    leadership: &Leadership,
    me: &str,
    stopped: watch::Receiver<bool>,
) -> (impl Future<Output = ()> + use<>, impl Future<Output = ()> + use<>) {
    let watched = watches::start(client, scope, gateway);
    let context = Arc::new(Context {
        client: client.clone(),
        stores: watched.stores.clone(),
        pods: Pods::default(),
        recorder: Recorder::new(client.clone(), record::reporter(me)),
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        backoffs: crate::kubernetes::backoff::Backoffs::default(),
        filled: AtomicBool::new(false),
        notes: std::sync::Mutex::default(),
    });
    let (rollouts, reader) = watched.rollouts;
    let references = {
        let reader = reader.clone();
        move |workload: kube::api::PartialObjectMeta<Deployment>| referring(&reader, &workload)
    };
    let mut controller = Controller::for_stream(rollouts, reader.clone())
        .with_config(
            controller::Config::default()
                .concurrency(options.concurrency)
                .debounce(Duration::from_millis(50)),
        )
        .trigger_backoff(NoBackoff)
        .owns_stream(watched.deployments)
        .owns_stream(watched.services)
        .owns_stream(watched.secrets)
        .watches_stream(watched.pods, |pod| of_label(&pod))
        .watches_stream(watched.workloads, references)
        .reconcile_all_on(elected(leadership))
        .graceful_shutdown_on(until(stopped));
    if let Some(routes) = watched.routes {
        controller = controller.owns_stream_with(routes, rollout::build::http_route::resource());
    }
    tokio::spawn(forget(Arc::clone(&context), reader.clone()));
    let running = {
        let context = Arc::clone(&context);
        async move {
            controller
                .run(rollout::reconcile, rollout::on_error, context)
                .for_each(|outcome| {
                    if let Err(controller::Error::QueueError(error)) = outcome {
                        tracing::warn!(%error, "a watch broke; it is made again");
                    }
                    futures::future::ready(())
                })
                .await;
        }
    };
    let stores = watched.stores;
    // The watches run with the controller, so this ends only while that is polled. A store wakes only the last of those
    // who wait for it, and for the Rollouts that is the controller itself: here nobody may wait for them.
    let filled = async move {
        stores.wait_until_ready().await;
        context.filled.store(true, Ordering::Relaxed);
    };
    (running, filled)
}

/// The Rollout that a pod is labelled with.
fn of_label<K: kube::Resource>(child: &K) -> Option<ObjectRef<DeserializeGuard<Rollout>>> {
    let name = child.labels().get(labels::ROLLOUT)?;
    let namespace = child.meta().namespace.as_deref()?;
    Some(ObjectRef::new(name).within(namespace))
}

/// The Rollouts that take their template from a workload.
fn referring(
    rollouts: &Store<DeserializeGuard<Rollout>>,
    workload: &kube::api::PartialObjectMeta<Deployment>,
) -> Vec<ObjectRef<DeserializeGuard<Rollout>>> {
    let refers = |rollout: &Arc<DeserializeGuard<Rollout>>| {
        rollout.namespace() == workload.namespace()
            && rollout.0.as_ref().is_ok_and(|rollout| {
                rollout
                    .spec
                    .workload_ref
                    .as_ref()
                    .is_some_and(|reference| reference.name == workload.name_any())
            })
    };
    rollouts
        .state()
        .iter()
        .filter(|rollout| refers(rollout))
        .map(|rollout| ObjectRef::from_obj(&**rollout))
        .collect()
}

/// An item whenever this replica begins to lead.
fn elected(leadership: &Leadership) -> impl futures::Stream<Item = ()> + Send + use<> {
    let changes = leadership.changes();
    futures::stream::unfold((changes, false), |(mut changes, mut led)| async move {
        loop {
            let leads = changes.borrow_and_update().is_some();
            if leads && !led {
                return Some(((), (changes, true)));
            }
            led = leads;
            if changes.changed().await.is_err() {
                return None;
            }
        }
    })
}

async fn follow_leadership(leadership: Leadership, gauge: prometheus::IntGauge) {
    let mut changes = leadership.changes();
    loop {
        gauge.set(i64::from(changes.borrow_and_update().is_some()));
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn forget(context: Arc<Context>, rollouts: Store<DeserializeGuard<Rollout>>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let alive: std::collections::BTreeSet<String> = rollouts
            .state()
            .iter()
            .filter_map(|rollout| rollout.uid())
            .collect();
        context.forget(|uid| alive.contains(uid));
    }
}

async fn signals(stop: watch::Sender<bool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be heard");
        return;
    };
    for told in 0_u8.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if told > 0 {
            tracing::warn!("told again: ending at once");
            std::process::exit(130);
        }
        stop.send_replace(true);
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the signal task is gone, and with it whoever could stop us; run on.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        futures::future::pending::<()>().await;
    }
}

/// What a watch asks for when only our own objects matter.
#[must_use]
pub fn ours() -> watcher::Config {
    watcher::Config::default()
        .labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER))
        .page_size(100)
}
