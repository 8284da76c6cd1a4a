//! The cluster: what is read from it.

mod change;
mod lost;

use std::error::Error as _;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use pointsman_api::labels;
use pointsman_api::rollout::Rollout;
use serde::de::DeserializeOwned;

use crate::arguments::Place;
use crate::error::Error;
use crate::view::Family;

/// A call that takes longer has failed.
const CALL_WITHIN: Duration = Duration::from_secs(20);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const PAGE: u32 = 500;
/// A list that is longer than this many pages is cut; no cluster has as many.
const PAGES_MAX: usize = 200;

/// Rollouts in one namespace.
#[derive(Clone)]
pub struct Cluster {
    /// The API server.
    pub client: Client,
    /// Its address, for people.
    pub server: String,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// Connects as kubectl would.
    pub async fn connect(place: &Place) -> Result<Self, Error> {
        let mut config = config(place).await?;
        // Commands say at once that a server is gone; whoever follows tries again himself.
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_WITHIN);
        let namespace = place
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| no_cluster(&error))?;
        Ok(Self {
            client,
            server,
            namespace,
        })
    }

    /// One call, with its limit.
    pub async fn call<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(CALL_WITHIN, request).await {
            Ok(answer) => answer.map_err(|error| Error::of_call(error, &self.server)),
            Err(_) => Err(Error::Unreachable {
                server: self.server.clone(),
                why: format!("no answer within {} s", CALL_WITHIN.as_secs()),
            }),
        }
    }

    /// Rollouts here.
    #[must_use]
    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Deployments here.
    #[must_use]
    pub fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Pods here.
    #[must_use]
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One rollout; an error tells what may have been meant.
    pub async fn rollout(&self, name: &str) -> Result<Rollout, Error> {
        match self.call(self.rollouts().get_opt(name)).await? {
            Some(found) => Ok(found),
            None => Err(self.lost(name).await),
        }
    }

    /// One rollout, as the API server has it, with the fields that this program does not know.
    pub async fn raw(&self, name: &str) -> Result<DynamicObject, Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource());
        match self.call(api.get_opt(name)).await? {
            Some(found) => Ok(found),
            None => Err(self.lost(name).await),
        }
    }

    /// Rollouts, as the API server has them.
    pub async fn list(&self, everywhere: bool, selector: Option<&str>) -> Result<Vec<DynamicObject>, Error> {
        let api: Api<DynamicObject> = if everywhere {
            Api::all_with(self.client.clone(), &resource())
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource())
        };
        self.pages(&api, selector).await
    }

    /// Workloads of all rollouts; `None` when the user may not see them.
    pub async fn workloads(&self, everywhere: bool) -> Option<Vec<Deployment>> {
        let api = if everywhere {
            Api::all(self.client.clone())
        } else {
            self.deployments()
        };
        let ours = format!("{}={}", labels::MANAGED_BY, labels::MANAGER);
        self.pages(&api, Some(&ours)).await.ok()
    }

    /// One rollout with its children. What the user may not see is left out, and a note says so.
    pub async fn family(&self, name: &str) -> Result<Family, Error> {
        let mut family = Family {
            rollout: self.rollout(name).await?,
            ..Family::default()
        };
        let ours = format!("{}={name}", labels::ROLLOUT);
        let (deployments, pods) = (self.deployments(), self.pods());
        let (deployments, pods) = tokio::join!(
            self.pages(&deployments, Some(&ours)),
            self.pages(&pods, Some(&ours))
        );
        match deployments {
            Ok(found) => family.deployments = found,
            Err(Error::Forbidden(why)) => family.notes.push(why),
            Err(error) => return Err(error),
        }
        match pods {
            Ok(found) => family.pods = found,
            Err(Error::Forbidden(why)) => family.notes.push(why),
            Err(error) => return Err(error),
        }
        Ok(family)
    }

    /// Names of the rollouts here.
    pub async fn names(&self) -> Result<Vec<String>, Error> {
        let api = self.rollouts();
        let found = self
            .call(api.list_metadata(&ListParams::default().limit(PAGE)))
            .await?;
        Ok(found
            .items
            .into_iter()
            .filter_map(|found| found.metadata.name)
            .collect())
    }

    async fn pages<K>(&self, api: &Api<K>, selector: Option<&str>) -> Result<Vec<K>, Error>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut wanted = ListParams::default().limit(PAGE);
        if let Some(selector) = selector {
            wanted = wanted.labels(selector);
        }
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.call(api.list(&wanted)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => wanted.continue_token = Some(token),
                None => break,
            }
        }
        Ok(all)
    }
}

fn resource() -> ApiResource {
    ApiResource::erase::<Rollout>(&())
}

/// An object of the API server as a Rollout.
pub fn typed(object: &DynamicObject) -> Result<Rollout, Error> {
    let unreadable = |error: serde_json::Error| Error::Unreadable {
        what: format!("rollout {}", object.metadata.name.as_deref().unwrap_or_default()),
        why: error.to_string(),
    };
    let value = serde_json::to_value(object).map_err(unreadable)?;
    serde_json::from_value(value).map_err(unreadable)
}

async fn config(place: &Place) -> Result<Config, Error> {
    let options = KubeConfigOptions {
        context: place.context.clone(),
        ..KubeConfigOptions::default()
    };
    let file = match &place.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None if place.context.is_some() => Kubeconfig::read(),
        // Without a kubeconfig there may be a pod's own account.
        None => return Config::infer().await.map_err(|error| no_cluster(&error)),
    };
    let file = file.map_err(|error| no_cluster(&error))?;
    let contexts: Vec<String> = file.contexts.iter().map(|context| context.name.clone()).collect();
    if let Some(wanted) = place.context.as_ref().filter(|wanted| !contexts.contains(wanted)) {
        let known = contexts.join(", ");
        return Err(Error::NoCluster(format!(
            "the kubeconfig has no context {wanted}, only: {known}"
        )));
    }
    Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|error| no_cluster(&error))
}

/// What is wrong with the kubeconfig, without the excerpt of it that parsers add: there are secrets in it.
fn no_cluster(error: &(dyn std::error::Error + 'static)) -> Error {
    let error = match error.downcast_ref::<InferConfigError>() {
        Some(infer) => infer.source().unwrap_or(infer),
        None => error,
    };
    let text = error.to_string();
    let text = text.split("-->").next().unwrap_or_default().trim();
    Error::NoCluster(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broken_kubeconfig_is_not_shown() {
        let path = std::env::temp_dir().join(format!("pointsman-kubeconfig-{}", std::process::id()));
        std::fs::write(&path, "users: [{name: admin, user: {token: hush}\ncontexts: []\n").unwrap();
        let place = Place {
            kubeconfig: Some(path.clone()),
            ..Place::default()
        };
        let error = config(&place).await.unwrap_err().line();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("failed to parse kubeconfig"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
