//! The watches of one scope: what they keep, and what of each object is thrown away before it is kept.

use std::fmt::Debug;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Pod, PodStatus, Secret, Service};
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource, ResourceExt as _};
use pointsman_api::labels;
use pointsman_api::rollout::Rollout;
use serde::de::DeserializeOwned;

use crate::app::ours;
use crate::kubernetes::backoff::WatchBackoff;
use crate::rollout::build::http_route;
use crate::rollout::observe::Stores;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    All,
    /// One.
    Namespace(String),
}

/// Objects, or why the watch broke; it mends itself.
pub type Watch<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// The watches of a scope.
pub struct Watched {
    /// What they keep.
    pub stores: Stores,
    /// The Rollouts.
    pub rollouts: (Watch<DeserializeGuard<Rollout>>, Store<DeserializeGuard<Rollout>>),
    /// Pods with our label.
    pub pods: Watch<Pod>,
    /// Our workloads.
    pub deployments: Watch<Deployment>,
    /// Our Services.
    pub services: Watch<Service>,
    /// Our Secrets, without their data.
    pub secrets: Watch<PartialObjectMeta<Secret>>,
    /// Every workload, for those that a Rollout refers to; nothing of it is kept.
    pub workloads: Watch<PartialObjectMeta<Deployment>>,
    /// Our routes.
    pub routes: Option<Watch<DynamicObject>>,
}

impl Stores {
    /// Ends once every store has its first list.
    pub async fn wait_until_ready(&self) {
        let _ = self.pods.wait_until_ready().await;
        let _ = self.deployments.wait_until_ready().await;
        let _ = self.services.wait_until_ready().await;
        let _ = self.secrets.wait_until_ready().await;
        if let Some(routes) = &self.routes {
            let _ = routes.wait_until_ready().await;
        }
    }
}

fn api<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match scope {
        Scope::All => Api::all(client.clone()),
        Scope::Namespace(name) => Api::namespaced(client.clone(), name),
    }
}

/// A watch that keeps its objects in a store, as `trim` leaves them.
fn kept<K>(
    api: Api<K>,
    config: watcher::Config,
    dynamic: K::DynamicType,
    trim: fn(&mut K),
) -> (Watch<K>, Store<K>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Clone + Eq + std::hash::Hash + Default + Send + Sync,
{
    let writer = reflector::store::Writer::<K>::new(dynamic);
    let reader = writer.as_reader();
    (reflected(watcher(api, config), writer, trim), reader)
}

fn reflected<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    writer: reflector::store::Writer<K>,
    trim: fn(&mut K),
) -> Watch<K>
where
    K: Resource + Clone + Send + Sync + 'static,
    K::DynamicType: Clone + Eq + std::hash::Hash + Send + Sync,
{
    events
        .backoff(WatchBackoff::default())
        .modify(trim)
        .reflect(writer)
        .touched_objects()
        .boxed()
}

/// Starts the watches of a scope. They run while the controller that owns them does.
#[must_use]
pub fn start(client: &Client, scope: &Scope, gateway: bool) -> Watched {
    let (rollouts, rollouts_store) =
        kept::<DeserializeGuard<Rollout>>(api(client, scope), all(), (), |rollout| {
            rollout.managed_fields_mut().clear();
            rollout
                .annotations_mut()
                .remove("kubectl.kubernetes.io/last-applied-configuration");
        });
    let (pods, pods_store) = kept::<Pod>(api(client, scope), all().labels(labels::ROLLOUT), (), trim_pod);
    let (deployments, deployments_store) =
        kept::<Deployment>(api(client, scope), ours(), (), trim_deployment);
    let (services, services_store) = kept::<Service>(api(client, scope), ours(), (), |service| {
        service.managed_fields_mut().clear();
        service.status = None;
    });
    let (secrets, secrets_store) =
        kept::<PartialObjectMeta<Secret>>(api(client, scope), ours(), (), |secret| {
            secret.managed_fields_mut().clear();
        });
    let workloads = watcher(api::<PartialObjectMeta<Deployment>>(client, scope), all())
        .backoff(WatchBackoff::default())
        .modify(|workload| workload.managed_fields_mut().clear())
        .touched_objects()
        .boxed();
    let routes = gateway.then(|| {
        let resource = http_route::resource();
        let api: Api<DynamicObject> = match scope {
            Scope::All => Api::all_with(client.clone(), &resource),
            Scope::Namespace(name) => Api::namespaced_with(client.clone(), name, &resource),
        };
        let writer = reflector::store::Writer::new(resource);
        let reader = writer.as_reader();
        (
            reflected(watcher(api, ours()), writer, |route: &mut DynamicObject| {
                route.managed_fields_mut().clear()
            }),
            reader,
        )
    });
    let (routes, routes_store) = routes.unzip();
    Watched {
        stores: Stores {
            pods: pods_store,
            deployments: deployments_store,
            services: services_store,
            secrets: secrets_store,
            routes: routes_store,
        },
        rollouts: (rollouts, rollouts_store),
        pods,
        deployments,
        services,
        secrets,
        workloads,
        routes,
    }
}

fn all() -> watcher::Config {
    watcher::Config::default().page_size(100)
}

/// Of a pod: labels, readiness, address, and whether it runs or ends.
fn trim_pod(pod: &mut Pod) {
    pod.managed_fields_mut().clear();
    pod.metadata.annotations = None;
    pod.spec = None;
    if let Some(status) = pod.status.take() {
        let mut containers = status.container_statuses;
        for container in containers.iter_mut().flatten() {
            let state = container.state.take();
            *container = k8s_openapi::api::core::v1::ContainerStatus {
                name: std::mem::take(&mut container.name),
                state,
                ..Default::default()
            };
        }
        pod.status = Some(PodStatus {
            conditions: status.conditions.map(|conditions| {
                conditions
                    .into_iter()
                    .filter(|condition| condition.type_ == "Ready")
                    .collect()
            }),
            container_statuses: containers,
            phase: status.phase,
            pod_ip: status.pod_ip,
            ..PodStatus::default()
        });
    }
}

/// Of a workload: labels, our annotations but the template, its size.
fn trim_deployment(deployment: &mut Deployment) {
    deployment.managed_fields_mut().clear();
    if let Some(annotations) = &mut deployment.metadata.annotations {
        annotations
            .retain(|name, _| [labels::ORDINAL, labels::PORTS, labels::SERVED].contains(&name.as_str()));
    }
    let replicas = deployment.spec.take().and_then(|spec| spec.replicas);
    deployment.spec = Some(DeploymentSpec {
        replicas,
        ..DeploymentSpec::default()
    });
    if let Some(status) = &mut deployment.status {
        status.conditions = None;
    }
}
