//! Who a session is, and what it may do.

mod jwt;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use serde_json::{Map, Value};

pub use jwt::{JsonWebTokens, KeyError};

/// Bytes of a token at most.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Somebody who showed a token that is good.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Who it is.
    pub subject: String,
    /// All that the token claims.
    pub claims: Map<String, Value>,
    /// When the token ends, in seconds since 1970; never when absent.
    pub expires_s: Option<u64>,
}

impl Identity {
    /// Time until it ends; `None` when it does not.
    pub(super) fn expires_in(&self) -> Option<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.expires_s
            .map(|end| Duration::from_secs(end).saturating_sub(now))
    }

    pub(super) fn is_over(&self) -> bool {
        self.expires_in().is_some_and(|left| left.is_zero())
    }
}

/// Why a token is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// It is not, and stays so: get another one.
    #[error("token: {0}")]
    Refused(String),
    /// That cannot be told now. The same token may be good later.
    #[error("tokens cannot be checked now: {0}")]
    Unavailable(String),
}

/// Tells who shows a token.
pub trait Authenticator: Send + Sync + 'static {
    /// Checks a token of at most [`TOKEN_BYTES_MAX`] bytes.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Identity, AuthenticationError>>;
}

/// What somebody may do with a document. Each one includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing.
    None,
    /// Read it.
    Read,
    /// Change it.
    Write,
}

/// Tells who may do what with which document.
pub trait Permissions: Send + Sync + 'static {
    /// What somebody, or anybody when there is no identity, may do with the document of that name.
    fn access(&self, identity: Option<&Identity>, document: &str) -> Access;
}

/// Everybody may change everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everybody;

impl Permissions for Everybody {
    fn access(&self, _identity: Option<&Identity>, _document: &str) -> Access {
        Access::Write
    }
}

/// What the claim `documents: [{"prefix": "rooms/", "access": "read" | "write"}]` says, the most of what fits; nothing
/// without it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClaimedDocuments;

impl Permissions for ClaimedDocuments {
    fn access(&self, identity: Option<&Identity>, document: &str) -> Access {
        let rules = identity.and_then(|identity| identity.claims.get("documents")?.as_array());
        let access = |rule: &Value| {
            // A rule without a prefix is a mistake, and a mistake must not open everything.
            let prefix = rule.get("prefix")?.as_str()?;
            let access = match rule.get("access")?.as_str()? {
                "read" => Access::Read,
                "write" => Access::Write,
                _ => return None,
            };
            document.starts_with(prefix).then_some(access)
        };
        rules
            .into_iter()
            .flatten()
            .filter_map(access)
            .max()
            .unwrap_or(Access::None)
    }
}

/// Asks whoever checks tokens; nobody, when none is set up.
pub(super) async fn authenticate(
    authenticator: Option<&Arc<dyn Authenticator>>,
    token: &str,
) -> Result<Option<Identity>, AuthenticationError> {
    let Some(authenticator) = authenticator else {
        return Ok(None);
    };
    if token.len() > TOKEN_BYTES_MAX {
        let text = format!("has more than {TOKEN_BYTES_MAX} bytes");
        return Err(AuthenticationError::Refused(text));
    }
    authenticator.authenticate(token).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(documents: &Value) -> Identity {
        let claims = json!({"documents": documents});
        Identity {
            claims: claims.as_object().unwrap().clone(),
            ..Identity::default()
        }
    }

    #[test]
    fn a_claim_opens_what_it_names_and_nothing_else() {
        let rules = json!([
            {"prefix": "rooms/", "access": "read"}, {"prefix": "rooms/a", "access": "write"},
            {"prefix": "x", "access": "all"}, {"access": "write"}, "rooms/",
        ]);
        let identity = identity(&rules);
        for (document, access) in [
            ("rooms/b", Access::Read),
            ("rooms/a1", Access::Write),
            ("x", Access::None),
            ("other", Access::None),
            ("", Access::None),
        ] {
            assert_eq!(
                ClaimedDocuments.access(Some(&identity), document),
                access,
                "{document}"
            );
        }
        assert_eq!(ClaimedDocuments.access(None, "rooms/a"), Access::None);
        assert_eq!(
            ClaimedDocuments.access(Some(&Identity::default()), "rooms/a"),
            Access::None
        );
    }

    #[test]
    fn everybody_may_change_everything() {
        assert_eq!(Everybody.access(None, "a"), Access::Write);
    }
}
