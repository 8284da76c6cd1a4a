//! Which revision an undo goes back to, and what puts it back.

use pointsman_api::rollout::{PhaseName, Rollout};
use serde_json::{Value, json};

use super::{Change, Edit, Refusal, refuse, status};

/// One revision that undo can go back to.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Its name.
    pub revision: String,
    /// Its place, from 1.
    pub ordinal: u32,
    /// It was the stable one.
    pub served: bool,
    /// The template as its owner wrote it.
    pub template: Option<Value>,
}

/// Puts the template of a past revision back. Without a wish: the stable one while another is on its way or failed, or
/// else the newest that served before it.
pub fn undo(rollout: &Rollout, past: &[Past], to: Option<&str>) -> Result<Change, Refusal> {
    if let Some(workload) = &rollout.spec.workload_ref {
        return refuse(
            rollout,
            &format!(
                "its template comes from spec.workloadRef: kubectl rollout undo deployment/{}",
                workload.name
            ),
        );
    }
    let found = choose(rollout, past, to)?;
    let Some(template) = &found.template else {
        return refuse(
            rollout,
            &format!("the template of revision {} was not kept", found.revision),
        );
    };
    if rollout.spec.template.as_ref() == Some(template) {
        return refuse(
            rollout,
            &format!("the spec has the template of revision {} already", found.revision),
        );
    }
    let held = if rollout.spec.paused == Some(true) {
        "; it is paused, resume it to go on"
    } else {
        ""
    };
    Ok(Change {
        edit: Edit::Operations(operations(rollout, &found.revision, template)),
        said: format!(
            "the spec goes back to revision {} (ordinal {}){held}",
            found.revision, found.ordinal
        ),
        next: "watch",
        ends_with: Some(found.revision.clone()),
    })
}

fn choose<'a>(rollout: &Rollout, past: &'a [Past], to: Option<&str>) -> Result<&'a Past, Refusal> {
    let status = status(rollout);
    let stable = status.stable_revision.as_deref().unwrap_or_default();
    let at_rest = status.phase == Some(PhaseName::Stable);
    let found = match to {
        Some(wanted) => past
            .iter()
            .find(|past| past.revision == wanted || past.ordinal.to_string() == wanted),
        None if at_rest => {
            let now = past
                .iter()
                .find(|past| past.revision == stable)
                .map_or(u32::MAX, |past| past.ordinal);
            past.iter()
                .filter(|past| past.served && past.revision != stable && past.ordinal < now)
                .max_by_key(|past| past.ordinal)
        }
        None => past.iter().find(|past| past.revision == stable),
    };
    match (found, to) {
        (Some(found), _) if found.revision == stable && at_rest => {
            refuse(rollout, &format!("revision {stable} serves already"))
        }
        (Some(found), _) => Ok(found),
        (None, Some(wanted)) => {
            let known: Vec<String> = past.iter().map(|past| past.ordinal.to_string()).collect();
            let known = known.join(", ");
            refuse(
                rollout,
                &format!("there is no revision {wanted} to go back to, only the ordinals {known}"),
            )
        }
        (None, None) => refuse(
            rollout,
            "no earlier revision has served; history lists what there is",
        ),
    }
}

/// A replaced template, and no order that would act on it at once: orders that name this revision are levels.
fn operations(rollout: &Rollout, revision: &str, template: &Value) -> Value {
    let mut operations = vec![
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": rollout.metadata.resource_version}),
        json!({"op": "replace", "path": "/spec/template", "value": template}),
    ];
    let aborted = rollout
        .spec
        .abort
        .as_ref()
        .is_some_and(|order| order.revision == revision);
    let promoted = rollout
        .spec
        .promotion
        .as_ref()
        .is_some_and(|order| order.revision == revision);
    let retried = rollout
        .spec
        .retry
        .as_ref()
        .is_some_and(|order| order.revision == revision);
    for (stale, path) in [
        (aborted, "/spec/abort"),
        (promoted, "/spec/promotion"),
        (retried, "/spec/retry"),
    ] {
        if stale {
            operations.push(json!({"op": "remove", "path": path}));
        }
    }
    Value::Array(operations)
}
