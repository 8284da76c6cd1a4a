//! Rollouts and revisions as tables.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use pointsman_api::rollout::Rollout;

use super::{
    Family, Role, by_rollout, images, ordinal, phase_name, replicas, revision, served, since, status,
};
use crate::paint::without_controls;
use crate::table::table;

/// Longer messages are cut, unless the table is wide.
const MESSAGE_LETTERS_MAX: usize = 60;

/// Rollouts as a table; `workloads` is absent when the user may not see them.
#[must_use]
pub fn list(
    rollouts: &[Rollout],
    workloads: Option<&[Deployment]>,
    namespaces: bool,
    wide: bool,
    now: Timestamp,
) -> String {
    let mut heads = vec![
        "NAME", "STRATEGY", "PHASE", "STEP", "WEIGHT", "LIVE", "SESSIONS", "READY", "MESSAGE", "AGE",
    ];
    if namespaces {
        heads.insert(0, "NAMESPACE");
    }
    if wide {
        heads.extend(["STABLE", "CANDIDATE", "IMAGES"]);
    }
    let children = workloads.map(by_rollout);
    let rows: Vec<Vec<String>> = rollouts
        .iter()
        .map(|rollout| {
            let key = (rollout.namespace().unwrap_or_default(), rollout.name_any());
            let mine = children
                .as_ref()
                .map(|children| children.get(&key).cloned().unwrap_or_default());
            row(rollout, mine.as_deref(), namespaces, wide, now)
        })
        .collect();
    table(&heads, &rows)
}

fn dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".to_owned())
}

fn row(
    rollout: &Rollout,
    workloads: Option<&[&Deployment]>,
    namespaces: bool,
    wide: bool,
    now: Timestamp,
) -> Vec<String> {
    let status = status(rollout);
    let weights = status.weights.clone().unwrap_or_default();
    let counts = status.sessions.clone().unwrap_or_default();
    let candidate = match (&status.candidate_revision, counts.candidate) {
        (None, None) => Some(0),
        (_, candidate) => candidate,
    };
    let sessions = counts.stable.zip(candidate);
    let sessions = sessions.map(|(stable, candidate)| stable.saturating_add(candidate));
    let number = |value: Option<i32>| dash(value.map(|value| value.to_string()));
    let ready = workloads.map(|workloads| {
        let sum = workloads.iter().fold((0_i32, 0_i32), |sum, workload| {
            let (ready, wanted) = replicas(workload);
            (sum.0.saturating_add(ready), sum.1.saturating_add(wanted))
        });
        format!("{}/{}", sum.0, sum.1)
    });
    let mut row = Vec::new();
    if namespaces {
        row.push(rollout.namespace().unwrap_or_default());
    }
    row.extend([
        rollout.name_any(),
        dash(status.strategy.clone()),
        phase_name(&status),
        dash(status.step.clone()),
        number(weights.routed),
        number(weights.live),
        number(sessions),
        dash(ready),
        message(status.message.as_deref(), wide),
        since(&rollout.metadata, now),
    ]);
    if wide {
        let mut used: Vec<String> = workloads
            .into_iter()
            .flatten()
            .filter(|workload| replicas(workload).1 > 0)
            .map(|workload| images(workload))
            .collect();
        used.sort();
        used.dedup();
        row.extend([
            dash(status.stable_revision),
            dash(status.candidate_revision),
            dash(Some(used.join(","))),
        ]);
    }
    row
}

fn message(text: Option<&str>, wide: bool) -> String {
    let text = without_controls(text.unwrap_or("-"));
    if wide || text.chars().count() <= MESSAGE_LETTERS_MAX {
        return text;
    }
    let cut: String = text.chars().take(MESSAGE_LETTERS_MAX.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// The revisions that undo can go back to, oldest first.
#[must_use]
pub fn history(family: &Family, now: Timestamp) -> String {
    let status = status(&family.rollout);
    let mut deployments: Vec<&Deployment> = family.deployments.iter().collect();
    deployments.sort_by_key(|deployment| ordinal(deployment));
    let rows: Vec<Vec<String>> = deployments
        .into_iter()
        .map(|deployment| {
            let revision = revision(deployment);
            let (ready, wanted) = replicas(deployment);
            let role = match Role::of(&revision, &status) {
                Role::Old if served(deployment) => "served",
                Role::Old => "never served",
                role => role.look().1,
            };
            vec![
                revision,
                ordinal(deployment).to_string(),
                role.to_owned(),
                images(deployment),
                format!("{ready}/{wanted}"),
                since(&deployment.metadata, now),
            ]
        })
        .collect();
    table(
        &["REVISION", "ORDINAL", "ROLE", "IMAGES", "PODS", "CREATED"],
        &rows,
    )
}
