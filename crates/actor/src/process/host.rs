//! What the actors of a worker share, and what they say to the other side.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::frame::{self, Up};
use super::serve::Hosted;
use crate::error::{AnswerError, Refusal};
use crate::handle::State;
use crate::reply::AnswerSink;

/// Frames that are put into one write.
const BATCH_MAX: usize = 256;

/// Waits to be written: bounded by the credit of the other side and by the reply addresses that it has open.
pub(super) enum Back {
    Taken(u32),
    Answer(u64, Vec<u8>),
    NoAnswer(u64),
    Is(u32, State),
    End,
}

pub(super) struct Host {
    pub(super) queue: mpsc::UnboundedSender<Back>,
    actors: Mutex<BTreeMap<u32, Hosted>>,
    /// Tell the other side what the actors do.
    pub(super) reporters: TaskTracker,
    message_bytes_max: usize,
}

impl Host {
    pub(super) fn new(queue: mpsc::UnboundedSender<Back>, message_bytes_max: usize) -> Self {
        Self {
            queue,
            actors: Mutex::default(),
            reporters: TaskTracker::new(),
            message_bytes_max,
        }
    }

    pub(super) fn actors(&self) -> MutexGuard<'_, BTreeMap<u32, Hosted>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnswerSink for Host {
    fn answer(&self, number: u64, body: Option<Vec<u8>>) -> Result<(), AnswerError> {
        let max = self.message_bytes_max;
        let back = match body {
            Some(body) if body.len() > max => {
                let bytes = body.len();
                return Err(AnswerError::Refused(Refusal::TooLarge { bytes, max }));
            }
            Some(body) => Back::Answer(number, body),
            None => Back::NoAnswer(number),
        };
        self.queue.send(back).map_err(|_| AnswerError::Gone)
    }
}

pub(super) async fn write_all(mut waiting: mpsc::UnboundedReceiver<Back>, mut socket: OwnedWriteHalf) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut buffer = BytesMut::new();
    loop {
        batch.clear();
        if waiting.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        buffer = frame::emptied(buffer);
        let goes_on = fill(&mut batch, &mut buffer);
        if let Err(error) = socket.write_all(&buffer).await {
            tracing::debug!(%error, "the other side is gone");
            return;
        }
        if !goes_on {
            return;
        }
    }
}

/// Whether more is to come. Neighbouring credits of one actor become one.
fn fill(batch: &mut Vec<Back>, buffer: &mut BytesMut) -> bool {
    let mut taken: Option<(u32, u32)> = None;
    let mut goes_on = true;
    let mut put = |up: &Up, body: &[u8]| {
        if let Err(error) = frame::put(buffer, up, body) {
            tracing::error!(%error, "a frame was not written");
        }
    };
    for back in batch.drain(..) {
        if let Back::Taken(actor) = back {
            taken = match taken {
                Some((same, count)) if same == actor => Some((same, count + 1)),
                other => {
                    if let Some((actor, count)) = other {
                        put(&Up::Taken { actor, count }, &[]);
                    }
                    Some((actor, 1))
                }
            };
            continue;
        }
        // Who hears an answer finds the room of its question free.
        if let Some((actor, count)) = taken.take() {
            put(&Up::Taken { actor, count }, &[]);
        }
        match back {
            Back::Taken(_) => {}
            Back::Answer(number, body) => put(&Up::Answer { number }, &body),
            Back::NoAnswer(number) => put(&Up::NoAnswer { number }, &[]),
            Back::Is(actor, state) => put(&Up::Is { actor, state }, &[]),
            Back::End => goes_on = false,
        }
    }
    if let Some((actor, count)) = taken {
        put(&Up::Taken { actor, count }, &[]);
    }
    goes_on
}
