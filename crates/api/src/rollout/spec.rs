//! What the owner wants.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::PATTERN;

/// A workload that changes its version under live sessions, by canary or blue-green.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "pointsman.dev",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    status = "crate::rollout::RolloutStatus",
    shortname = "pmr",
    category = "pointsman",
    derive = "Default",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Strategy", type_ = "string", json_path = ".status.strategy"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weights.routed"),
    printcolumn(name = "Live", type_ = "integer", json_path = ".status.weights.live"),
    printcolumn(name = "Drained", type_ = "integer", json_path = ".status.sessions.drained", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = ("self.metadata.name.size() <= 46", "metadata.name: at most 46 characters, because Services are named <name>-<revision>"),
    validation = ("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')", "metadata.name: lower-case letters, digits and '-', starting with a letter, because Services are named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.template) != has(self.workloadRef)", "spec: set exactly one of template and workloadRef"),
    validation = (
        "has(self.sessions) || !has(self.strategy.canary) || self.strategy.canary.steps.all(s, !has(s.setWeight) || !has(s.setWeight.of) || s.setWeight.of != 'sessions')",
        "spec.strategy.canary.steps: a weight of sessions needs spec.sessions; add spec.sessions or write `of: connections`"
    ),
)]
pub struct RolloutSpec {
    /// Pods at full size; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i32>,
    /// Pod template, as in a Deployment. Its labels get two more; its spec is checked by the API server when applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub template: Option<serde_json::Value>,
    /// Takes the pod template from an existing workload instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<WorkloadRef>,
    /// How a new version takes over.
    pub strategy: Strategy,
    /// What carries the traffic; plain Services when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Set when the pods implement the session contract, so live sessions are counted and moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Sessions>,
    /// A candidate whose pods are not ready after this long is aborted; `10m` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = PATTERN), length(max = 32))]
    pub progress_deadline: Option<String>,
    /// Old revisions kept at zero pods, for undo; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    pub revision_history_limit: Option<i32>,
    /// While true nothing moves on; an abort still acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Order to go on, for one revision only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// Order to go back, for one revision only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// Order to try an aborted revision again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}

/// An existing workload whose pod template is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.apiVersion == 'apps/v1' && self.kind == 'Deployment'", "spec.workloadRef: only apiVersion apps/v1, kind Deployment"))]
pub struct WorkloadRef {
    /// `apps/v1`.
    #[schemars(length(max = 64))]
    pub api_version: String,
    /// `Deployment`.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Its name, in the namespace of the Rollout.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How a new version takes over: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.canary) != has(self.blueGreen)", "spec.strategy: set exactly one of canary and blueGreen"))]
pub struct Strategy {
    /// Step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// At once, after a preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
}

/// Step by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The steps in order; after the last the candidate takes all.
    #[schemars(length(max = 50))]
    pub steps: Vec<CanaryStep>,
}

/// One step: exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.setWeight) != has(self.pause)", "spec.strategy.canary.steps: each step sets exactly one of setWeight and pause"))]
pub struct CanaryStep {
    /// Gives the candidate a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_weight: Option<SetWeight>,
    /// Holds: `{duration: 10m}`, or `{}` until promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// A share for the candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetWeight {
    /// The share in percent.
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
    /// Share of what; `connections` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<WeightUnit>,
}

/// What a weight is a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WeightUnit {
    /// Live sessions: they are moved until the share is met.
    Sessions,
    /// New connections only: nobody is moved.
    #[default]
    Connections,
}

/// A hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// How long; until promoted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = PATTERN), length(max = 32))]
    pub duration: Option<String>,
}

/// At once, after a preview.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreen {
    /// Pods of the preview before the switch; full size when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub preview_replicas: Option<i32>,
    /// Switch as soon as the preview is ready; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_promote: Option<bool>,
    /// The old side stays up this long after the switch; `30s` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = PATTERN), length(max = 32))]
    pub scale_down_delay: Option<String>,
}

/// What carries the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// An HTTPRoute that the operator owns; plain Services when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayTraffic>,
}

/// Traffic by Gateway API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTraffic {
    /// Gateways to attach to.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
    /// Host names to serve; every name when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub hostnames: Vec<String>,
}

/// A gateway to attach to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; that of the Rollout when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Its listener; every listener when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub section_name: Option<String>,
}

/// How live sessions are counted and moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Container port that serves sessions; 8080 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// Container port that serves `/sessions` and `/sessions/drain`; 8081 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub control_port: Option<i32>,
    /// How fast sessions are moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// How fast sessions are moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Sessions told to move per second, over all pods together; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub rate_per_second: Option<i32>,
    /// A move that is not done after this long is given up, and says so; `10m` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = PATTERN), length(max = 32))]
    pub deadline: Option<String>,
}

/// Order to go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.through != 'step' || has(self.step)", "spec.promotion.step: set the index of the step to go past when through is step"))]
pub struct Promotion {
    /// Only this candidate is promoted; see `.status.candidateRevision`.
    #[schemars(length(min = 1, max = 63))]
    pub revision: String,
    /// How far.
    pub through: Through,
    /// Index of the step to go past, from 0; see `.status.currentStep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    pub step: Option<i32>,
}

/// How far a promotion goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Through {
    /// Past one step.
    #[default]
    Step,
    /// To the end.
    Full,
}

/// Order to go back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// Only this candidate is aborted.
    #[schemars(length(min = 1, max = 63))]
    pub revision: String,
    /// Why, for events and status.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub reason: String,
}

/// Order to try an aborted revision again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Only this revision is tried again.
    #[schemars(length(min = 1, max = 63))]
    pub revision: String,
    /// Acts when greater than `.status.memory.attempt`.
    #[schemars(range(min = 1))]
    pub attempt: i32,
}
