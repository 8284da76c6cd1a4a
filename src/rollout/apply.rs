//! Step 5, I/O out: makes the cluster what the persisted state asks for. An object that already is as wanted is not
//! written. The order is fixed: what serves comes up before traffic turns to it, and goes after traffic has left it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt as _};
use pointsman_api::labels;
use pointsman_core::rollout::{Desired, Phase, Revision, State, Strategy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::build::{Owner, deployment, http_route, secret, service};
use super::error::Error;
use super::observe::{World, ports, read_tokens};
use super::ports::Ports;
use super::validate::{Checked, Invalid};
use crate::kubernetes::client::call;

const MANAGER_WORKLOAD: &str = "pointsman/workload";
const MANAGER_SERVICE: &str = "pointsman/service";
const MANAGER_ROUTE: &str = "pointsman/route";
const MANAGER_SECRET: &str = "pointsman/secret";

/// What the steps of one apply share.
pub struct Applier<'a> {
    /// Where to write.
    pub client: &'a Client,
    /// Whose children.
    pub owner: &'a Owner,
    /// The spec.
    pub checked: &'a Checked,
    /// The persisted state.
    pub state: &'a State,
    /// What that asks for.
    pub desired: &'a Desired,
    /// What there is.
    pub world: &'a World,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Applier<'_> {
    /// Makes the cluster what is desired. Stops at the first error; the next reconcile starts over.
    pub async fn apply(&self) -> Result<(), Error> {
        if self.checked.spec.sessions.is_some() {
            self.secret().await?;
        }
        self.workloads_up().await?;
        let ports = self.ports();
        self.services(&ports).await?;
        self.route(&ports).await?;
        self.workloads_down().await?;
        self.stale_services().await?;
        self.history().await?;
        self.take_over().await
    }

    // === the Secret of the control port ===

    async fn secret(&self) -> Result<(), Error> {
        let known = self.world.secret.as_deref();
        let rotated_ms = known
            .and_then(|secret| secret.annotations().get(labels::ROTATED)?.parse::<i64>().ok())
            .unwrap_or(self.now_ms);
        let age_ms = self.now_ms.saturating_sub(rotated_ms);
        // One look a day is enough for a rotation once a month, and none is needed while the Secret is young.
        if known.is_some() && age_ms < secret::KNOWN_AFTER_MS {
            return Ok(());
        }
        let name = self.owner.secret();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        let found = call(api.get_opt(&name))
            .await
            .map_err(|error| Error::of_call(format!("get Secret {name}"), error))?;
        if found
            .as_ref()
            .is_some_and(|found| !self.owner.owns(&found.metadata))
        {
            return Err(Error::Conflict { kind: "Secret", name });
        }
        let tokens = found.as_ref().map(read_tokens).unwrap_or_default();
        let Some((tokens, rotated_ms)) = secret::rotate(&tokens, rotated_ms, self.now_ms, fresh_token) else {
            return Ok(());
        };
        self.patch(
            &api,
            &name,
            &secret::build(self.owner, &tokens, rotated_ms),
            MANAGER_SECRET,
        )
        .await
    }

    // === workloads ===

    async fn workloads_up(&self) -> Result<(), Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        for (revision, replicas) in &self.desired.workloads {
            match self.world.deployments.get(revision) {
                Some(found) if replicas_of(found) < *replicas => {
                    self.scale(&api, revision, *replicas).await?
                }
                Some(_) => {}
                None => self.create(&api, revision, *replicas).await?,
            }
        }
        self.renumber(&api).await?;
        self.mark_served(&api).await
    }

    /// Undo goes back to what has served, not to what was aborted.
    async fn mark_served(&self, api: &Api<Deployment>) -> Result<(), Error> {
        let stable = self
            .state
            .stable
            .as_ref()
            .and_then(|stable| self.world.deployments.get_key_value(stable));
        match stable {
            Some((revision, found)) if !found.annotations().contains_key(labels::SERVED) => {
                let patch = json!({"metadata": {"annotations": {labels::SERVED: "true"}}});
                self.merge(api, &self.owner.child(revision), &patch).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn create(&self, api: &Api<Deployment>, revision: &Revision, replicas: u32) -> Result<(), Error> {
        let name = self.owner.child(revision);
        let found = call(api.get_opt(&name))
            .await
            .map_err(|error| Error::of_call(format!("get Deployment {name}"), error))?;
        match found {
            Some(found) if self.owner.owns(&found.metadata) => return Ok(()),
            Some(_) => {
                return Err(Error::Conflict {
                    kind: "Deployment",
                    name,
                });
            }
            None => {}
        }
        if *revision != self.checked.spec.target {
            return Err(Error::TemplateLost(revision.0.clone()));
        }
        let parts = deployment::Parts {
            revision,
            template: &self.checked.template,
            ports: &self.checked.ports,
            ordinal: self.ordinal_max().saturating_add(1),
            replicas,
            drain_deadline_ms: self.checked.spec.sessions.map(|drain| drain.deadline_ms),
        };
        let built = deployment::build(self.owner, &parts)
            .map_err(|error| Invalid::new("spec.template", format!("is not a pod template: {error}")))?;
        let parameters = PostParams {
            field_manager: Some(MANAGER_WORKLOAD.to_owned()),
            ..PostParams::default()
        };
        match call(api.create(&parameters, &built)).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(409) => Err(Error::Stale),
            Err(error) => Err(Error::of_call(
                format!("the pods of revision {revision} (Deployment {name})"),
                error,
            )),
        }
    }

    fn ordinal_max(&self) -> u32 {
        self.world
            .deployments
            .values()
            .map(|deployment| ordinal(deployment))
            .max()
            .unwrap_or(0)
    }

    /// A revision that comes in again becomes the newest in the history, so that undo after undo comes back.
    async fn renumber(&self, api: &Api<Deployment>) -> Result<(), Error> {
        let coming = match self.state.phase {
            Phase::Stepping { .. } | Phase::Previewing { .. } | Phase::Promoting { .. } => {
                self.state.candidate.as_ref()
            }
            Phase::Pending
            | Phase::Initializing { .. }
            | Phase::Stable
            | Phase::Aborting { .. }
            | Phase::Aborted { .. } => None,
        };
        let Some((revision, found)) =
            coming.and_then(|revision| self.world.deployments.get_key_value(revision))
        else {
            return Ok(());
        };
        let newest = self.ordinal_max();
        if ordinal(found) >= newest {
            return Ok(());
        }
        let patch =
            json!({"metadata": {"annotations": {labels::ORDINAL: newest.saturating_add(1).to_string()}}});
        self.merge(api, &self.owner.child(revision), &patch).await
    }

    async fn workloads_down(&self) -> Result<(), Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        for (revision, found) in &self.world.deployments {
            let wanted = self.desired.workloads.get(revision).copied().unwrap_or(0);
            if replicas_of(found) > wanted {
                self.scale(&api, revision, wanted).await?;
            }
        }
        Ok(())
    }

    async fn scale(&self, api: &Api<Deployment>, revision: &Revision, replicas: u32) -> Result<(), Error> {
        self.merge(
            api,
            &self.owner.child(revision),
            &json!({"spec": {"replicas": replicas}}),
        )
        .await
    }

    async fn merge(&self, api: &Api<Deployment>, name: &str, patch: &Value) -> Result<(), Error> {
        let parameters = PatchParams {
            field_manager: Some(MANAGER_WORKLOAD.to_owned()),
            ..PatchParams::default()
        };
        match call(api.patch(name, &parameters, &Patch::Merge(patch))).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(404) => Err(Error::Stale),
            Err(error) => Err(Error::of_call(format!("Deployment {name}"), error)),
        }
    }

    /// Deletes workloads without pods beyond the history limit, oldest first.
    async fn history(&self) -> Result<(), Error> {
        let kept = |revision: &Revision| {
            self.desired.workloads.contains_key(revision)
                || self.state.stable.as_ref() == Some(revision)
                || self.state.candidate.as_ref() == Some(revision)
                || *revision == self.checked.spec.target
        };
        let empty = |deployment: &Deployment| {
            replicas_of(deployment) == 0
                && deployment
                    .status
                    .as_ref()
                    .and_then(|status| status.replicas)
                    .unwrap_or(0)
                    == 0
        };
        let mut old: Vec<_> = self
            .world
            .deployments
            .iter()
            .filter(|(revision, deployment)| !kept(revision) && empty(deployment))
            .collect();
        old.sort_by_key(|(_, deployment)| std::cmp::Reverse(ordinal(deployment)));
        let limit = usize::try_from(self.checked.spec.revision_history_limit).unwrap_or(usize::MAX);
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        for (_, deployment) in old.into_iter().skip(limit) {
            self.delete(&api, &**deployment, "Deployment").await?;
        }
        Ok(())
    }

    /// With `workloadRef`: once the first revision serves, the workload that it came from gives up its pods.
    async fn take_over(&self) -> Result<(), Error> {
        let Some(name) = &self.checked.takes_over else {
            return Ok(());
        };
        if self.state.stable.is_none() {
            return Ok(());
        }
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        let found = call(api.get_opt(name))
            .await
            .map_err(|error| Error::of_call(format!("get Deployment {name}"), error))?;
        match found {
            Some(found) if replicas_of(&found) > 0 => {
                self.merge(&api, name, &json!({"spec": {"replicas": 0}})).await
            }
            Some(_) | None => Ok(()),
        }
    }

    // === traffic ===

    /// Ports of every revision that may be routed to.
    fn ports(&self) -> BTreeMap<Revision, Ports> {
        let of = |revision: &Revision| {
            let known = self
                .world
                .deployments
                .get(revision)
                .and_then(|deployment| ports(deployment));
            known.unwrap_or_else(|| self.checked.ports.clone())
        };
        let routed = self.desired.weights.keys().chain(&self.desired.pinned);
        let selected = self.desired.selected.iter().chain(&self.desired.preview);
        routed
            .chain(selected)
            .map(|revision| (revision.clone(), of(revision)))
            .collect()
    }

    fn blue_green(&self) -> bool {
        matches!(self.checked.spec.strategy, Strategy::BlueGreen { .. })
    }

    fn behind_gateway(&self, revision: &Revision) -> bool {
        self.checked.gateway.is_some()
            && (self.desired.weights.contains_key(revision) || self.desired.pinned.contains(revision))
    }

    async fn services(&self, ports: &BTreeMap<Revision, Ports>) -> Result<(), Error> {
        let of = |revision: Option<&Revision>| {
            revision
                .and_then(|revision| ports.get(revision))
                .unwrap_or(&self.checked.ports)
        };
        let mut wanted = Vec::new();
        if let Some(control) = self.checked.ports.control {
            wanted.push(service::peers(self.owner, control));
        }
        for revision in ports.keys().filter(|revision| self.behind_gateway(revision)) {
            let name = self.owner.child(revision);
            wanted.push(service::serving(
                self.owner,
                name,
                Some(revision),
                Some(revision),
                of(Some(revision)),
            ));
        }
        let selected = self.desired.selected.as_ref();
        wanted.push(service::serving(
            self.owner,
            self.owner.name.clone(),
            selected,
            None,
            of(selected),
        ));
        if self.blue_green() {
            let preview = self.desired.preview.as_ref().or(selected);
            wanted.push(service::serving(
                self.owner,
                self.owner.preview(),
                preview,
                None,
                of(preview),
            ));
        }
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        for service in wanted {
            let known = self.world.services.get(&service.name_any()).map(|known| &**known);
            self.ensure(&api, known, &service, "Service", MANAGER_SERVICE)
                .await?;
        }
        Ok(())
    }

    async fn route(&self, ports: &BTreeMap<Revision, Ports>) -> Result<(), Error> {
        let known = self.world.route.as_deref();
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            &self.owner.namespace,
            &http_route::resource(),
        );
        let Some(gateway) = &self.checked.gateway else {
            return match known {
                Some(route) if self.owner.owns(&route.metadata) => {
                    self.delete(&api, route, "HTTPRoute").await
                }
                Some(_) | None => Ok(()),
            };
        };
        let Some(route) = http_route::build(self.owner, gateway, self.desired, ports) else {
            return Ok(());
        };
        self.ensure(&api, known, &route, "HTTPRoute", MANAGER_ROUTE).await
    }

    /// Services of revisions that no route leads to any more, and the preview of what is no longer blue-green.
    async fn stale_services(&self) -> Result<(), Error> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.owner.namespace);
        for (name, service) in &self.world.services {
            let revision = service.labels().get(labels::REVISION).cloned().map(Revision);
            let stale = match revision {
                Some(revision) => !self.behind_gateway(&revision),
                None => *name == self.owner.preview() && !self.blue_green(),
            };
            if stale {
                self.delete(&api, &**service, "Service").await?;
            }
        }
        Ok(())
    }

    // === writing ===

    /// Applies an object unless it is there as wanted. An object of that name that is not ours is left alone.
    async fn ensure<K>(
        &self,
        api: &Api<K>,
        known: Option<&K>,
        wanted: &K,
        kind: &'static str,
        manager: &str,
    ) -> Result<(), Error>
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = wanted.name_any();
        let fetched;
        let known = match known {
            Some(known) => Some(known),
            None => {
                let found = call(api.get_opt(&name)).await;
                fetched = found.map_err(|error| Error::of_call(format!("get {kind} {name}"), error))?;
                fetched.as_ref()
            }
        };
        if let Some(known) = known {
            if !self.owner.owns(known.meta()) {
                return Err(Error::Conflict { kind, name });
            }
            if as_wanted(known, wanted) {
                return Ok(());
            }
        }
        self.patch(api, &name, wanted, manager).await
    }

    async fn patch<K>(&self, api: &Api<K>, name: &str, wanted: &K, manager: &str) -> Result<(), Error>
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        let parameters = PatchParams::apply(manager).force();
        match call(api.patch(name, &parameters, &Patch::Apply(wanted))).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::of_call(format!("apply {name}"), error)),
        }
    }

    async fn delete<K>(&self, api: &Api<K>, known: &K, kind: &'static str) -> Result<(), Error>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
    {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: known.uid(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match call(api.delete(&known.name_any(), &parameters)).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(()),
            Err(error) => Err(Error::of_call(
                format!("delete {kind} {}", known.name_any()),
                error,
            )),
        }
    }
}

fn replicas_of(deployment: &Deployment) -> u32 {
    let replicas = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    u32::try_from(replicas).unwrap_or(0)
}

fn ordinal(deployment: &Deployment) -> u32 {
    deployment
        .annotations()
        .get(labels::ORDINAL)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn fresh_token() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// True when an object has everything that is wanted and, where its spec is wholly ours, nothing more than defaults.
fn as_wanted<K: Serialize>(known: &K, wanted: &K) -> bool {
    let (Ok(known), Ok(wanted)) = (serde_json::to_value(known), serde_json::to_value(wanted)) else {
        return false;
    };
    // What is absent in what is wanted may be a default of the server, except where the server has none.
    let whole = ["/spec/hostnames", "/spec/selector"];
    whole
        .iter()
        .all(|field| known.pointer(field) == wanted.pointer(field))
        && holds(&known, &wanted)
}

fn holds(known: &Value, wanted: &Value) -> bool {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            wanted.is_null() || known.get(name).is_some_and(|known| holds(known, wanted))
        }),
        (Value::Array(known), Value::Array(wanted)) => {
            known.len() == wanted.len()
                && known
                    .iter()
                    .zip(wanted)
                    .all(|(known, wanted)| holds(known, wanted))
        }
        (known, wanted) => known == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_server_are_no_difference_but_lists_are_whole() {
        let known = json!({"spec": {"a": 1, "default": true, "list": [{"x": 1, "default": 2}]}});
        assert!(as_wanted(&known, &json!({"spec": {"a": 1, "list": [{"x": 1}]}})));
        assert!(!as_wanted(&known, &json!({"spec": {"a": 2}})));
        assert!(!as_wanted(&known, &json!({"spec": {"list": []}})));
        assert!(!as_wanted(&known, &json!({"spec": {"new": 1}})));
    }

    #[test]
    fn what_was_taken_away_is_a_difference() {
        assert!(!as_wanted(
            &json!({"spec": {"hostnames": ["a"]}}),
            &json!({"spec": {}})
        ));
        assert!(!as_wanted(
            &json!({"spec": {"selector": {"a": "b", "c": "d"}}}),
            &json!({"spec": {"selector": {"a": "b"}}})
        ));
    }
}
