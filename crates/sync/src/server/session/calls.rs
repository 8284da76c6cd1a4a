//! Calls in their order, and what has to wait for its turn among them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::elsewhere;
use super::ledger::{Begun, Outcome};
use super::{Connection, End, Session};
use crate::server::hub::Hub;
use crate::server::units::{Fault, invoke, public};

/// A call that waits for its turn.
pub(super) struct Call {
    pub(super) id: i64,
    pub(super) method: String,
    pub(super) arguments: Bytes,
    pub(super) meta: Option<Bytes>,
}

/// What runs in order.
pub(super) enum Job {
    Call(Call),
    /// An upload whose bytes are all here: calls that come after it find the file.
    Keep {
        id: i64,
        done: oneshot::Receiver<()>,
    },
}

/// What has run.
pub(super) enum Finished {
    Call {
        id: i64,
        meta: Option<Bytes>,
        outcome: Outcome,
    },
    Keep {
        id: i64,
        kept: bool,
    },
}

impl Session {
    /// Takes a call, or refuses it when too many wait.
    pub(super) async fn call(&mut self, call: Call) -> Result<(), End> {
        if self.jobs.len() < self.hub.options.limits.calls_waiting_max {
            self.jobs.push_back(Job::Call(call));
            return Ok(());
        }
        self.hub
            .service
            .counts
            .calls_refused
            .fetch_add(1, Ordering::Relaxed);
        let fault = Fault::new(503, "too many calls of this session wait");
        let (status, value) = public(Err(fault));
        self.answer(call.id, status, &value, call.meta.as_deref()).await
    }

    /// Begins the next job when none runs.
    pub(super) fn start_next(&mut self) {
        if self.running.is_some() {
            return;
        }
        let Some(job) = self.jobs.pop_front() else {
            return;
        };
        let (hub, connection) = (Arc::clone(&self.hub), Arc::clone(&self.connection));
        // A client of Metacom sends nothing again, and its ids begin anew with each page.
        let once = self.binary();
        self.running = Some(match job {
            Job::Call(call) => Box::pin(async move {
                let outcome = if once && call.id > 0 {
                    run_once(&hub, &connection, &call).await
                } else {
                    invoke(hub, connection, &call.method, arguments(&call.arguments)).await
                };
                Finished::Call {
                    id: call.id,
                    meta: call.meta,
                    outcome,
                }
            }),
            Job::Keep { id, done } => Box::pin(async move {
                let kept = done.await.is_ok();
                Finished::Keep { id, kept }
            }),
        });
    }

    pub(super) async fn finished(&mut self, finished: Finished) -> Result<(), End> {
        self.running = None;
        // What the call asked for goes before its answer: a client knows of a stream before it reads its id.
        self.asks().await?;
        if self.told.is_none() {
            self.told = self.connection.documents.told();
        }
        match finished {
            Finished::Call { id, meta, outcome } => {
                self.look_who();
                let (status, value) = public(outcome);
                self.answer(id, status, &value, meta.as_deref()).await
            }
            Finished::Keep { id, kept: true } => {
                self.hub.service.counts.files_kept.fetch_add(1, Ordering::Relaxed);
                let id = self.codec.stream_value(id);
                let kept = json!({"streamId": id}).to_string();
                self.event("files/kept", Bytes::from(kept)).await
            }
            Finished::Keep { kept: false, .. } => Ok(()),
        }
    }
}

/// Runs a call, unless it ran before: then its answer is the same.
async fn run_once(hub: &Arc<Hub>, connection: &Arc<Connection>, call: &Call) -> Outcome {
    let key = connection.who().key;
    let mut hasher = DefaultHasher::new();
    (&call.method, &call.arguments).hash(&mut hasher);
    let fingerprint = hasher.finish();
    loop {
        match hub.service.ledger.begin(key, call.id, fingerprint) {
            Begun::Run(permit) => {
                // The permit keeps others from running it while it is asked for.
                if call.id < connection.repeats_below()
                    && let Some(outcome) = elsewhere::ask(hub, key, call.id).await
                {
                    permit.done(&outcome);
                    hub.service.counts.calls_repeated.fetch_add(1, Ordering::Relaxed);
                    return outcome;
                }
                let arguments = arguments(&call.arguments);
                let outcome = invoke(Arc::clone(hub), Arc::clone(connection), &call.method, arguments).await;
                permit.done(&outcome);
                return outcome;
            }
            // It ends with an outcome or without; no longer than any call takes.
            Begun::Wait(mut running) => while running.changed().await.is_ok() {},
            Begun::Answer(outcome) => {
                hub.service.counts.calls_repeated.fetch_add(1, Ordering::Relaxed);
                return outcome;
            }
        }
    }
}

fn arguments(bytes: &Bytes) -> Result<Value, Fault> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|error| Fault::new(400, format!("arguments are not JSON: {error}")))
}
