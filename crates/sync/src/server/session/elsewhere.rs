//! Calls that a session sends again after it has moved: the replica where they ran before knows how they ended.
//!
//! Only calls that the client says may be repetitions are asked for. When the replica that ran a call has ended without a
//! word, nobody knows, and the call runs again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use pointsman_crdt::Replica;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::ledger::{Key, Outcome, Recalled};
use crate::server::hub::Hub;
use crate::server::units::Fault;

/// Between replicas.
pub(in crate::server) const METHOD: &str = "call/outcome";
/// How long a replica waits for a call of its own to end before it says that it still runs.
const RUNS_WITHIN: Duration = Duration::from_secs(3);
/// How long a session waits for a call that still runs elsewhere.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const UNKNOWN: u64 = 404;
const RUNNING: u64 = 503;

#[derive(Serialize, Deserialize)]
struct Question {
    key: String,
    id: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Value(Value),
    Fault { status: u16, message: String },
}

/// How the call ended at another replica; `None` when nobody knows it.
pub(super) async fn ask(hub: &Hub, key: Key, id: i64) -> Option<Outcome> {
    hub.service.ledger.set_asked(key, id, true);
    let outcome = ask_all(hub, key, id).await;
    hub.service.ledger.set_asked(key, id, false);
    outcome
}

async fn ask_all(hub: &Hub, key: Key, id: i64) -> Option<Outcome> {
    let question = Question { key: key.hex(), id };
    let payload = Bytes::from(serde_json::to_vec(&question).ok()?);
    let until = Instant::now() + ENDS_WITHIN;
    loop {
        let members = hub.peers.members();
        let asked = members
            .iter()
            .map(|member| hub.peers.call(*member, METHOD, payload.clone()));
        let mut runs = false;
        for answer in join_all(asked).await {
            match answer {
                Ok(payload) => {
                    if let Ok(answer) = serde_json::from_slice(&payload) {
                        return Some(match answer {
                            Answer::Value(value) => Ok(value),
                            Answer::Fault { status, message } => Err(Fault::new(status, message)),
                        });
                    }
                }
                Err(crate::server::peers::CallError::Refused { status }) => runs |= status == RUNNING,
                // It may have run there; whoever does not answer is about to be gone.
                Err(_) => {}
            }
        }
        if !runs {
            return None;
        }
        if Instant::now() >= until {
            return Some(Err(Fault::new(503, "the call still runs at another replica")));
        }
    }
}

/// Answers another replica.
pub(in crate::server) fn answer(
    hub: &Arc<Hub>,
    from: Replica,
    payload: &Bytes,
) -> BoxFuture<'static, (u64, Bytes)> {
    // Of two that ask each other the smaller one runs the call.
    let first = hub.peers.me().is_some_and(|me| me < from);
    let ledger = Arc::clone(&hub.service.ledger);
    let question = serde_json::from_slice::<Question>(payload).ok();
    let question = question.and_then(|question| Some((Key::from_hex(&question.key)?, question.id)));
    Box::pin(async move {
        let Some((key, id)) = question else {
            return (400, Bytes::new());
        };
        let recalled = match ledger.recall(key, id) {
            Recalled::Asked(_) if !first => Recalled::Unknown,
            Recalled::Running(mut running) | Recalled::Asked(mut running) => {
                let ended = async { while running.changed().await.is_ok() {} };
                let _ = tokio::time::timeout(RUNS_WITHIN, ended).await;
                ledger.recall(key, id)
            }
            recalled => recalled,
        };
        match recalled {
            Recalled::Unknown => (UNKNOWN, Bytes::new()),
            Recalled::Running(_) | Recalled::Asked(_) => (RUNNING, Bytes::new()),
            Recalled::Done(outcome) => {
                let answer = match outcome {
                    Ok(value) => Answer::Value(value),
                    Err(Fault { status, message }) => Answer::Fault { status, message },
                };
                (0, Bytes::from(serde_json::to_vec(&answer).unwrap_or_default()))
            }
        }
    })
}
