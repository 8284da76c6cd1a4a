//! One-shot reply addresses, which may travel in messages, also to another process.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::error::{AnswerError, Refusal};

/// Reply addresses that one message may carry to another process.
pub(crate) const REPLIES_PER_MESSAGE_MAX: usize = 1_024;

/// Where one answer goes. Dropping it tells the asker that there is none.
///
/// It may be kept, or forwarded in another message. In a message to another process it travels as a number that means
/// something on that connection only.
pub struct ReplyTo<R> {
    /// Taken by the answer or by serialisation, which has only a shared reference.
    slot: Mutex<Option<Slot<R>>>,
}

enum Slot<R> {
    Here(oneshot::Sender<R>),
    There(Address, Encode<R>),
}

type Encode<R> = fn(&R) -> Result<Vec<u8>, Refusal>;

impl<R> ReplyTo<R> {
    fn new(slot: Slot<R>) -> Self {
        Self {
            slot: Mutex::new(Some(slot)),
        }
    }

    pub(crate) fn channel() -> (Self, oneshot::Receiver<R>) {
        let (sender, receiver) = oneshot::channel();
        (Self::new(Slot::Here(sender)), receiver)
    }

    /// Answers. Often there is nothing to do about an error: nobody waits any more.
    pub fn answer(self, answer: R) -> Result<(), AnswerError> {
        let slot = self.slot.into_inner().unwrap_or_else(PoisonError::into_inner);
        slot.ok_or(AnswerError::Gone)?.answer(answer)
    }

    /// Whether it is known that nobody waits any more. An asker in another process always seems to wait.
    pub fn is_abandoned(&self) -> bool {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().is_none_or(Slot::is_abandoned)
    }
}

impl<R> fmt::Debug for ReplyTo<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReplyTo")
    }
}

impl<R> Slot<R> {
    fn answer(self, answer: R) -> Result<(), AnswerError> {
        match self {
            Self::Here(sender) => sender.send(answer).map_err(|_| AnswerError::Gone),
            Self::There(address, encode) => {
                let body = encode(&answer).map_err(AnswerError::Refused)?;
                address.answer(body)
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Here(sender) => sender.is_closed(),
            Self::There(..) => false,
        }
    }
}

/// A reply address that has gone to another process, waiting here for the bytes of its answer.
pub(crate) trait Awaited: Send {
    /// Passes the answer on; an error names what is wrong with the bytes.
    fn answered(self: Box<Self>, body: &[u8]) -> Result<(), postcard::Error>;
    /// Whether nobody waits any more.
    fn is_abandoned(&self) -> bool;
}

impl<R: DeserializeOwned + Send + 'static> Awaited for Slot<R> {
    fn answered(self: Box<Self>, body: &[u8]) -> Result<(), postcard::Error> {
        let answer = postcard::from_bytes(body)?;
        // Nobody may wait any more, which is nobody's fault.
        let _ = self.answer(answer);
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        Slot::is_abandoned(self)
    }
}

/// Takes answers back to the process that asks.
pub(crate) trait AnswerSink: Send + Sync {
    /// Sends the answer to that number, or that there is none.
    fn answer(&self, number: u64, body: Option<Vec<u8>>) -> Result<(), AnswerError>;
}

/// A number on a connection. Dropping it says that there is no answer.
struct Address {
    number: u64,
    sink: Option<Arc<dyn AnswerSink>>,
}

impl Address {
    fn answer(mut self, body: Vec<u8>) -> Result<(), AnswerError> {
        let sink = self.sink.take().ok_or(AnswerError::Gone)?;
        let sent = sink.answer(self.number, Some(body));
        if matches!(sent, Err(AnswerError::Refused(_))) {
            self.sink = Some(sink);
        }
        sent
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let _ = sink.answer(self.number, None);
        }
    }
}

/// The reply addresses of one message, by their numbers.
pub(crate) type Replies = Vec<(u64, Box<dyn Awaited>)>;

/// Numbers are never used twice in a process, so a late answer cannot meet another question.
static NUMBER: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static LEAVING: RefCell<Option<Replies>> = const { RefCell::new(None) };
    static ARRIVING: RefCell<Option<Arc<dyn AnswerSink>>> = const { RefCell::new(None) };
}

/// Writes a message, and hands over the reply addresses in it.
pub(crate) fn encode<M: Serialize>(message: &M) -> Result<(Vec<u8>, Replies), Refusal> {
    let outer = LEAVING.replace(Some(Replies::new()));
    let written = postcard::to_allocvec(message);
    let replies = LEAVING.replace(outer).unwrap_or_default();
    match written {
        Ok(body) => Ok((body, replies)),
        Err(error) => Err(Refusal::Unserialisable(error.to_string())),
    }
}

/// Reads a message; the answers to reply addresses in it go to the sink.
pub(crate) fn decode<M: DeserializeOwned>(
    body: &[u8],
    sink: &Arc<dyn AnswerSink>,
) -> Result<M, postcard::Error> {
    let outer = ARRIVING.replace(Some(Arc::clone(sink)));
    let message = postcard::from_bytes(body);
    ARRIVING.set(outer);
    message
}

fn encode_answer<R: Serialize>(answer: &R) -> Result<Vec<u8>, Refusal> {
    postcard::to_allocvec(answer).map_err(|error| Refusal::Unserialisable(error.to_string()))
}

impl<R: DeserializeOwned + Send + 'static> Serialize for ReplyTo<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(slot) = slot else {
            return Err(S::Error::custom("the reply address has been used"));
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let kept = LEAVING.with_borrow_mut(|leaving| match leaving {
            Some(replies) if replies.len() < REPLIES_PER_MESSAGE_MAX => {
                replies.push((number, Box::new(slot)));
                true
            }
            _ => false,
        });
        if !kept {
            return Err(S::Error::custom(
                "reply addresses travel only in messages to actors, 1,024 at most in one",
            ));
        }
        serializer.serialize_u64(number)
    }
}

impl<'de, R: Serialize + 'static> Deserialize<'de> for ReplyTo<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let number = u64::deserialize(deserializer)?;
        let sink = ARRIVING.with_borrow(Clone::clone);
        if sink.is_none() {
            return Err(D::Error::custom(
                "reply addresses travel only in messages to actors",
            ));
        }
        let address = Address { number, sink };
        Ok(Self::new(Slot::There(address, encode_answer::<R>)))
    }
}
