//! What is shown of a rollout. Pure: from the objects to lines.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use pointsman_api::labels;
use pointsman_api::rollout::{PhaseName, Rollout, RolloutStatus};

use crate::intent::Past;
use crate::paint::Tone;
use crate::table::age;

mod change;
mod revisions;
mod steps;
mod tables;
mod tree;

pub use change::{gist, line};
pub use steps::step_text;
pub use tables::{history, list};
pub use tree::tree;

/// A rollout and its children.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// The rollout.
    pub rollout: Rollout,
    /// Workloads of its revisions.
    pub deployments: Vec<Deployment>,
    /// Their pods.
    pub pods: Vec<Pod>,
    /// What could not be seen, and why.
    pub notes: Vec<String>,
}

fn status(rollout: &Rollout) -> RolloutStatus {
    rollout.status.clone().unwrap_or_default()
}

fn percent(value: Option<i32>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value} %"))
}

fn since(metadata: &ObjectMeta, now: Timestamp) -> String {
    metadata.creation_timestamp.as_ref().map_or_else(
        || "-".to_owned(),
        |time| age(now.as_second().saturating_sub(time.0.as_second())),
    )
}

/// The tone of a phase, and a mark that says the same without colour.
fn tone(phase: Option<PhaseName>) -> (Tone, &'static str) {
    match phase {
        Some(PhaseName::Stable) => (Tone::Good, "●"),
        Some(PhaseName::Aborted | PhaseName::Aborting) => (Tone::Bad, "✗"),
        Some(
            PhaseName::Initializing
            | PhaseName::Stepping
            | PhaseName::Previewing
            | PhaseName::Promoting
            | PhaseName::Pending,
        )
        | None => (Tone::Active, "▶"),
    }
}

fn phase_name(status: &RolloutStatus) -> String {
    status
        .phase
        .map_or_else(|| "Pending".to_owned(), |phase| format!("{phase:?}"))
}

/// The phase and, in a canary, the step.
fn phase(status: &RolloutStatus) -> String {
    match &status.step {
        Some(step) => format!("{} {step}", phase_name(status)),
        None => phase_name(status),
    }
}

/// True while the status answers an earlier spec.
#[must_use]
pub fn behind(rollout: &Rollout) -> bool {
    let seen = rollout
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    seen < rollout.metadata.generation
}

/// What a revision is to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Stable,
    Candidate,
    Aborted,
    Retired,
    Old,
}

impl Role {
    fn of(revision: &str, status: &RolloutStatus) -> Self {
        let out = matches!(status.phase, Some(PhaseName::Aborting | PhaseName::Aborted));
        let retired = status.memory.iter().flat_map(|memory| &memory.retired);
        if status.stable_revision.as_deref() == Some(revision) {
            Self::Stable
        } else if status.candidate_revision.as_deref() == Some(revision) {
            if out { Self::Aborted } else { Self::Candidate }
        } else if retired.into_iter().any(|retired| retired.revision == revision) {
            Self::Retired
        } else {
            Self::Old
        }
    }

    fn look(self) -> (&'static str, &'static str, Tone) {
        match self {
            Self::Stable => ("●", "stable", Tone::Good),
            Self::Candidate => ("◆", "candidate", Tone::Active),
            Self::Aborted => ("✗", "aborted", Tone::Bad),
            Self::Retired => ("○", "retired", Tone::Faint),
            Self::Old => ("○", "old", Tone::Faint),
        }
    }
}

/// Pods that are ready, and pods that are wanted.
fn replicas(deployment: &Deployment) -> (i32, i32) {
    let ready = deployment
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas);
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    (ready.unwrap_or(0), wanted.unwrap_or(0))
}

fn revision(deployment: &Deployment) -> String {
    deployment
        .labels()
        .get(labels::REVISION)
        .cloned()
        .unwrap_or_default()
}

fn ordinal(deployment: &Deployment) -> u32 {
    deployment
        .annotations()
        .get(labels::ORDINAL)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn served(deployment: &Deployment) -> bool {
    deployment.annotations().contains_key(labels::SERVED)
}

fn image_names(containers: &[Container]) -> String {
    let images: Vec<&str> = containers
        .iter()
        .filter_map(|container| container.image.as_deref())
        .collect();
    images.join(",")
}

fn images(deployment: &Deployment) -> String {
    let pods = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    pods.map(|pods| image_names(&pods.containers)).unwrap_or_default()
}

/// The revisions that are kept, oldest first.
#[must_use]
pub fn past(deployments: &[Deployment]) -> Vec<Past> {
    let mut past: Vec<Past> = deployments
        .iter()
        .map(|deployment| Past {
            revision: revision(deployment),
            ordinal: ordinal(deployment),
            served: served(deployment),
            template: deployment
                .annotations()
                .get(labels::TEMPLATE)
                .and_then(|text| serde_json::from_str(text).ok()),
        })
        .collect();
    past.sort_by_key(|past| past.ordinal);
    past
}

/// Workloads of each rollout, by namespace and name.
fn by_rollout(deployments: &[Deployment]) -> BTreeMap<(String, String), Vec<&Deployment>> {
    let mut all: BTreeMap<(String, String), Vec<&Deployment>> = BTreeMap::new();
    for deployment in deployments {
        if let Some(rollout) = deployment.labels().get(labels::ROLLOUT) {
            let key = (deployment.namespace().unwrap_or_default(), rollout.clone());
            all.entry(key).or_default().push(deployment);
        }
    }
    all
}

#[cfg(test)]
mod tests;
