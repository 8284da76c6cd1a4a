//! What an order puts into the spec. Pure: from the Rollout as it is to the patch, or to why there is nothing to do.

use pointsman_api::rollout::{PhaseName, Rollout, RolloutStatus};
use serde_json::{Value, json};

/// What to write, and what to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Merge patch of the Rollout.
    pub patch: Value,
    /// What was asked for, for people.
    pub said: String,
    /// What to do next.
    pub next: String,
}

/// Why there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

fn status(rollout: &Rollout) -> RolloutStatus {
    rollout.status.clone().unwrap_or_default()
}

fn name(rollout: &Rollout) -> &str {
    rollout.metadata.name.as_deref().unwrap_or_default()
}

fn refuse<T>(rollout: &Rollout, what: &str) -> Result<T, Refusal> {
    let status = status(rollout);
    let phase = status
        .phase
        .map_or_else(|| "not looked at yet".to_owned(), |phase| format!("{phase:?}"));
    Err(Refusal(format!("rollout {} is {phase}; {what}", name(rollout))))
}

fn change(rollout: &Rollout, spec: &Value, said: String, next: &str) -> Change {
    Change {
        // With the version that was read: what was decided on it must not act on another.
        patch: json!({"metadata": {"resourceVersion": rollout.metadata.resource_version}, "spec": spec}),
        said,
        next: format!("kubectl pointsman {next} {}", name(rollout)),
    }
}

fn watch(rollout: &Rollout, spec: &Value, said: String) -> Change {
    change(rollout, spec, said, "watch")
}

/// Goes past the present step, or to the end.
pub fn promote(rollout: &Rollout, full: bool) -> Result<Change, Refusal> {
    let status = status(rollout);
    if rollout.spec.paused == Some(true) {
        return refuse(rollout, "it is paused; resume it first");
    }
    let (Some(phase), Some(revision)) = (status.phase, status.candidate_revision.clone()) else {
        return refuse(rollout, "nothing to promote");
    };
    match phase {
        PhaseName::Stepping if !full => {
            let step = status.current_step.unwrap_or(0);
            let total = status.steps_total.unwrap_or(0);
            let order = json!({"promotion": {"revision": revision, "through": "step", "step": step}});
            let said = format!(
                "revision {revision} goes past step {} of {total}",
                step.saturating_add(1)
            );
            Ok(watch(rollout, &order, said))
        }
        PhaseName::Stepping | PhaseName::Previewing | PhaseName::Promoting => {
            let order = json!({"promotion": {"revision": revision, "through": "full", "step": null}});
            Ok(watch(
                rollout,
                &order,
                format!("revision {revision} is promoted to the end"),
            ))
        }
        PhaseName::Aborted => refuse(rollout, "retry it, or change the spec"),
        PhaseName::Pending | PhaseName::Initializing | PhaseName::Stable | PhaseName::Aborting => {
            refuse(rollout, "nothing to promote")
        }
    }
}

/// Sends everything back.
pub fn abort(rollout: &Rollout, reason: &str) -> Result<Change, Refusal> {
    let status = status(rollout);
    let (Some(phase), Some(revision)) = (status.phase, status.candidate_revision.clone()) else {
        return refuse(rollout, "nothing to abort");
    };
    match phase {
        PhaseName::Stepping | PhaseName::Previewing | PhaseName::Promoting => {
            let order = json!({"abort": {"revision": revision, "reason": reason}});
            Ok(watch(rollout, &order, format!("revision {revision} is aborted")))
        }
        PhaseName::Initializing => refuse(
            rollout,
            "there is no stable revision to go back to; change the spec instead",
        ),
        PhaseName::Aborting | PhaseName::Aborted => refuse(rollout, "it is aborted already"),
        PhaseName::Pending | PhaseName::Stable => {
            refuse(rollout, "nothing to abort; undo goes back to an earlier revision")
        }
    }
}

/// Tries an aborted revision again.
pub fn retry(rollout: &Rollout) -> Result<Change, Refusal> {
    let status = status(rollout);
    let (Some(PhaseName::Aborted), Some(revision)) = (status.phase, status.candidate_revision.clone()) else {
        return refuse(rollout, "only an aborted revision can be tried again");
    };
    let attempt = status
        .memory
        .and_then(|memory| memory.attempt)
        .unwrap_or(1)
        .saturating_add(1);
    // Orders that named this revision would act again at once.
    let order =
        json!({"retry": {"revision": revision, "attempt": attempt}, "abort": null, "promotion": null});
    Ok(watch(
        rollout,
        &order,
        format!("revision {revision} is tried again, attempt {attempt}"),
    ))
}

/// Holds everything, or goes on.
pub fn pause(rollout: &Rollout, paused: bool) -> Result<Change, Refusal> {
    if rollout.spec.paused.unwrap_or(false) == paused {
        let already = if paused {
            "it is paused already"
        } else {
            "it is not paused; promote goes past the pause of a step"
        };
        return refuse(rollout, already);
    }
    let (said, next) = if paused {
        ("is paused", "resume")
    } else {
        ("goes on", "watch")
    };
    Ok(change(
        rollout,
        &json!({"paused": paused}),
        format!("rollout {} {said}", name(rollout)),
        next,
    ))
}

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

/// The revision that undo goes back to, and its template.
pub fn undo<'a>(rollout: &Rollout, past: &'a [Past], to: Option<&str>) -> Result<&'a Past, Refusal> {
    if rollout.spec.workload_ref.is_some() {
        return refuse(
            rollout,
            "its template comes from spec.workloadRef; undo that: kubectl rollout undo deployment/NAME",
        );
    }
    let status = status(rollout);
    let stable = status.stable_revision.clone().unwrap_or_default();
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
    let Some(found) = found else {
        let known: Vec<String> = past.iter().map(|past| past.ordinal.to_string()).collect();
        return refuse(
            rollout,
            &format!(
                "there is no such revision to go back to; there are {}",
                known.join(", ")
            ),
        );
    };
    if found.revision == stable && at_rest {
        return refuse(rollout, &format!("revision {stable} serves already"));
    }
    if found.template.is_none() {
        return refuse(
            rollout,
            &format!("the template of revision {} was not kept", found.revision),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_api::rollout::Memory;

    fn rollout(phase: PhaseName) -> Rollout {
        let mut rollout = Rollout::new("chat", Default::default());
        rollout.metadata.resource_version = Some("7".to_owned());
        rollout.status = Some(RolloutStatus {
            phase: Some(phase),
            stable_revision: Some("old".to_owned()),
            candidate_revision: Some("new".to_owned()),
            current_step: Some(1),
            steps_total: Some(4),
            memory: Some(Memory {
                attempt: Some(1),
                ..Memory::default()
            }),
            ..RolloutStatus::default()
        });
        rollout
    }

    #[test]
    fn orders_are_fenced_by_revision_step_and_version() {
        let change = promote(&rollout(PhaseName::Stepping), false).unwrap();
        assert_eq!(
            change.patch,
            json!({"metadata": {"resourceVersion": "7"}, "spec": {"promotion": {"revision": "new", "through": "step", "step": 1}}})
        );
        assert_eq!(change.said, "revision new goes past step 2 of 4");
        let full = promote(&rollout(PhaseName::Previewing), false).unwrap();
        assert_eq!(
            full.patch.pointer("/spec/promotion/through"),
            Some(&json!("full"))
        );
        let again = retry(&rollout(PhaseName::Aborted)).unwrap();
        assert_eq!(
            again.patch.pointer("/spec/retry"),
            Some(&json!({"revision": "new", "attempt": 2}))
        );
        assert_eq!(again.patch.pointer("/spec/abort"), Some(&Value::Null));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_what_can() {
        assert_eq!(
            promote(&rollout(PhaseName::Stable), false)
                .unwrap_err()
                .to_string(),
            "rollout chat is Stable; nothing to promote"
        );
        assert!(
            abort(&rollout(PhaseName::Stable), "")
                .unwrap_err()
                .to_string()
                .contains("undo")
        );
        assert!(
            abort(&rollout(PhaseName::Aborted), "")
                .unwrap_err()
                .to_string()
                .contains("already")
        );
        assert!(retry(&rollout(PhaseName::Stepping)).is_err());
        assert!(
            pause(&rollout(PhaseName::Stepping), false)
                .unwrap_err()
                .to_string()
                .contains("promote")
        );
        let mut paused = rollout(PhaseName::Stepping);
        paused.spec.paused = Some(true);
        assert!(
            promote(&paused, false)
                .unwrap_err()
                .to_string()
                .contains("resume")
        );
    }

    #[test]
    fn undo_takes_the_newest_before_the_stable_one_or_the_stable_one_while_on_the_way() {
        let past: Vec<Past> = [
            ("first", 1, true),
            ("second", 2, true),
            ("failed", 3, false),
            ("old", 4, true),
            ("new", 5, false),
        ]
        .map(|(revision, ordinal, served)| Past {
            revision: revision.to_owned(),
            ordinal,
            served,
            template: Some(json!({})),
        })
        .to_vec();
        let target = |phase, to| undo(&rollout(phase), &past, to).map(|past| past.revision.clone());
        assert_eq!(target(PhaseName::Stable, None).unwrap(), "second");
        assert_eq!(target(PhaseName::Stepping, None).unwrap(), "old");
        assert_eq!(target(PhaseName::Stable, Some("1")).unwrap(), "first");
        assert_eq!(target(PhaseName::Stable, Some("second")).unwrap(), "second");
        assert!(
            target(PhaseName::Stable, Some("9"))
                .unwrap_err()
                .to_string()
                .contains("1, 2, 3, 4, 5")
        );
        assert!(
            target(PhaseName::Stable, Some("old"))
                .unwrap_err()
                .to_string()
                .contains("serves already")
        );
    }
}
