//! Revisions: versioned hashes of pod templates.
//!
//! The hash is over canonical JSON (sorted keys, no white space), so it does not depend on how a client wrote the
//! template. The first letter names the recipe. A later recipe gets another letter and must keep naming templates that
//! were named by an earlier one, so that an upgrade of the operator never starts a rollout.

use pointsman_core::rollout::Revision;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const RECIPE: char = 'a';
/// No vowels, so that no words come out.
const ALPHABET: [char; 27] = [
    'b', 'c', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v', 'w', 'x', 'z', '2',
    '4', '5', '6', '7', '8', '9',
];
const LENGTH: usize = 9;

/// The revision of a pod template: a letter for the recipe and nine more characters, safe in names and labels.
#[must_use]
pub fn revision_of(template: &Value) -> Revision {
    let mut text = String::new();
    canonical(template, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    let mut number = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let mut name = String::from(RECIPE);
    for _ in 0..LENGTH {
        let index = usize::try_from(number % 27).unwrap_or(0);
        name.extend(ALPHABET.get(index));
        number /= 27;
    }
    Revision(name)
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_fields_is_nothing() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"d": null, "c": [1, 2]}, "a": 1}"#).unwrap();
        assert_eq!(revision_of(&one), revision_of(&other));
        assert_ne!(
            revision_of(&one),
            revision_of(&json!({"a": 1, "b": {"c": [2, 1], "d": null}}))
        );
    }

    /// Fails when the recipe changes: then every rollout in the world would start. Give the new recipe a new letter.
    #[test]
    fn the_recipe_is_pinned() {
        let template = json!({"metadata": {"labels": {"app": "chat"}}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
        assert_eq!(revision_of(&template).0, "a5jsvc2wj9");
    }
}
