//! Step 4, pure: from the desired world to Kubernetes objects, one kind a file.

pub mod deployment;
pub mod http_route;
pub mod secret;
pub mod service;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use pointsman_api::labels;
use pointsman_core::rollout::Revision;

/// The Rollout that objects are made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID, so that a Rollout of the same name later does not own the children of this one.
    pub uid: String,
}

impl Owner {
    /// Name of the child of a revision.
    #[must_use]
    pub fn child(&self, revision: &Revision) -> String {
        format!("{}-{revision}", self.name)
    }

    /// Name of the Service that selects the candidate of a blue-green rollout.
    #[must_use]
    pub fn preview(&self) -> String {
        format!("{}-preview", self.name)
    }

    /// Name of the headless Service by which pods find each other.
    #[must_use]
    pub fn peers(&self) -> String {
        format!("{}-peers", self.name)
    }

    /// Name of the Secret with the token of the control port.
    #[must_use]
    pub fn secret(&self) -> String {
        format!("{}-control", self.name)
    }

    /// Labels that all pods of this Rollout have.
    #[must_use]
    pub fn selector(&self, revision: Option<&Revision>) -> BTreeMap<String, String> {
        let mut selector = BTreeMap::from([(labels::ROLLOUT.to_owned(), self.name.clone())]);
        if let Some(revision) = revision {
            selector.insert(labels::REVISION.to_owned(), revision.0.clone());
        }
        selector
    }

    /// Metadata of a child: owned, labelled, in the namespace.
    #[must_use]
    pub fn metadata(&self, name: String, revision: Option<&Revision>) -> ObjectMeta {
        let mut labels = self.selector(revision);
        labels.insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{}/v1alpha1", labels::GROUP),
            kind: "Rollout".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// True when an object belongs to this very Rollout.
    #[must_use]
    pub fn owns(&self, metadata: &ObjectMeta) -> bool {
        metadata.owner_references.as_deref().is_some_and(|owners| {
            owners
                .iter()
                .any(|owner| owner.uid == self.uid && owner.controller == Some(true))
        })
    }
}
