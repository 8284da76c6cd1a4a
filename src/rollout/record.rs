//! Step 3, I/O out: the new state goes into `.status` before anything acts on it, as a compare-and-swap.

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource as _};
use pointsman_api::labels;
use pointsman_api::rollout::{Rollout, RolloutStatus};
use pointsman_core::rollout::Note;
use serde_json::json;

use super::build::Owner;
use super::error::Error;
use super::status::Fault;
use crate::kubernetes::client::call;

/// Field manager of the status.
pub const MANAGER: &str = "pointsman/rollout-status";
/// The Events API refuses longer actions.
const ACTION_CHARACTERS_MAX: usize = 120;
/// The Events API refuses longer notes.
const NOTE_CHARACTERS_MAX: usize = 1_000;

/// Writes a status that differs from what was read; returns the resource version that it has now. Fails with
/// [`Error::Stale`] when somebody else wrote in between, and then nothing may act on `status`.
pub async fn record(
    client: &Client,
    owner: &Owner,
    rollout: &Rollout,
    status: &RolloutStatus,
) -> Result<Option<String>, Error> {
    if rollout.status.as_ref() == Some(status) {
        return Ok(None);
    }
    let api: Api<Rollout> = Api::namespaced(client.clone(), &owner.namespace);
    let patch = json!({
        "apiVersion": Rollout::api_version(&()),
        "kind": Rollout::kind(&()),
        "metadata": { "name": owner.name, "uid": owner.uid, "resourceVersion": rollout.metadata.resource_version },
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    match call(api.patch_status(&owner.name, &parameters, &Patch::Apply(&patch))).await {
        Ok(written) => Ok(written.metadata.resource_version),
        Err(error) if matches!(error.status(), Some(404 | 409)) => Err(Error::Stale),
        Err(error) => Err(Error::of_call(
            format!("write the status of Rollout {}", owner.name),
            error,
        )),
    }
}

/// Makes Events of what happened. An Event that is lost is lost: the status is the truth.
pub async fn tell(recorder: &Recorder, rollout: &Rollout, notes: &[Note]) {
    for note in notes {
        publish(recorder, rollout, note.reason, note.warning, &note.text).await;
    }
}

/// Makes an Event of a fault.
pub async fn tell_fault(recorder: &Recorder, rollout: &Rollout, fault: &Fault) {
    publish(recorder, rollout, &fault.reason, true, &fault.message).await;
}

async fn publish(recorder: &Recorder, rollout: &Rollout, reason: &str, warning: bool, text: &str) {
    let event = Event {
        type_: if warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.to_owned(),
        note: Some(text.chars().take(NOTE_CHARACTERS_MAX).collect()),
        // Events of one action are counted, not kept: what was said must be part of it, or step 2 looks like step 1.
        action: text.chars().take(ACTION_CHARACTERS_MAX).collect(),
        secondary: None,
    };
    let regarding = rollout.object_ref(&());
    if let Err(error) = call(recorder.publish(&event, &regarding)).await {
        tracing::debug!(%error, reason, "an event could not be published");
    }
}

/// Name under which Events are reported.
#[must_use]
pub fn reporter(instance: &str) -> kube::runtime::events::Reporter {
    kube::runtime::events::Reporter {
        controller: labels::MANAGER.to_owned(),
        instance: Some(instance.to_owned()),
    }
}

/// The clock, read once per reconcile.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    // Conditions hold whole seconds.
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
