//! The Secret of the control port. Tokens are rotated by adding a line and, once every pod has surely seen it, removing
//! the old one: at no time is there a pod that knows no token that we show.

use k8s_openapi::api::core::v1::Secret;
use pointsman_api::labels;

use super::Owner;

/// A token is replaced after this long.
pub const ROTATE_AFTER_MS: i64 = 30 * 24 * 3_600_000;
/// Pods see a changed Secret within a minute or two; by then the new token is known everywhere.
pub const KNOWN_AFTER_MS: i64 = 3_600_000;

/// The Secret with these tokens, the first of which is in use.
#[must_use]
pub fn build(owner: &Owner, tokens: &[String], rotated_ms: i64) -> Secret {
    let mut metadata = owner.metadata(owner.secret(), None);
    metadata.annotations = Some([(labels::ROTATED.to_owned(), rotated_ms.to_string())].into());
    let mut text = tokens.join("\n");
    text.push('\n');
    Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        string_data: Some([(labels::TOKEN_FILE.to_owned(), text)].into()),
        ..Secret::default()
    }
}

/// The tokens after a rotation that is due now, or `None` when none is. `fresh` is a new token.
#[must_use]
pub fn rotate(
    tokens: &[String],
    rotated_ms: i64,
    now_ms: i64,
    fresh: impl FnOnce() -> String,
) -> Option<(Vec<String>, i64)> {
    let age_ms = now_ms.saturating_sub(rotated_ms);
    match tokens {
        [] => Some((vec![fresh()], now_ms)),
        [only] if age_ms >= ROTATE_AFTER_MS => Some((vec![only.clone(), fresh()], now_ms)),
        [_, rest @ ..] if !rest.is_empty() && age_ms >= KNOWN_AFTER_MS => Some((rest.to_vec(), rotated_ms)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_token_is_known_before_the_old_one_goes() {
        let fresh = || "new".to_owned();
        let old = ["old".to_owned()];
        assert_eq!(rotate(&[], 0, 5, fresh), Some((vec!["new".to_owned()], 5)));
        assert_eq!(rotate(&old, 0, ROTATE_AFTER_MS - 1, fresh), None);
        let (both, at) = rotate(&old, 0, ROTATE_AFTER_MS, fresh).unwrap();
        assert_eq!((both.join(" ").as_str(), at), ("old new", ROTATE_AFTER_MS));
        assert_eq!(rotate(&both, at, at + KNOWN_AFTER_MS - 1, fresh), None);
        assert_eq!(
            rotate(&both, at, at + KNOWN_AFTER_MS, fresh),
            Some((vec!["new".to_owned()], at))
        );
    }
}
