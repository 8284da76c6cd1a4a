//! Step 1, I/O in: what the world looks like. Children come from watches; live sessions are counted at the pods.
//! Whatever cannot be seen is unknown, never zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt as _};
use pointsman_api::labels;
use pointsman_api::rollout::RolloutSpec;
use pointsman_core::rollout::{self as core, Count, Revision, Routed};
use serde_json::Value;

use super::build::{Owner, http_route};
use super::error::Error;
use super::ports::Ports;
use super::sessions::{Address, Pods, Report};
use crate::kubernetes::client::call;

/// What watches keep up to date.
#[derive(Clone)]
pub struct Stores {
    /// Pods of all Rollouts.
    pub pods: Store<Pod>,
    /// Workloads of all revisions.
    pub deployments: Store<Deployment>,
    /// Our Services.
    pub services: Store<Service>,
    /// Our Secrets, without their data.
    pub secrets: Store<PartialObjectMeta<Secret>>,
    /// Our routes; `None` when the cluster has no Gateway API.
    pub routes: Option<Store<DynamicObject>>,
}

/// One pod, as far as a rollout cares.
#[derive(Clone, Debug, Default)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: Option<Revision>,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// It takes traffic.
    pub ready: bool,
    /// It was told to end.
    pub terminating: bool,
    /// A container of it runs, so it may have sessions.
    pub running: bool,
    /// What it said of its sessions; `None` when it was not asked or did not answer.
    pub report: Option<Report>,
}

/// The children of one Rollout.
#[derive(Debug, Default)]
pub struct World {
    /// For the core.
    pub seen: core::Observed,
    /// Pods of every revision.
    pub pods: Vec<PodView>,
    /// Workloads by revision.
    pub deployments: BTreeMap<Revision, Arc<Deployment>>,
    /// Services by name.
    pub services: BTreeMap<String, Arc<Service>>,
    /// The route.
    pub route: Option<Arc<DynamicObject>>,
    /// The Secret, without its data.
    pub secret: Option<Arc<PartialObjectMeta<Secret>>>,
    /// Token of the control port, when sessions were to be counted.
    pub token: Option<String>,
    /// Why a pod could not be asked, for the log.
    pub unanswered: Option<String>,
}

/// The pod template: that of the spec, or of the workload that it refers to.
pub async fn template(client: &Client, owner: &Owner, spec: &RolloutSpec) -> Result<Value, Error> {
    let Some(reference) = &spec.workload_ref else {
        return Ok(spec.template.clone().unwrap_or_default());
    };
    let api: Api<Deployment> = Api::namespaced(client.clone(), &owner.namespace);
    let found = call(api.get_opt(&reference.name)).await;
    let what = format!("Deployment {}", reference.name);
    let found = found.map_err(|error| Error::of_call(format!("get {what}"), error))?;
    let found = found.ok_or(Error::Missing {
        field: "spec.workloadRef",
        what,
    })?;
    let template = found.spec.map(|spec| spec.template);
    serde_json::to_value(template).map_err(|error| Error::Undecodable(error.to_string()))
}

/// Looks at the children of a Rollout; with `count`, asks the pods for their sessions too.
pub async fn observe(
    client: &Client,
    stores: &Stores,
    asked: &Pods,
    owner: &Owner,
    count: bool,
) -> Result<World, Error> {
    let mut world = children(stores, owner);
    if count {
        world.token = token(client, asked, owner, world.secret.as_deref()).await?;
        ask(asked, &mut world).await;
    }
    world.seen = core_view(owner, &world, count);
    Ok(world)
}

fn children(stores: &Stores, owner: &Owner) -> World {
    let ours = |metadata: &ObjectMeta| {
        metadata.namespace.as_deref() == Some(&owner.namespace) && owner.owns(metadata)
    };
    let pods = stores.pods.state_filter(|pod| {
        pod.metadata.namespace.as_deref() == Some(&owner.namespace)
            && pod
                .labels()
                .get(labels::ROLLOUT)
                .is_some_and(|name| *name == owner.name)
    });
    let mut pods: Vec<PodView> = pods.iter().map(|pod| view(pod)).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    let deployments = stores
        .deployments
        .state_filter(|deployment| ours(&deployment.metadata));
    let deployments = deployments
        .into_iter()
        .filter_map(|deployment| Some((revision(deployment.meta())?, deployment)));
    let services = stores.services.state_filter(|service| ours(&service.metadata));
    World {
        pods,
        deployments: deployments.collect(),
        services: services
            .into_iter()
            .map(|service| (service.name_any(), service))
            .collect(),
        route: stores.routes.as_ref().and_then(|routes| {
            let reference = ObjectRef::new_with(&owner.name, http_route::resource()).within(&owner.namespace);
            routes.get(&reference)
        }),
        secret: stores
            .secrets
            .get(&ObjectRef::new(&owner.secret()).within(&owner.namespace)),
        ..World::default()
    }
}

fn revision(metadata: &ObjectMeta) -> Option<Revision> {
    metadata
        .labels
        .as_ref()?
        .get(labels::REVISION)
        .cloned()
        .map(Revision)
}

fn view(pod: &Pod) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let containers = status.container_statuses.unwrap_or_default();
    let running = containers.iter().any(|container| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    });
    let terminating = pod.metadata.deletion_timestamp.is_some();
    PodView {
        name: pod.name_any(),
        revision: revision(&pod.metadata),
        ip: status.pod_ip.filter(|ip| !ip.is_empty()),
        ready: ready && !terminating,
        terminating,
        running,
        report: None,
    }
}

/// The token of the control port: from memory while the Secret is the same, else from the API server.
async fn token(
    client: &Client,
    asked: &Pods,
    owner: &Owner,
    secret: Option<&PartialObjectMeta<Secret>>,
) -> Result<Option<String>, Error> {
    let Some(version) = secret.and_then(|secret| secret.metadata.resource_version.clone()) else {
        return Ok(None);
    };
    if let Some(known) = asked.known_tokens(&owner.uid, &version) {
        return Ok(known.into_iter().next());
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), &owner.namespace);
    let found = call(api.get_opt(&owner.secret())).await;
    let found = found.map_err(|error| Error::of_call(format!("get Secret {}", owner.secret()), error))?;
    let tokens = found.map(|secret| read_tokens(&secret)).unwrap_or_default();
    asked.remember_tokens(&owner.uid, &version, &tokens);
    Ok(tokens.into_iter().next())
}

/// The tokens in a Secret, one a line.
#[must_use]
pub fn read_tokens(secret: &Secret) -> Vec<String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(labels::TOKEN_FILE));
    let text = bytes
        .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
        .unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

async fn ask(asked: &Pods, world: &mut World) {
    let Some(token) = world.token.clone() else { return };
    let addresses: Vec<(String, Address)> = world
        .pods
        .iter()
        .filter(|pod| pod.running)
        .filter_map(|pod| Some((pod.name.clone(), address(world, pod)?)))
        .collect();
    let reports = asked.reports(addresses, &token).await;
    let mut unanswered = None;
    for pod in &mut world.pods {
        match reports.get(&pod.name) {
            Some(Ok(report)) => pod.report = Some(report.clone()),
            // A pod that ends stops answering a moment before it is gone.
            Some(Err(error)) if !pod.terminating => unanswered = Some(format!("pod {}: {error}", pod.name)),
            Some(Err(_)) => {}
            None => {}
        }
    }
    world.unanswered = unanswered;
}

/// Where a pod is asked: at the control port that its revision came with.
#[must_use]
pub fn address(world: &World, pod: &PodView) -> Option<Address> {
    let ports = ports(world.deployments.get(pod.revision.as_ref()?)?)?;
    Some(Address {
        ip: pod.ip.clone()?,
        port: ports.control?,
    })
}

/// The ports that a revision came with.
#[must_use]
pub fn ports(deployment: &Deployment) -> Option<Ports> {
    let text = deployment.metadata.annotations.as_ref()?.get(labels::PORTS)?;
    serde_json::from_str(text).ok()
}

fn core_view(owner: &Owner, world: &World, counted: bool) -> core::Observed {
    let mut seen = core::Observed {
        routed: world
            .route
            .as_ref()
            .map_or(Routed::Unknown, |route| http_route::in_force(owner, route)),
        ..core::Observed::default()
    };
    for revision in world.deployments.keys() {
        let of_revision = || {
            world
                .pods
                .iter()
                .filter(|pod| pod.revision.as_ref() == Some(revision))
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        seen.pods.insert(
            revision.clone(),
            core::Pods {
                total: number(of_revision().count()),
                ready: number(of_revision().filter(|pod| pod.ready).count()),
            },
        );
        if counted {
            // A pod whose containers do not run has no sockets, so it need not answer.
            let open = of_revision()
                .filter(|pod| pod.running)
                .try_fold(0_u32, |sum, pod| {
                    Some(sum.saturating_add(pod.report.as_ref()?.open))
                });
            seen.sessions
                .insert(revision.clone(), open.map_or(Count::Unknown, Count::Known));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(pods: Vec<PodView>) -> World {
        let deployment = Arc::new(Deployment::default());
        World {
            pods,
            deployments: [(Revision("a1".to_owned()), deployment)].into(),
            ..World::default()
        }
    }

    fn pod(running: bool, open: Option<u32>) -> PodView {
        PodView {
            revision: Some(Revision("a1".to_owned())),
            running,
            report: open.map(|open| Report {
                open,
                ..Report::default()
            }),
            ..PodView::default()
        }
    }

    #[test]
    fn one_silent_pod_makes_the_count_unknown() {
        let owner = Owner {
            name: "chat".to_owned(),
            namespace: "shop".to_owned(),
            uid: "u".to_owned(),
        };
        let count = |pods| {
            core_view(&owner, &world(pods), true)
                .sessions
                .into_values()
                .next()
                .unwrap()
        };
        assert_eq!(
            count(vec![pod(true, Some(3)), pod(true, Some(4))]),
            Count::Known(7)
        );
        assert_eq!(count(vec![pod(true, Some(3)), pod(true, None)]), Count::Unknown);
        assert_eq!(count(vec![pod(true, Some(3)), pod(false, None)]), Count::Known(3));
        assert_eq!(count(Vec::new()), Count::Known(0));
        assert!(core_view(&owner, &world(Vec::new()), false).sessions.is_empty());
    }
}
