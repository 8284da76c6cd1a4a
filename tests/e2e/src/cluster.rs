//! The cluster: the local one of `deploy/local`, or the one that `KUBECONFIG` names.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use pointsman_api::labels;
use pointsman_api::rollout::Rollout;
use serde_json::json;

use crate::command::{run, run_with};

const TOOL: &str = "deploy/local/cluster";
const SHORT: Duration = Duration::from_secs(60);

/// A cluster that is up.
#[derive(Clone)]
pub struct Cluster {
    /// Its API server.
    pub client: Client,
    /// `host:port` of its gateway, as seen by [`Cluster::inside`].
    pub gateway: String,
    /// True for the one-node cluster of `deploy/local`, whose parts can be stopped and killed.
    pub local: bool,
}

impl Cluster {
    /// Connects to the cluster that is up.
    pub async fn connect() -> anyhow::Result<Self> {
        let path = run(TOOL, &["kubeconfig"], SHORT).await?;
        let kubeconfig =
            Kubeconfig::read_from(path.trim()).context("is the cluster up? run: make cluster-up")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let local = std::env::var_os("KUBECONFIG").is_none_or(|other| other.to_string_lossy() == path.trim());
        let gateway = match std::env::var("POINTSMAN_GATEWAY") {
            Ok(given) => given,
            Err(_) => gateway(path.trim()).await?,
        };
        Ok(Self {
            client: Client::try_from(config)?,
            gateway,
            local,
        })
    }

    /// Runs kubectl.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut all = vec!["kubectl"];
        all.extend(arguments);
        run(TOOL, &all, SHORT * 3).await
    }

    /// Applies a manifest, as a user would.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        run_with(TOOL, &["kubectl", "apply", "-f", "-"], yaml, SHORT).await
    }

    /// Runs helm.
    pub async fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut all = vec!["helm"];
        all.extend(arguments);
        run(TOOL, &all, SHORT * 5).await
    }

    /// Runs a command of the local cluster's own: `restart --kill`, `stop-apiserver` and so on.
    pub async fn tool(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(TOOL, arguments, SHORT * 5).await
    }

    /// Program and arguments that run a command where pods and gateway can be reached.
    #[must_use]
    pub fn inside(&self, command: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        if self.local {
            all.extend([TOOL, "enter", "--net"].map(str::to_owned));
        }
        all.extend(command.iter().map(|part| (*part).to_owned()));
        all
    }

    /// Makes a namespace that enforces the restricted Pod Security standard.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let labels = BTreeMap::from([("pod-security.kubernetes.io/enforce", "restricted")]);
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        api.patch(
            name,
            &PatchParams::apply("pointsman-e2e").force(),
            &Patch::Apply(namespace),
        )
        .await?;
        Ok(())
    }

    /// Deletes the rollouts of a namespace, waits until their pods are gone, and deletes it then: a namespace that goes
    /// with its pods waits for the longest grace period among them, however fast they end.
    pub async fn clear_namespace(&self, name: &str, within: Duration) -> anyhow::Result<()> {
        let rollouts: Api<Rollout> = Api::namespaced(self.client.clone(), name);
        match rollouts
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), name);
        until(within, &format!("pods of {name} are left"), || async {
            let left = pods
                .list_metadata(&ListParams::default().labels(labels::ROLLOUT))
                .await?;
            Ok(left.items.is_empty().then_some(()))
        })
        .await?;
        self.delete_namespace(name, within).await
    }

    /// Deletes a namespace and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str, within: Duration) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        until(within, &format!("namespace {name} is still there"), || async {
            Ok(api.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }
}

async fn gateway(kubeconfig: &str) -> anyhow::Result<String> {
    let file = std::path::Path::new(kubeconfig).with_file_name("gateway.address");
    let address = tokio::fs::read_to_string(&file).await.with_context(|| {
        format!(
            "{} cannot be read; with another cluster set POINTSMAN_GATEWAY=host:port",
            file.display()
        )
    })?;
    Ok(format!("{}:80", address.trim()))
}

/// Looks five times a second until there is a value. The limit is one that only a broken build reaches.
pub async fn until<T, F>(within: Duration, what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let end = tokio::time::Instant::now() + within;
    loop {
        let last = match look().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if tokio::time::Instant::now() >= end {
            return match last {
                Some(error) => Err(error.context(format!("{what} after {within:?}"))),
                None => Err(anyhow::anyhow!("{what} after {within:?}")),
            };
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
