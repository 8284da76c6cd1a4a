//! The Rollout controller: observe, validate, advance, record, build, apply, drain. One reconcile, readable from top to
//! bottom; `docs/ARCHITECTURE.md` says why in this order.

pub mod apply;
pub mod build;
pub mod drain;
pub mod error;
pub mod memory;
pub mod observe;
pub mod ports;
pub mod record;
pub mod sessions;
pub mod status;
pub mod validate;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Client, ResourceExt as _};
use pointsman_api::rollout::{Rollout, RolloutStatus};
use pointsman_core::rollout::{self as core, Desired, Millis, Phase, State, advance, desired, movable};

use build::Owner;
use error::{Error, Retry};
use observe::{Stores, World, observe};
use sessions::Pods;
use status::{Facts, Fault};
use validate::{Checked, validate};

use crate::kubernetes::backoff::Backoffs;
use crate::kubernetes::guard::guarded;
use crate::kubernetes::lease::Leadership;
use crate::telemetry::Metrics;

/// The longest that one reconcile may take.
const RECONCILE_WITHIN: Duration = Duration::from_secs(60);
/// How often a rollout on its way is looked at when nothing happens, so that its counts are not old.
const FRESH_WITHIN_MS: i64 = 10_000;
/// How often a rollout at rest is looked at when nothing happens.
const REST_WITHIN: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(100);

/// What reconciles share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What watches keep up to date.
    pub stores: Stores,
    /// Control ports of pods.
    pub pods: Pods,
    /// Events.
    pub recorder: Recorder,
    /// Whether this replica may act.
    pub leadership: Leadership,
    /// Metrics.
    pub metrics: Metrics,
    /// Consecutive errors.
    pub backoffs: Backoffs,
    /// True once every watch has its first list: before that a rollout looks as if it had no children.
    pub filled: AtomicBool,
    /// Per UID what this process knows beyond `.status`; losing it costs a repeated look, no more.
    pub notes: Mutex<BTreeMap<String, Known>>,
}

/// What a process knows of a Rollout beyond its status.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Resource version of the last status written: an older object from the watch is not acted upon.
    pub written: Option<String>,
    /// What was in the way at the last reconcile.
    pub fault: Option<Fault>,
    /// Phase last shown in the metrics.
    pub phase: Option<String>,
    /// Namespace and name, to take the metrics away with the object.
    pub name: (String, String),
}

/// One reconcile with its guard, its metrics and its place in the backoff.
pub async fn reconcile(
    rollout: Arc<DeserializeGuard<Rollout>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if !context.leadership.leads() {
        return Ok(Action::await_change());
    }
    if !context.filled.load(Ordering::Relaxed) {
        return Ok(Action::requeue(SOON));
    }
    let timer = context
        .metrics
        .reconcile_seconds
        .with_label_values(&["rollout"])
        .start_timer();
    let outcome = match guarded(RECONCILE_WITHIN, run(&rollout, &context)).await {
        Ok(outcome) => outcome,
        Err(guarded) => Err(guarded.into()),
    };
    timer.observe_duration();
    let uid = rollout.uid().unwrap_or_default();
    if outcome.is_ok() {
        context.backoffs.succeeded(&uid);
    }
    outcome
}

/// What to do about an error: a table by category.
pub fn on_error(rollout: Arc<DeserializeGuard<Rollout>>, error: &Error, context: Arc<Context>) -> Action {
    context
        .metrics
        .reconcile_errors
        .with_label_values(&["rollout", error.category()])
        .inc();
    match error.retry() {
        Retry::Now => {
            context.metrics.status_conflicts.inc();
            Action::requeue(SOON)
        }
        Retry::AwaitChange => Action::await_change(),
        Retry::Backoff => {
            let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
            tracing::warn!(namespace, name, category = error.category(), %error, "reconcile failed");
            let uid = rollout.uid().unwrap_or_default();
            Action::requeue(context.backoffs.failed(&uid, rand::random_range(0..=100)))
        }
    }
}

async fn run(rollout: &DeserializeGuard<Rollout>, context: &Context) -> Result<Action, Error> {
    let rollout = rollout
        .0
        .as_ref()
        .map_err(|error| Error::Undecodable(error.error.clone()))?;
    if rollout.metadata.deletion_timestamp.is_some() {
        // Children go with their owner; nothing else is ours.
        return Ok(Action::await_change());
    }
    let owner = Owner {
        name: rollout.name_any(),
        namespace: rollout.namespace().unwrap_or_default(),
        uid: rollout.uid().unwrap_or_default(),
    };
    if is_behind(&context.known(&owner), rollout) {
        return Ok(Action::requeue(SOON));
    }
    let now = record::now();
    let outcome = step(context, &owner, rollout, now).await;
    match outcome {
        Ok(action) => {
            if context.known(&owner).fault.is_some() {
                context.update(&owner, |known| known.fault = None);
                return Ok(Action::requeue(Duration::ZERO));
            }
            Ok(action)
        }
        Err(error) if error.for_owner() => {
            fault(context, &owner, rollout, &error, now).await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// The five steps, and the drain.
async fn step(context: &Context, owner: &Owner, rollout: &Rollout, now: Timestamp) -> Result<Action, Error> {
    let template = observe::template(&context.client, owner, &rollout.spec).await?;
    let checked = validate(&rollout.spec, template)?;
    if checked.gateway.is_some() && context.stores.routes.is_none() {
        return Err(Error::NoGatewayApi);
    }
    let before = memory::read(rollout.status.as_ref())?;
    let count = counts(&checked, &before);
    let world = observe(&context.client, &context.stores, &context.pods, owner, count).await?;

    let step = advance(&checked.spec, &before, &world.seen, Millis(now.as_millisecond()));
    let desired = desired(&checked.spec, &step.state);
    debug_assert_eq!(
        pointsman_core::invariants::check(&checked.spec, &step.state, &desired),
        Vec::<String>::new()
    );

    let known = context.known(owner);
    let facts = Facts {
        name: &owner.name,
        generation: rollout.metadata.generation,
        spec: &checked.spec,
        state: &step.state,
        seen: &world.seen,
        desired: &desired,
        message: &message(&step.message, &world),
        drained: drained(&world),
        fault: known.fault.as_ref(),
        before: rollout.status.as_ref(),
        now,
    };
    let status = status::build(&facts);
    context.show(owner, &status);
    persist(context, owner, rollout, &status).await?;
    record::tell(&context.recorder, rollout, &step.notes).await;
    for note in &step.notes {
        context.metrics.notes.with_label_values(&[note.reason]).inc();
        tracing::info!(
            namespace = owner.namespace,
            name = owner.name,
            reason = note.reason,
            "{}",
            note.text
        );
    }

    // From here on effects, which derive from what was persisted, and only while we lead.
    if !context.leadership.leads() {
        return Err(Error::NotLeading);
    }
    let applier = apply::Applier {
        client: &context.client,
        owner,
        checked: &checked,
        state: &step.state,
        desired: &desired,
        world: &world,
        now_ms: now.as_millisecond(),
    };
    applier.apply().await?;
    if let (Some(drain), Some(token)) = (checked.spec.sessions, &world.token) {
        let told = Desired {
            moves: movable(&checked.spec, &step.state, &desired, &world.seen),
            ..desired.clone()
        };
        let orders = drain::orders(&told, &world, drain.rate_per_second);
        drain::send(&context.pods, &context.metrics, token, orders).await;
    }
    Ok(next(&checked, &step, now))
}

/// True when live sessions matter to what is decided or shown next.
fn counts(checked: &Checked, state: &State) -> bool {
    let moving = match state.phase {
        Phase::Stepping { .. }
        | Phase::Previewing { .. }
        | Phase::Promoting { .. }
        | Phase::Aborting { .. } => true,
        Phase::Pending | Phase::Initializing { .. } | Phase::Stable | Phase::Aborted { .. } => false,
    };
    checked.spec.sessions.is_some() && (moving || !state.retired.is_empty())
}

fn message(message: &str, world: &World) -> String {
    let refusal = world.route.as_deref().and_then(build::http_route::refusal);
    // A rule whose pods are still coming up is refused too; that is nobody's business until the route is waited for.
    match (&world.unanswered, refusal.filter(|_| message.contains("gateway"))) {
        (Some(unanswered), _) => format!("{message} ({unanswered})"),
        (None, Some(refusal)) => format!("{message} (the gateway refuses the route: {refusal})"),
        (None, None) => message.to_owned(),
    }
}

fn drained(world: &World) -> Option<u64> {
    world
        .pods
        .iter()
        .filter_map(|pod| pod.report.as_ref())
        .map(|report| report.drained)
        .reduce(u64::saturating_add)
}

fn next(checked: &Checked, step: &core::Step, now: Timestamp) -> Action {
    let now_ms = now.as_millisecond();
    let fresh = counts(checked, &step.state).then(|| now_ms.saturating_add(FRESH_WITHIN_MS));
    let wake = step.wake.map(|wake| wake.0).into_iter().chain(fresh).min();
    match wake {
        Some(wake) => {
            let wait = u64::try_from(wake.saturating_sub(now_ms)).unwrap_or(0);
            Action::requeue(Duration::from_millis(wait))
        }
        None => Action::requeue(REST_WITHIN.mul_f32(rand::random_range(0.8..1.2))),
    }
}

async fn persist(
    context: &Context,
    owner: &Owner,
    rollout: &Rollout,
    status: &RolloutStatus,
) -> Result<(), Error> {
    if let Some(version) = record::record(&context.client, owner, rollout, status).await? {
        context.update(owner, |known| known.written = Some(version));
    }
    Ok(())
}

/// Tells the owner what is in the way: once in the status, once as an Event.
async fn fault(
    context: &Context,
    owner: &Owner,
    rollout: &Rollout,
    error: &Error,
    now: Timestamp,
) -> Result<(), Error> {
    let fault = Fault {
        reason: error.category().to_owned(),
        message: error.to_string(),
    };
    if context.known(owner).fault.as_ref() == Some(&fault) {
        return Ok(());
    }
    context.update(owner, |known| known.fault = Some(fault.clone()));
    record::tell_fault(&context.recorder, rollout, &fault).await;
    if is_behind(&context.known(owner), rollout) {
        // The status was just written with a newer state: the next reconcile shows the fault beside it.
        return Err(Error::Stale);
    }
    let status = status::faulty(rollout.status.as_ref(), rollout.metadata.generation, &fault, now);
    persist(context, owner, rollout, &status).await
}

/// True when the watch has not caught up with our own last write. Acting on the older state would turn traffic back.
fn is_behind(known: &Known, rollout: &Rollout) -> bool {
    let number = |version: Option<&String>| version.and_then(|version| version.parse::<u64>().ok());
    match (
        number(known.written.as_ref()),
        number(rollout.metadata.resource_version.as_ref()),
    ) {
        (Some(written), Some(read)) => read < written,
        // Versions that are no numbers cannot be compared; the compare-and-swap still holds.
        _ => false,
    }
}

impl Context {
    fn known(&self, owner: &Owner) -> Known {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.get(&owner.uid).cloned().unwrap_or_default()
    }

    fn update(&self, owner: &Owner, change: impl FnOnce(&mut Known)) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.entry(owner.uid.clone()).or_default();
        known.name = (owner.namespace.clone(), owner.name.clone());
        change(known);
    }

    /// Shows a status in the metrics.
    fn show(&self, owner: &Owner, status: &RolloutStatus) {
        let place = [owner.namespace.as_str(), owner.name.as_str()];
        let phase = status.phase.map(|phase| format!("{phase:?}"));
        let shown = self.known(owner).phase;
        if shown != phase {
            if let Some(old) = shown {
                let _ = self
                    .metrics
                    .phase
                    .remove_label_values(&[place[0], place[1], &old]);
            }
            if let Some(new) = &phase {
                self.metrics
                    .phase
                    .with_label_values(&[place[0], place[1], new])
                    .set(1);
            }
            self.update(owner, |known| known.phase = phase);
        }
        let weights = status.weights.clone().unwrap_or_default();
        let sessions = status.sessions.clone().unwrap_or_default();
        for (gauges, kind, value) in [
            (&self.metrics.weight, "desired", weights.desired),
            (&self.metrics.weight, "routed", weights.routed),
            (&self.metrics.weight, "live", weights.live),
            (&self.metrics.sessions, "stable", sessions.stable),
            (&self.metrics.sessions, "candidate", sessions.candidate),
            (&self.metrics.sessions, "remaining", sessions.remaining),
        ] {
            match value {
                Some(value) => gauges
                    .with_label_values(&[place[0], place[1], kind])
                    .set(i64::from(value)),
                None => drop(gauges.remove_label_values(&[place[0], place[1], kind])),
            }
        }
    }

    /// Forgets Rollouts that are gone, and takes their metrics away.
    pub fn forget(&self, exists: impl Fn(&str) -> bool) {
        self.backoffs.retain(&exists);
        self.pods.retain(&exists);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.retain(|uid, known| {
            let keep = exists(uid);
            if !keep {
                let (namespace, name) = (known.name.0.as_str(), known.name.1.as_str());
                if let Some(phase) = &known.phase {
                    let _ = self.metrics.phase.remove_label_values(&[namespace, name, phase]);
                }
                for kind in ["desired", "routed", "live"] {
                    let _ = self.metrics.weight.remove_label_values(&[namespace, name, kind]);
                }
                for role in ["stable", "candidate", "remaining"] {
                    let _ = self
                        .metrics
                        .sessions
                        .remove_label_values(&[namespace, name, role]);
                }
            }
            keep
        });
    }
}
