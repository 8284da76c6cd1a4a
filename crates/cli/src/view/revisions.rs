//! The revisions of a rollout, each with its pods.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use pointsman_api::labels;
use pointsman_api::rollout::RolloutStatus;

use super::{Family, Role, image_names, images, ordinal, replicas, revision, since};
use crate::paint::{Line, Tone};

/// More pods than this are counted only.
const PODS_SHOWN_MAX: usize = 50;
const DIGEST_LETTERS: usize = 12;

pub(super) fn revisions(family: &Family, status: &RolloutStatus, now: Timestamp) -> Vec<Line> {
    let mut live: Vec<(&Deployment, Vec<&Pod>)> = family
        .deployments
        .iter()
        .map(|deployment| (deployment, pods_of(family, deployment)))
        .filter(|(deployment, pods)| replicas(deployment).1 > 0 || !pods.is_empty())
        .collect();
    live.sort_by_key(|(deployment, _)| std::cmp::Reverse(ordinal(deployment)));
    let gone = family.deployments.len().saturating_sub(live.len());
    let mut lines = Vec::new();
    if !family.deployments.is_empty() {
        lines.push(Line::new("  revisions"));
    }
    let last = live.len().saturating_sub(1);
    for (index, (deployment, pods)) in live.iter().enumerate() {
        let (branch, trunk) = if index == last {
            ("  └─ ", "     ")
        } else {
            ("  ├─ ", "  │  ")
        };
        lines.push(heading(deployment, status, branch));
        for pod in pods.iter().take(PODS_SHOWN_MAX) {
            lines.push(pod_line(pod, now, &format!("{trunk}   ")));
        }
        let hidden = pods.len().saturating_sub(PODS_SHOWN_MAX);
        if hidden > 0 {
            lines.push(Line::new(format!("{trunk}   and {hidden} more pods")));
        }
    }
    if gone > 0 {
        let name = family.rollout.name_any();
        let text = format!("     {gone} more without pods: kubectl pointsman history {name}");
        lines.push(Line::default().tone(Tone::Faint, text));
    }
    lines
}

fn heading(deployment: &Deployment, status: &RolloutStatus, branch: &str) -> Line {
    let revision = revision(deployment);
    let role = Role::of(&revision, status);
    let counts = status.sessions.clone().unwrap_or_default();
    let sessions = match role {
        Role::Stable => counts.stable,
        Role::Candidate | Role::Aborted => counts.candidate,
        Role::Retired | Role::Old => None,
    };
    let sessions = sessions.map_or_else(String::new, |count| format!("   {count} sessions"));
    let (ready, wanted) = replicas(deployment);
    let (mark, word, shade) = role.look();
    Line::new(branch)
        .tone(shade, format!("{mark} {revision}  {word}"))
        .text(format!(
            "   deployment/{}   {ready}/{wanted} ready{sessions}   {}",
            deployment.name_any(),
            short(&images(deployment))
        ))
}

fn pods_of<'a>(family: &'a Family, deployment: &Deployment) -> Vec<&'a Pod> {
    let wanted = revision(deployment);
    let mut pods: Vec<&Pod> = family
        .pods
        .iter()
        .filter(|pod| pod.labels().get(labels::REVISION) == Some(&wanted))
        .collect();
    pods.sort_by_key(|pod| pod.name_any());
    pods
}

fn pod_line(pod: &Pod, now: Timestamp, indent: &str) -> Line {
    let (mark, word, shade) = pod_state(pod);
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let restarts: i32 = containers
        .into_iter()
        .flatten()
        .map(|container| container.restart_count)
        .fold(0, i32::saturating_add);
    let restarts = match restarts {
        1 => "1 restart".to_owned(),
        many => format!("{many} restarts"),
    };
    let images = pod
        .spec
        .as_ref()
        .map(|spec| short(&image_names(&spec.containers)))
        .unwrap_or_default();
    Line::new(indent)
        .tone(shade, mark)
        .text(format!(" {}   ", pod.name_any()))
        .tone(shade, word)
        .text(format!(
            "   {restarts}   {}   {images}",
            since(&pod.metadata, now)
        ))
}

/// Images without their registry, and with the begin of a digest: the rest is in `-o wide` and `history`.
fn short(images: &str) -> String {
    let names = images.split(',').map(|image| {
        let name = image.rsplit('/').next().unwrap_or(image);
        match name.split_once("@sha256:") {
            Some((name, digest)) => {
                let digest: String = digest.chars().take(DIGEST_LETTERS).collect();
                format!("{name}@{digest}")
            }
            None => name.to_owned(),
        }
    });
    names.collect::<Vec<_>>().join(",")
}

fn pod_state(pod: &Pod) -> (&'static str, String, Tone) {
    if pod.metadata.deletion_timestamp.is_some() {
        return ("○", "ending".to_owned(), Tone::Faint);
    }
    let status = pod.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if ready {
        return ("✓", "ready".to_owned(), Tone::Good);
    }
    let containers = status.init_container_statuses.into_iter().flatten();
    let containers: Vec<_> = containers
        .chain(status.container_statuses.into_iter().flatten())
        .collect();
    let trouble = containers
        .iter()
        .find_map(|container| reason(container.state.as_ref()?));
    match (trouble.or(status.reason), status.phase) {
        (Some(starting), _) if starting == "ContainerCreating" || starting == "PodInitializing" => {
            ("▶", "starting".to_owned(), Tone::Active)
        }
        (Some(reason), _) => ("✗", reason, Tone::Bad),
        (None, Some(phase)) if phase == "Running" => ("▶", "not ready".to_owned(), Tone::Active),
        (None, phase) => (
            "▶",
            phase.unwrap_or_else(|| "Pending".to_owned()).to_lowercase(),
            Tone::Active,
        ),
    }
}

fn reason(state: &ContainerState) -> Option<String> {
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    let failed = state
        .terminated
        .as_ref()
        .filter(|ended| ended.exit_code != 0)
        .map(|ended| {
            let reason = ended.reason.clone().unwrap_or_else(|| "Error".to_owned());
            format!("{reason} (exit code {})", ended.exit_code)
        });
    waiting.or(failed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn images_are_short() {
        let digest = format!(
            "registry.example:5000/team/chat@sha256:{}",
            "0123456789abcdef".repeat(4)
        );
        assert_eq!(
            super::short(&format!("registry.example/chat:v1,{digest}")),
            "chat:v1,chat@0123456789ab"
        );
    }
}
