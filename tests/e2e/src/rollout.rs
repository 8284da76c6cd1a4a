//! Rollouts of the sync service, and waiting for what becomes of them.

use std::time::Duration;

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use pointsman_api::rollout::{PhaseName, Rollout, RolloutStatus};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

/// The gateway that the local cluster has; another cluster's is given as `POINTSMAN_GATEWAY_NAME=namespace/name`.
fn gateway() -> (String, String) {
    let given =
        std::env::var("POINTSMAN_GATEWAY_NAME").unwrap_or_else(|_| "gateway-system/gateway".to_owned());
    match given.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => ("default".to_owned(), given),
    }
}

/// A Rollout of the sync service in a namespace of its own.
#[derive(Clone)]
pub struct Service {
    /// The cluster.
    pub cluster: Cluster,
    /// Its namespace, and the first label of its host name.
    pub namespace: String,
    /// Image of the sync service.
    pub image: String,
    /// Pods at full size.
    pub replicas: u32,
}

/// Name of every Rollout here.
pub const NAME: &str = "chat";

impl Service {
    /// Host name by which the gateway knows it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.local", self.namespace)
    }

    /// The pod template of a version; `arguments` are added to those of every version.
    #[must_use]
    pub fn template(&self, version: &str, arguments: &[&str]) -> Value {
        let mut all = vec!["serve", "--listen=0.0.0.0:8080", "--control=0.0.0.0:8081"];
        all.extend(arguments);
        json!({
            "metadata": {"labels": {"app": NAME}, "annotations": {"version": version}},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "sync",
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": all,
                    "ports": [{"name": "sessions", "containerPort": 8080}, {"name": "control", "containerPort": 8081}],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8081}, "periodSeconds": 1},
                    "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8081}, "periodSeconds": 10},
                    "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
                }],
            },
        })
    }

    /// The whole Rollout. `strategy` is that of the spec; without `gateway` it is served by plain Services.
    #[must_use]
    pub fn manifest(&self, template: &Value, strategy: &Value, behind_gateway: bool) -> Value {
        let (namespace, name) = gateway();
        let mut spec = json!({
            "replicas": self.replicas,
            "template": template,
            "strategy": strategy,
            "sessions": {"port": 8080, "controlPort": 8081, "drain": {"ratePerSecond": 12, "deadline": "2m"}},
            "progressDeadline": "3m",
        });
        if behind_gateway {
            spec["traffic"] = json!({"gateway": {"parentRefs": [{"name": name, "namespace": namespace}], "hostnames": [self.host()]}});
        }
        json!({
            "apiVersion": "pointsman.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": NAME, "namespace": self.namespace},
            "spec": spec,
        })
    }

    /// Applies a manifest, as `kubectl apply` does.
    pub async fn apply(&self, manifest: &Value) -> anyhow::Result<String> {
        self.cluster.apply(&manifest.to_string()).await
    }

    /// The API of Rollouts in this namespace.
    #[must_use]
    pub fn api(&self) -> Api<Rollout> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// The Rollout now.
    pub async fn get(&self) -> anyhow::Result<Rollout> {
        Ok(self.api().get(NAME).await?)
    }

    /// Its status now.
    pub async fn status(&self) -> anyhow::Result<RolloutStatus> {
        Ok(self.get().await?.status.unwrap_or_default())
    }

    /// Merges a patch into the Rollout.
    pub async fn patch(&self, patch: &Value) -> anyhow::Result<()> {
        self.api()
            .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Deletes the Rollout, as `kubectl delete` does.
    pub async fn delete(&self) -> anyhow::Result<()> {
        self.api().delete(NAME, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Waits until the status, of the present generation, satisfies `wanted`.
    pub async fn wait(
        &self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&RolloutStatus) -> bool,
    ) -> anyhow::Result<RolloutStatus> {
        let last = std::sync::Mutex::new(String::new());
        let waited = until(within, what, || async {
            let rollout = self.get().await?;
            let status = rollout.status.clone().unwrap_or_default();
            let current = status.observed_generation == rollout.metadata.generation;
            if let Ok(mut last) = last.lock() {
                *last = format!(
                    "{:?} {}: {}",
                    status.phase,
                    status.step.as_deref().unwrap_or("-"),
                    status.message.as_deref().unwrap_or("-")
                );
            }
            Ok((current && wanted(&status)).then_some(status))
        });
        waited.await.map_err(|error| {
            let last = last.lock().map(|last| last.clone()).unwrap_or_default();
            error.context(format!("last seen: {last}"))
        })
    }

    /// Waits for a phase.
    pub async fn wait_phase(&self, phase: PhaseName, within: Duration) -> anyhow::Result<RolloutStatus> {
        self.wait(within, &format!("the rollout is not {phase:?}"), |status| {
            status.phase == Some(phase)
        })
        .await
    }

    /// Waits until a revision other than `old` serves everything.
    pub async fn wait_promoted(&self, old: &str, within: Duration) -> anyhow::Result<RolloutStatus> {
        self.wait(within, "the new revision is not stable", |status| {
            status.phase == Some(PhaseName::Stable)
                && status
                    .stable_revision
                    .as_deref()
                    .is_some_and(|stable| stable != old)
        })
        .await
    }
}

/// A canary that moves sessions, with a pause after each weight so that the share can be seen.
#[must_use]
pub fn canary(weights: &[u8], pause: Option<&str>) -> Value {
    let steps: Vec<Value> = weights
        .iter()
        .flat_map(|percent| {
            let pause = pause.map_or_else(
                || json!({"pause": {}}),
                |pause| json!({"pause": {"duration": pause}}),
            );
            [
                json!({"setWeight": {"percent": percent, "of": "sessions"}}),
                pause,
            ]
        })
        .collect();
    json!({"canary": {"steps": steps}})
}

/// Blue-green.
#[must_use]
pub fn blue_green(auto_promote: bool, delay: &str) -> Value {
    json!({"blueGreen": {"autoPromote": auto_promote, "scaleDownDelay": delay}})
}
