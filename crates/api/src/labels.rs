//! Labels, environment variables and names that operator, pods and tools agree on.

/// API group of every custom resource.
pub const GROUP: &str = "pointsman.dev";
/// Label on every child: name of its Rollout.
pub const ROLLOUT: &str = "pointsman.dev/rollout";
/// Label on every child of one revision: the revision.
pub const REVISION: &str = "pointsman.dev/revision";
/// Label on every child, so that watches stay small.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGER: &str = "pointsman";
/// Annotation on a child workload: the ordinal of its revision, for history and undo.
pub const ORDINAL: &str = "pointsman.dev/ordinal";
/// Annotation on a child workload: the pod template of its revision as the owner wrote it, in JSON, for undo.
pub const TEMPLATE: &str = "pointsman.dev/template";
/// Annotation on a child workload: the ports of its revision, in JSON.
pub const PORTS: &str = "pointsman.dev/ports";
/// Annotation on a child workload: `true` once its revision was the stable one, so that undo passes over failed ones.
pub const SERVED: &str = "pointsman.dev/served";
/// Annotation on the Secret of the control port: when its newest token was made, in milliseconds since 1970.
pub const ROTATED: &str = "pointsman.dev/rotated-ms";
/// Environment variable in every container of a pod: its revision.
pub const REVISION_VARIABLE: &str = "POINTSMAN_REVISION";
/// Environment variable in every container of a pod: `host:port` of the headless Service of its peers.
pub const PEERS_VARIABLE: &str = "POINTSMAN_PEERS_DNS";
/// Environment variable in every container of a pod: file that holds the token of the control port.
pub const TOKEN_FILE_VARIABLE: &str = "POINTSMAN_CONTROL_TOKEN_FILE";
/// Where the Secret of the control port is mounted.
pub const TOKEN_DIRECTORY: &str = "/var/run/pointsman";
/// Key in that Secret, and so the file's name: one token a line, the first is used, all are accepted.
pub const TOKEN_FILE: &str = "token";
/// Query parameter by which a moved client asks for a revision.
pub const REVISION_PARAMETER: &str = "pointsman-revision";
