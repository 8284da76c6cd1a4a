//! Errors in words for people: one line each, with what to do.

use crate::intent::Refusal;
use crate::paint::without_controls;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig names no cluster that can be called.
    #[error("no cluster: {0}; check --kubeconfig, --context and KUBECONFIG")]
    NoCluster(String),
    /// The API server does not answer, or not as one.
    #[error("the API server {server} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// The API server does not know the user.
    #[error("the API server does not accept the credentials of this context; sign in again")]
    Unauthorized,
    /// The user may not.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// There is no such rollout.
    #[error("rollout {name} is not in namespace {namespace}; {hint}")]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
        /// What may have been meant.
        hint: String,
    },
    /// It was there, and is not any more.
    #[error("rollout {0} was deleted")]
    Deleted(String),
    /// The definitions are missing.
    #[error(
        "this cluster has no Rollouts; install the chart: helm install pointsman-crds charts/pointsman-crds"
    )]
    NoDefinition,
    /// There is nothing to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody else keeps writing.
    #[error("rollout {name} was changed by somebody else {tries} times in a row; try again")]
    Contended {
        /// Its name.
        name: String,
        /// How often it was tried.
        tries: usize,
    },
    /// The API server's answer is not what this program knows.
    #[error("{what} cannot be read: {why}; is this program older than the cluster's definitions?")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// Where it is off.
        why: String,
    },
    /// Anything else that the API server says, such as a rule that the change breaks.
    #[error("the API server refused: {message}")]
    Server {
        /// Its HTTP status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The output is gone.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// True when the same call may succeed a moment later.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Contended { .. } => true,
            Self::Server { code, .. } => *code == 429 || *code >= 500,
            Self::NoCluster(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound { .. }
            | Self::Deleted(_)
            | Self::NoDefinition
            | Self::Refused(_)
            | Self::Unreadable { .. }
            | Self::Output(_) => false,
        }
    }

    /// The error in one line.
    #[must_use]
    pub fn line(&self) -> String {
        without_controls(&self.to_string())
    }

    /// What an error of a call says about the cluster behind `server`.
    #[must_use]
    pub fn of_call(error: kube::Error, server: &str) -> Self {
        let kube::Error::Api(status) = error else {
            return match error {
                kube::Error::SerdeError(error) => Self::Unreadable {
                    what: "the answer of the API server".to_owned(),
                    why: error.to_string(),
                },
                other => Self::Unreachable {
                    server: server.to_owned(),
                    why: innermost(&other),
                },
            };
        };
        match status.code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(forbidden(&status.message)),
            // The API server answers a path that it does not serve without naming an object.
            404 if status
                .details
                .as_ref()
                .is_none_or(|details| details.name.is_empty()) =>
            {
                Self::NoDefinition
            }
            code => Self::Server {
                code,
                message: status.message.clone(),
            },
        }
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The API server's words, and which verb on which resource is missing.
fn forbidden(message: &str) -> String {
    let after = |mark: &str| message.split_once(mark).map(|(_, rest)| rest);
    let quoted = |mark: &str| after(mark).and_then(|rest| rest.split('"').next());
    let verb = after(" cannot ").and_then(|rest| rest.split(' ').next());
    let (Some(verb), Some(resource)) = (verb, quoted("resource \"")) else {
        return message.to_owned();
    };
    let group = quoted("API group \"").filter(|group| !group.is_empty());
    let resource = group.map_or_else(|| resource.to_owned(), |group| format!("{resource}.{group}"));
    let place = quoted("in the namespace \"").map_or_else(
        || " in every namespace".to_owned(),
        |namespace| format!(" in namespace {namespace}"),
    );
    let user = quoted("User \"").unwrap_or("this user");
    format!("{user} needs the verb {verb} on {resource}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use serde_json::json;

    fn of(status: serde_json::Value) -> String {
        let status: Status = serde_json::from_value(status).unwrap();
        Error::of_call(kube::Error::Api(Box::new(status)), "https://here").line()
    }

    #[test]
    fn the_missing_permission_is_named() {
        let message = "rollouts.pointsman.dev \"chat\" is forbidden: User \"eve\" cannot patch resource \"rollouts\" \
                       in API group \"pointsman.dev\" in the namespace \"shop\"";
        assert_eq!(
            of(json!({"code": 403, "message": message})),
            "not allowed: eve needs the verb patch on rollouts.pointsman.dev in namespace shop"
        );
        let everywhere = "pods is forbidden: User \"eve\" cannot list resource \"pods\" in API group \"\" at the cluster scope";
        assert_eq!(
            of(json!({"code": 403, "message": everywhere})),
            "not allowed: eve needs the verb list on pods in every namespace"
        );
        assert_eq!(
            of(json!({"code": 403, "message": "by a policy"})),
            "not allowed: by a policy"
        );
    }

    #[test]
    fn a_missing_definition_is_not_a_missing_object() {
        assert!(of(json!({"code": 404, "message": "404 page not found"})).contains("helm install"));
        let object = json!({"code": 404, "message": "gone", "details": {"name": "chat", "kind": "rollouts"}});
        assert_eq!(of(object), "the API server refused: gone");
    }

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(
            of(json!({"code": 422, "message": "a\nb"})),
            "the API server refused: a b"
        );
    }
}
