//! How a reconcile fails, by category, and what to do about it.

use crate::kubernetes::client::CallError;
use crate::kubernetes::guard::Guarded;
use crate::rollout::validate::Invalid;

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// At once: the world has moved on.
    Now,
    /// Later, and later each time.
    Backoff,
    /// When the object changes.
    AwaitChange,
}

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field cannot be used.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The object does not fit its definition.
    #[error("the object does not fit this operator's definition of Rollout: {0}")]
    Undecodable(String),
    /// The status has changed since it was read.
    #[error("the status has changed since it was read")]
    Stale,
    /// An object of that name belongs to somebody else.
    #[error(
        "{kind} {name} exists and does not belong to this Rollout; rename the Rollout, or delete that object"
    )]
    Conflict {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The workload of a revision that must serve is gone, and the spec holds another template by now.
    #[error(
        "the Deployment of revision {0} was deleted, and its template is no longer in the spec; put it back with kubectl pointsman undo, or abort"
    )]
    TemplateLost(String),
    /// What the spec refers to does not exist.
    #[error("{field}: {what} does not exist")]
    Missing {
        /// Path of the field.
        field: &'static str,
        /// What it names.
        what: String,
    },
    /// The cluster has no Gateway API.
    #[error(
        "spec.traffic.gateway: this cluster has no Gateway API (httproutes.gateway.networking.k8s.io); install it, or leave spec.traffic out"
    )]
    NoGatewayApi,
    /// The API server refuses an object that we build.
    #[error("the API server refuses {what}: {message}")]
    Rejected {
        /// Which object.
        what: String,
        /// Its words.
        message: String,
    },
    /// A call failed.
    #[error("{what}: {source}")]
    Call {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: CallError,
    },
    /// The reconcile panicked or hung.
    #[error("reconcile {0}")]
    Guarded(#[from] Guarded),
    /// This replica no longer leads; the one that does goes on.
    #[error("this replica does not lead")]
    NotLeading,
}

impl Error {
    /// CamelCase category, for conditions, events and metrics; a bounded set.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "InvalidSpec",
            Self::Undecodable(_) => "Undecodable",
            Self::Stale => "Stale",
            Self::Conflict { .. } => "NameTaken",
            Self::TemplateLost(_) => "TemplateLost",
            Self::Missing { .. } => "ReferenceMissing",
            Self::NoGatewayApi => "NoGatewayApi",
            Self::Rejected { .. } => "Rejected",
            Self::Call { .. } => "ApiServer",
            Self::Guarded(_) => "Internal",
            Self::NotLeading => "NotLeading",
        }
    }

    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Stale => Retry::Now,
            Self::Invalid(_) | Self::Undecodable(_) | Self::NotLeading => Retry::AwaitChange,
            Self::Conflict { .. }
            | Self::TemplateLost(_)
            | Self::Missing { .. }
            | Self::NoGatewayApi
            | Self::Rejected { .. }
            | Self::Call { .. }
            | Self::Guarded(_) => Retry::Backoff,
        }
    }

    /// True when the owner of the Rollout can do something about it, so it belongs into the status.
    #[must_use]
    pub fn for_owner(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::Conflict { .. }
            | Self::TemplateLost(_)
            | Self::Missing { .. }
            | Self::NoGatewayApi
            | Self::Rejected { .. } => true,
            Self::Undecodable(_) | Self::Stale | Self::Call { .. } | Self::Guarded(_) | Self::NotLeading => {
                false
            }
        }
    }

    /// A failed call, sorted by what the API server said.
    #[must_use]
    pub fn of_call(what: impl Into<String>, source: CallError) -> Self {
        let what = what.into();
        match &source {
            CallError::Kube(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                Self::Rejected {
                    what,
                    message: status.message.clone(),
                }
            }
            CallError::Kube(_) | CallError::Timeout => Self::Call { what, source },
        }
    }
}
