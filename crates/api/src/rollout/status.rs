//! What the operator reports, and all that it remembers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a Rollout. `memory` is the operator's only memory; the rest is derived, for people and tools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `canary` or `blueGreen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Where the rollout is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// Why it is there, and what happens next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Revision that served last when all was well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// Revision on its way in, or the one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_revision: Option<String>,
    /// Index of the canary's step, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step: Option<i32>,
    /// Steps of the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_total: Option<i32>,
    /// The step for people, such as `2/5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Shares of the candidate in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Live sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionCounts>,
    /// Pods of all revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Label selector of the pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The operator's memory; do not edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PhaseName {
    /// Never looked at.
    #[default]
    Pending,
    /// The first revision is coming up.
    Initializing,
    /// The spec's revision serves everything.
    Stable,
    /// A canary is at a step.
    Stepping,
    /// Blue-green: the candidate has no traffic yet.
    Previewing,
    /// The candidate takes all.
    Promoting,
    /// Everything goes back to the stable revision.
    Aborting,
    /// The candidate is gone.
    Aborted,
}

/// Shares of the candidate in percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// What the step asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<i32>,
    /// What the gateway has in force; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed: Option<i32>,
    /// Share of the live sessions; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<i32>,
}

/// Live sessions; absent means unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionCounts {
    /// On the stable revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<i32>,
    /// On the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<i32>,
    /// Moved so far by the pods that are up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<i32>,
    /// Still to move in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<i32>,
}

/// The operator's only memory: the state machine's state, field by field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// What the step waits for: `scaling`, `routing`, `moving` or `recovering`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<StageName>,
    /// Start of the present phase or stage, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// True once a preview was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often the candidate was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Since when `spec.paused` holds everything, in milliseconds since 1970; the other times stand still since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since_ms: Option<i64>,
    /// Share that the candidate carries while it is promoted or aborted, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Revisions on their way out, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub retired: Vec<RetiredRevision>,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StageName {
    /// Candidate pods.
    Scaling,
    /// The gateway to take the route.
    Routing,
    /// Sessions, or the end of a pause.
    Moving,
    /// Pods of the candidate to come back; it has no traffic until then.
    Recovering,
}

/// A revision on its way out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetiredRevision {
    /// Which.
    pub revision: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Kept until then, so that going back is instant.
    pub keep_until_ms: i64,
    /// Pods it keeps while it is on its way out.
    #[serde(default)]
    pub replicas: i32,
}
