//! What an order puts into the spec. Pure: from the Rollout as it is to the patch, or to why there is nothing to do.
//!
//! Orders stay in the spec and are fenced by revision, step and attempt, so none acts twice; see ADR 2.

use pointsman_api::rollout::{PhaseName, Rollout, RolloutStatus, Through};
use serde_json::{Value, json};

use crate::view::step_text;

mod undo;

pub use undo::{Past, undo};

/// What to write, and what to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What to write.
    pub edit: Edit,
    /// What was asked for, for people.
    pub said: String,
    /// The command that comes next.
    pub next: &'static str,
    /// Revision that the order is to end with, when it is not the candidate.
    pub ends_with: Option<String>,
}

/// How the Rollout is changed; either way on the version that was read only.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A JSON merge patch.
    Merge(Value),
    /// A JSON patch: a template is replaced as a whole, where a merge would keep what a newer one added.
    Operations(Value),
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
    let phase = status.phase.map_or_else(
        || "not looked at yet; is the operator running?".to_owned(),
        |phase| format!("{phase:?}"),
    );
    let behind = if status.observed_generation < rollout.metadata.generation {
        " (the operator has not seen the last change of the spec yet; try again in a moment)"
    } else {
        ""
    };
    Err(Refusal(format!(
        "rollout {} is {phase}; {what}{behind}",
        name(rollout)
    )))
}

fn change(rollout: &Rollout, spec: &Value, said: String, next: &'static str) -> Change {
    Change {
        edit: Edit::Merge(
            json!({"metadata": {"resourceVersion": rollout.metadata.resource_version}, "spec": spec}),
        ),
        said,
        next,
        ends_with: None,
    }
}

/// How far a promotion that is in the spec already goes for this revision.
fn promoted(rollout: &Rollout, revision: &str) -> Option<(Through, Option<i32>)> {
    let order = rollout.spec.promotion.as_ref()?;
    (order.revision == revision).then_some((order.through, order.step))
}

/// True when the spec holds an order that releases the pause at `step`.
pub(crate) fn released(rollout: &Rollout, revision: &str, step: i32) -> bool {
    promoted(rollout, revision).is_some_and(|(through, last)| match through {
        Through::Full => true,
        Through::Step => last.is_some_and(|last| step <= last),
    })
}

/// Goes past the present pause, or to the end.
pub fn promote(rollout: &Rollout, full: bool) -> Result<Change, Refusal> {
    let status = status(rollout);
    let (Some(phase), Some(revision)) = (status.phase, status.candidate_revision.as_deref()) else {
        return refuse(rollout, "nothing to promote");
    };
    if rollout.spec.paused == Some(true) {
        return refuse(rollout, "it is paused; resume it first");
    }
    match phase {
        PhaseName::Stepping if !full => promote_step(rollout, &status, revision),
        PhaseName::Previewing if promoted(rollout, revision).is_some() => refuse(
            rollout,
            &format!("the promotion of {revision} is asked for already"),
        ),
        PhaseName::Previewing if automatic(rollout) => refuse(
            rollout,
            "it switches by itself as soon as the preview is ready (autoPromote)",
        ),
        PhaseName::Stepping if matches!(promoted(rollout, revision), Some((Through::Full, _))) => refuse(
            rollout,
            &format!("the promotion of {revision} is asked for already"),
        ),
        PhaseName::Stepping | PhaseName::Previewing => {
            let ready = status.memory.as_ref().and_then(|memory| memory.ready) == Some(true);
            let said = match phase {
                PhaseName::Previewing if ready => format!("revision {revision} takes over"),
                PhaseName::Previewing => format!("revision {revision} takes over once its preview is ready"),
                _ => format!("revision {revision} is promoted to the end"),
            };
            let order = json!({"promotion": {"revision": revision, "through": "full", "step": null}});
            Ok(change(rollout, &order, said, "watch"))
        }
        PhaseName::Promoting => refuse(rollout, &format!("revision {revision} is taking over already")),
        PhaseName::Aborted => refuse(rollout, "retry tries it again, undo goes back"),
        PhaseName::Initializing => refuse(rollout, "the first revision needs no promotion"),
        PhaseName::Pending | PhaseName::Stable | PhaseName::Aborting => refuse(rollout, "nothing to promote"),
    }
}

fn automatic(rollout: &Rollout) -> bool {
    let blue_green = rollout.spec.strategy.blue_green.as_ref();
    blue_green.and_then(|blue_green| blue_green.auto_promote) == Some(true)
}

/// Only a pause can be gone past: a weight goes on by itself once it is met.
fn promote_step(rollout: &Rollout, status: &RolloutStatus, revision: &str) -> Result<Change, Refusal> {
    let index = status.current_step.unwrap_or(0);
    let steps = rollout.spec.strategy.canary.as_ref().map(|canary| &canary.steps);
    let total = steps.map_or(0, Vec::len);
    let Some(step) = steps
        .zip(usize::try_from(index).ok())
        .and_then(|(steps, index)| steps.get(index))
    else {
        return refuse(
            rollout,
            "its step is not in the spec; --full promotes it to the end",
        );
    };
    let place = format!(
        "step {} of {total} ({})",
        index.saturating_add(1),
        step_text(step)
    );
    if step.pause.is_none() {
        return refuse(
            rollout,
            &format!("{place} goes on by itself when it is done; --full promotes to the end"),
        );
    }
    if released(rollout, revision, index) {
        return refuse(rollout, &format!("to go past {place} is asked for already"));
    }
    let order = json!({"promotion": {"revision": revision, "through": "step", "step": index}});
    Ok(change(
        rollout,
        &order,
        format!("revision {revision} goes past {place}"),
        "watch",
    ))
}

/// Sends everything back.
pub fn abort(rollout: &Rollout, reason: Option<&str>) -> Result<Change, Refusal> {
    let status = status(rollout);
    match (status.phase, status.candidate_revision) {
        (Some(PhaseName::Stepping | PhaseName::Previewing | PhaseName::Promoting), Some(revision)) => {
            if rollout
                .spec
                .abort
                .as_ref()
                .is_some_and(|abort| abort.revision == revision)
            {
                return refuse(rollout, &format!("the abort of {revision} is asked for already"));
            }
            let order = json!({"abort": {"revision": revision, "reason": reason}});
            let back = status.stable_revision.unwrap_or_default();
            let said = format!("revision {revision} is aborted; everything goes back to {back}");
            Ok(change(rollout, &order, said, "watch"))
        }
        (Some(PhaseName::Initializing), _) => refuse(
            rollout,
            "there is no stable revision to go back to; change the spec instead",
        ),
        (Some(PhaseName::Aborting), _) => refuse(rollout, "it is on its way back already"),
        (Some(PhaseName::Aborted), _) => {
            refuse(rollout, "nothing to abort; retry tries it again, undo goes back")
        }
        _ => refuse(rollout, "nothing to abort; undo goes back to an earlier revision"),
    }
}

/// Tries an aborted revision again.
pub fn retry(rollout: &Rollout) -> Result<Change, Refusal> {
    let status = status(rollout);
    let (Some(PhaseName::Aborted), Some(revision)) = (status.phase, status.candidate_revision) else {
        return refuse(rollout, "only an aborted revision can be tried again");
    };
    let tried = status.memory.and_then(|memory| memory.attempt).unwrap_or(1);
    if pending_retry(rollout, &revision, tried)
        && rollout
            .spec
            .abort
            .as_ref()
            .is_none_or(|abort| abort.revision != revision)
    {
        return refuse(rollout, &format!("to try {revision} again is asked for already"));
    }
    let attempt = tried.saturating_add(1);
    // Orders that name this revision are levels: they would act again at once.
    let order =
        json!({"retry": {"revision": revision, "attempt": attempt}, "abort": null, "promotion": null});
    let held = if rollout.spec.paused == Some(true) {
        "; it is paused, resume it to go on"
    } else {
        ""
    };
    let said = format!("revision {revision} is tried again, attempt {attempt}{held}");
    Ok(change(rollout, &order, said, "watch"))
}

/// True while an order to try again has not acted.
pub(crate) fn pending_retry(rollout: &Rollout, revision: &str, tried: i32) -> bool {
    let retry = rollout.spec.retry.as_ref();
    retry.is_some_and(|retry| retry.revision == revision && retry.attempt > tried)
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
    let name = name(rollout);
    let (said, next) = if paused {
        (format!("rollout {name} is paused; an abort still acts"), "resume")
    } else {
        (format!("rollout {name} goes on"), "watch")
    };
    Ok(change(rollout, &json!({"paused": paused}), said, next))
}

#[cfg(test)]
mod tests;
