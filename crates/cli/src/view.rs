//! What is shown of a rollout. Pure: from the objects to lines.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use pointsman_api::labels;
use pointsman_api::rollout::{CanaryStep, PhaseName, Rollout, RolloutStatus, WeightUnit};

use crate::intent::Past;
use crate::paint::{Paint, Tone};
use crate::table::{age, table};

/// A rollout and its children.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// The rollout.
    pub rollout: Option<Rollout>,
    /// Workloads of its revisions.
    pub deployments: Vec<Deployment>,
    /// Their pods.
    pub pods: Vec<Pod>,
}

fn status(rollout: &Rollout) -> RolloutStatus {
    rollout.status.clone().unwrap_or_default()
}

fn percent(value: Option<i32>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| format!("{value} %"))
}

fn since(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(
        || "?".to_owned(),
        |time| age(now.as_second().saturating_sub(time.as_second())),
    )
}

fn created(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|time| time.0)
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

fn phase(status: &RolloutStatus) -> String {
    let phase = status
        .phase
        .map_or_else(|| "Pending".to_owned(), |phase| format!("{phase:?}"));
    match &status.step {
        Some(step) => format!("{phase} {step}"),
        None => phase,
    }
}

/// The whole picture of one rollout.
#[must_use]
pub fn tree(family: &Family, now: Timestamp, paint: Paint) -> Vec<String> {
    let Some(rollout) = &family.rollout else {
        return Vec::new();
    };
    let status = status(rollout);
    let (shade, mark) = tone(status.phase);
    let paused = if rollout.spec.paused == Some(true) {
        "  paused"
    } else {
        ""
    };
    let head = format!(
        "{}/{}",
        rollout.namespace().unwrap_or_default(),
        rollout.name_any()
    );
    let mut lines = vec![format!(
        "{}  {}  {}{}",
        paint.text(Tone::Strong, &head),
        status.strategy.as_deref().unwrap_or("?"),
        paint.text(shade, &format!("{mark} {}", phase(&status))),
        paint.text(Tone::Bad, paused),
    )];
    if let Some(weights) = &status.weights {
        let text = format!(
            "  weight    asked {}   routed {}   live {}",
            percent(weights.desired),
            percent(weights.routed),
            percent(weights.live)
        );
        lines.push(text);
    }
    if let Some(left) = status
        .sessions
        .as_ref()
        .and_then(|sessions| sessions.remaining)
        .filter(|left| *left > 0)
    {
        lines.push(format!("  moving    {left} sessions left"));
    }
    lines.push(format!(
        "  message   {}",
        status.message.as_deref().unwrap_or("not looked at yet")
    ));
    lines.extend(steps(rollout, &status, paint));
    lines.extend(revisions(family, &status, now, paint));
    lines
}

fn steps(rollout: &Rollout, status: &RolloutStatus, paint: Paint) -> Vec<String> {
    let Some(canary) = &rollout.spec.strategy.canary else {
        return Vec::new();
    };
    let at = match status.phase {
        Some(PhaseName::Stepping) => status.current_step.and_then(|step| usize::try_from(step).ok()),
        Some(PhaseName::Promoting) => Some(canary.steps.len()),
        _ => None,
    };
    let mut lines = vec!["  steps".to_owned()];
    for (index, step) in canary.steps.iter().enumerate() {
        let text = format!("{} {}", index.saturating_add(1), step_text(step));
        lines.push(match at {
            Some(at) if index < at => paint.text(Tone::Good, &format!("    ✓ {text}")),
            Some(at) if index == at => paint.text(Tone::Active, &format!("    ▶ {text}")),
            Some(_) | None => format!("      {text}"),
        });
    }
    lines
}

fn step_text(step: &CanaryStep) -> String {
    match (&step.set_weight, &step.pause) {
        (Some(weight), _) => {
            let of = match weight.of {
                Some(WeightUnit::Sessions) => "of sessions",
                Some(WeightUnit::Connections) | None => "of new connections",
            };
            format!("weight {} % {of}", weight.percent)
        }
        (None, Some(pause)) => match &pause.duration {
            Some(duration) => format!("pause {duration}"),
            None => "pause until promoted".to_owned(),
        },
        (None, None) => "?".to_owned(),
    }
}

fn revisions(family: &Family, status: &RolloutStatus, now: Timestamp, paint: Paint) -> Vec<String> {
    let mut live: Vec<&Deployment> = family
        .deployments
        .iter()
        .filter(|deployment| replicas(deployment).1 > 0 || !pods_of(family, deployment).is_empty())
        .collect();
    live.sort_by_key(|deployment| ordinal(deployment));
    let mut lines = vec!["  revisions".to_owned()];
    let last = live.len().saturating_sub(1);
    for (index, deployment) in live.iter().enumerate() {
        let (branch, trunk) = if index == last {
            ("└─", "  ")
        } else {
            ("├─", "│ ")
        };
        let revision = revision(deployment);
        let (role, mark, shade) = role(&revision, status);
        let sessions = match role {
            "stable" => status.sessions.as_ref().and_then(|sessions| sessions.stable),
            "candidate" => status.sessions.as_ref().and_then(|sessions| sessions.candidate),
            _ => None,
        };
        let sessions = sessions.map_or_else(String::new, |count| format!("   {count} sessions"));
        let (ready, wanted) = replicas(deployment);
        let text = format!(
            "{mark} {revision}  {role}   {ready}/{wanted} pods{sessions}   {}",
            images(deployment)
        );
        lines.push(format!("  {branch} {}", paint.text(shade, &text)));
        for pod in pods_of(family, deployment) {
            lines.push(format!("  {trunk}    {}", pod_line(pod, now, paint)));
        }
    }
    lines
}

fn role(revision: &str, status: &RolloutStatus) -> (&'static str, &'static str, Tone) {
    if status.stable_revision.as_deref() == Some(revision) {
        ("stable", "●", Tone::Good)
    } else if status.candidate_revision.as_deref() == Some(revision) {
        ("candidate", "◆", Tone::Active)
    } else {
        ("leaving", "○", Tone::Faint)
    }
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

fn pod_line(pod: &Pod, now: Timestamp, paint: Paint) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let containers = status.container_statuses.unwrap_or_default();
    let restarts: i32 = containers.iter().map(|container| container.restart_count).sum();
    let waiting = containers
        .iter()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let (state, shade) = if pod.metadata.deletion_timestamp.is_some() {
        ("ending".to_owned(), Tone::Faint)
    } else if ready {
        ("ready".to_owned(), Tone::Good)
    } else {
        (waiting.unwrap_or_else(|| "not ready".to_owned()), Tone::Bad)
    };
    let restarts = if restarts > 0 {
        format!("   {restarts} restarts")
    } else {
        String::new()
    };
    format!(
        "{}  {}{restarts}   {}",
        pod.name_any(),
        paint.text(shade, &state),
        since(created(&pod.metadata), now)
    )
}

/// Pods that are ready, and pods that are wanted.
fn replicas(deployment: &Deployment) -> (i32, i32) {
    let ready = deployment
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0);
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(0);
    (ready, wanted)
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

fn images(deployment: &Deployment) -> String {
    let containers = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .map(|spec| &spec.containers);
    let images: Vec<String> = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container.image.clone())
        .collect();
    images.join(",")
}

/// The revisions that are kept, oldest first.
#[must_use]
pub fn past(deployments: &[Deployment]) -> Vec<Past> {
    let mut past: Vec<Past> = deployments
        .iter()
        .map(|deployment| Past {
            revision: revision(deployment),
            ordinal: ordinal(deployment),
            served: deployment.annotations().contains_key(labels::SERVED),
            template: deployment
                .annotations()
                .get(labels::TEMPLATE)
                .and_then(|text| serde_json::from_str(text).ok()),
        })
        .collect();
    past.sort_by_key(|past| past.ordinal);
    past
}

/// The history as a table.
#[must_use]
pub fn history(family: &Family, now: Timestamp) -> String {
    let status = family.rollout.as_ref().map(status).unwrap_or_default();
    let mut deployments: Vec<&Deployment> = family.deployments.iter().collect();
    deployments.sort_by_key(|deployment| ordinal(deployment));
    let rows: Vec<Vec<String>> = deployments
        .into_iter()
        .map(|deployment| {
            let revision = revision(deployment);
            let (role, _, _) = role(&revision, &status);
            let (ready, wanted) = replicas(deployment);
            let served = deployment.annotations().contains_key(labels::SERVED);
            let role = match role {
                "leaving" if wanted == 0 && served => "past",
                "leaving" if wanted == 0 => "never served",
                other => other,
            };
            vec![
                ordinal(deployment).to_string(),
                revision,
                role.to_owned(),
                format!("{ready}/{wanted}"),
                since(created(&deployment.metadata), now),
                images(deployment),
            ]
        })
        .collect();
    table(&["NUMBER", "REVISION", "ROLE", "PODS", "AGE", "IMAGES"], &rows)
}

/// Rollouts as a table.
#[must_use]
pub fn list(rollouts: &[Rollout], namespaces: bool, wide: bool, now: Timestamp) -> String {
    let mut heads = vec![
        "NAME", "STRATEGY", "PHASE", "STEP", "WEIGHT", "LIVE", "SESSIONS", "PODS", "AGE", "MESSAGE",
    ];
    if namespaces {
        heads.insert(0, "NAMESPACE");
    }
    if wide {
        heads.splice(
            heads.len().saturating_sub(1)..heads.len().saturating_sub(1),
            ["STABLE", "CANDIDATE"],
        );
    }
    let rows: Vec<Vec<String>> = rollouts
        .iter()
        .map(|rollout| row(rollout, namespaces, wide, now))
        .collect();
    table(&heads, &rows)
}

fn row(rollout: &Rollout, namespaces: bool, wide: bool, now: Timestamp) -> Vec<String> {
    let status = status(rollout);
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let weights = status.weights.clone().unwrap_or_default();
    let sessions = status
        .sessions
        .as_ref()
        .and_then(|sessions| Some(sessions.stable?.saturating_add(sessions.candidate.unwrap_or(0))));
    let number = |value: Option<i32>| dash(value.map(|value| value.to_string()));
    let mut row = Vec::new();
    if namespaces {
        row.push(rollout.namespace().unwrap_or_default());
    }
    row.extend([
        rollout.name_any(),
        dash(status.strategy),
        status
            .phase
            .map_or_else(|| "Pending".to_owned(), |phase| format!("{phase:?}")),
        dash(status.step),
        number(weights.routed),
        number(weights.live),
        number(sessions),
        format!(
            "{}/{}",
            status.replicas.unwrap_or(0),
            rollout.spec.replicas.unwrap_or(1)
        ),
        since(created(&rollout.metadata), now),
    ]);
    if wide {
        row.extend([dash(status.stable_revision), dash(status.candidate_revision)]);
    }
    row.push(dash(status.message));
    row
}

/// One line of a change, for logs.
#[must_use]
pub fn line(rollout: &Rollout) -> String {
    let status = status(rollout);
    let weights = status.weights.as_ref().map_or_else(String::new, |weights| {
        format!(
            " asked {} routed {} live {}",
            percent(weights.desired),
            percent(weights.routed),
            percent(weights.live)
        )
    });
    format!(
        "{}{weights}: {}",
        phase(&status),
        status.message.unwrap_or_default()
    )
}

/// Pods of each revision, to notice a change without looking at everything.
#[must_use]
pub fn fingerprint(family: &Family) -> BTreeMap<String, (i32, i32)> {
    family
        .deployments
        .iter()
        .map(|deployment| (revision(deployment), replicas(deployment)))
        .collect()
}

#[cfg(test)]
mod tests;
