//! The cluster, and errors in words for people.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use pointsman_api::labels;
use pointsman_api::rollout::Rollout;
use serde_json::Value;

use crate::arguments::{DryRun, Place};
use crate::intent::{Change, Past, Refusal};
use crate::view::Family;

const CALL_WITHIN: Duration = Duration::from_secs(20);
/// How often a change is decided anew because somebody else wrote in between.
const TRIES: usize = 5;
const MANAGER: &str = "kubectl-pointsman";

/// Why a command failed. All are for people; none is worth trying again without a change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster to talk to.
    #[error("no cluster: {0}; check --kubeconfig, --context and KUBECONFIG")]
    NoCluster(String),
    /// There is no such rollout.
    #[error("rollout {name} is not in namespace {namespace}{hint}")]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
        /// Where it may be.
        hint: String,
    },
    /// The definitions are missing.
    #[error(
        "this cluster has no Rollouts; install the chart: helm install pointsman-crds charts/pointsman-crds"
    )]
    NoDefinition,
    /// The user may not.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// There is nothing to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody else keeps writing.
    #[error("the rollout was changed by somebody else {TRIES} times in a row; try again")]
    Contended,
    /// The cluster does not answer.
    #[error("the API server did not answer within {} s", CALL_WITHIN.as_secs())]
    Timeout,
    /// Anything else that the API server says.
    #[error("{0}")]
    Other(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(status.message.clone()),
            kube::Error::Api(status)
                if status.code == 404 && status.message.contains("could not find the requested resource") =>
            {
                Self::NoDefinition
            }
            kube::Error::Api(status) if status.code == 404 && status.message.contains("page not found") => {
                Self::NoDefinition
            }
            kube::Error::Api(status) => Self::Other(status.message.clone()),
            other => Self::NoCluster(other.to_string()),
        }
    }
}

/// Rollouts in one namespace.
#[derive(Clone)]
pub struct Cluster {
    /// The API server.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

/// One call, with its limit.
pub async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_WITHIN, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Timeout),
    }
}

impl Cluster {
    /// Connects as kubectl would.
    pub async fn connect(place: &Place) -> Result<Self, Error> {
        let wrong = |error: &dyn std::fmt::Display| Error::NoCluster(error.to_string());
        let options = KubeConfigOptions {
            context: place.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match (&place.kubeconfig, &place.context) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|error| wrong(&error))?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| wrong(&error))?,
            (None, None) => Config::infer().await.map_err(|error| wrong(&error))?,
        };
        let namespace = place
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| wrong(&error))?;
        Ok(Self { client, namespace })
    }

    /// Rollouts here.
    #[must_use]
    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One rollout; an error tells where else there is one of that name.
    pub async fn rollout(&self, name: &str) -> Result<Rollout, Error> {
        if let Some(found) = call(self.rollouts().get_opt(name)).await? {
            return Ok(found);
        }
        // A missing definition answers like a missing object; a list tells them apart.
        call(self.rollouts().list(&ListParams::default().limit(1))).await?;
        Err(Error::NotFound {
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            hint: self.hint(name).await,
        })
    }

    async fn hint(&self, name: &str) -> String {
        let all: Api<Rollout> = Api::all(self.client.clone());
        let Ok(found) =
            call(all.list_metadata(&ListParams::default().fields(&format!("metadata.name={name}")))).await
        else {
            return String::new();
        };
        let places: Vec<String> = found
            .items
            .into_iter()
            .filter_map(|found| found.metadata.namespace)
            .take(3)
            .collect();
        if places.is_empty() {
            return format!("; list them: kubectl pointsman list -n {}", self.namespace);
        }
        format!("; there is one in {}", places.join(", "))
    }

    /// One rollout with its children.
    pub async fn family(&self, name: &str) -> Result<Family, Error> {
        let rollout = self.rollout(name).await?;
        let ours = ListParams::default().labels(&format!("{}={name}", labels::ROLLOUT));
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let (deployments, pods) = tokio::join!(call(deployments.list(&ours)), call(pods.list(&ours)));
        Ok(Family {
            rollout: Some(rollout),
            deployments: deployments?.items,
            pods: pods?.items,
        })
    }

    /// Decides on the rollout as it is and writes; decides anew when somebody else wrote in between.
    pub async fn change(
        &self,
        name: &str,
        dry_run: DryRun,
        decide: impl Fn(&Rollout) -> Result<Change, Refusal>,
    ) -> Result<Change, Error> {
        for _ in 0..TRIES {
            let rollout = self.rollout(name).await?;
            let change = decide(&rollout)?;
            match call(
                self.rollouts()
                    .patch(name, &parameters(dry_run), &Patch::Merge(&change.patch)),
            )
            .await
            {
                Ok(_) => return Ok(change),
                Err(Error::Other(message)) if message.contains("the object has been modified") => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended)
    }

    /// Puts the template of a past revision back.
    pub async fn put_back(
        &self,
        name: &str,
        dry_run: DryRun,
        past: &Past,
        template: &Value,
    ) -> Result<(), Error> {
        let wrong = |error: serde_json::Error| {
            Error::Other(format!(
                "the template of revision {} is broken: {error}",
                past.revision
            ))
        };
        // A whole value: merging would keep what the newer template added.
        let operations = serde_json::json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        let patch: Patch<Rollout> = Patch::Json(serde_json::from_value(operations).map_err(wrong)?);
        call(self.rollouts().patch(name, &parameters(dry_run), &patch)).await?;
        Ok(())
    }
}

fn parameters(dry_run: DryRun) -> PatchParams {
    PatchParams {
        dry_run: dry_run == DryRun::Server,
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
