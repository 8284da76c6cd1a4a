//! The loop of one actor, the same in every place.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::actor::{Actor, Factory, Failure, MessageOf};
use crate::context::Context;
use crate::handle::{Closing, Ending, Handle, Order, State, far};
use crate::mailbox::{ActorRef, Gate, Queue};
use crate::settings::Settings;
use crate::supervision::Restarts;

/// Told of each message that leaves the mailbox.
pub(crate) type OnTaken = Box<dyn Fn() + Send>;

/// What a place needs to run an actor.
pub(crate) struct Seat<M> {
    gate: Arc<Gate>,
    /// Keeps the channel of orders open.
    _handle: Handle,
    order: Order,
    messages: mpsc::UnboundedReceiver<M>,
    context: Context<M>,
    orders: Orders,
    settings: Settings,
    on_taken: Option<OnTaken>,
    closing: Closing,
}

/// A mailbox, and the seat of the actor behind it.
pub(crate) fn open<M: Send + 'static>(
    settings: Settings,
    on_taken: Option<OnTaken>,
) -> (ActorRef<M>, Handle, Seat<M>) {
    let gate = Gate::new(&settings.name, settings.mailbox);
    let (sender, messages) = mpsc::unbounded_channel();
    let actor = ActorRef::new(Arc::clone(&gate), Queue::Here(sender));
    let (handle, state) = Handle::new(Arc::clone(&gate));
    let seat = Seat {
        context: Context::new(Arc::clone(&gate.name), actor.downgrade(), &settings),
        messages,
        orders: Orders {
            gate: Arc::clone(&gate),
            orders: handle.orders(),
        },
        settings,
        on_taken,
        closing: Closing::new(Arc::clone(&gate), state),
        gate,
        order: Order::Run,
        _handle: handle.clone(),
    };
    (actor, handle, seat)
}

/// Runs the actor to its end.
pub(crate) async fn run<F: Factory>(factory: F, mut seat: Seat<MessageOf<F>>) {
    let aborted = abort(seat.orders.clone());
    let ending = tokio::select! {
        biased;
        ending = seat.live(&factory) => ending,
        () = aborted => Ending::Aborted,
    };
    // What waits is dropped before the ending is seen, so that nobody who waited for it finds an ask still open.
    let Seat {
        messages,
        context,
        mut closing,
        ..
    } = seat;
    closing.gate.room.close();
    drop((messages, context));
    closing.ending = ending;
}

/// Ends at the deadline of the order that stands.
async fn abort(mut orders: Orders) {
    loop {
        match orders.read().deadline() {
            None => orders.changed().await,
            Some(deadline) => tokio::select! {
                () = sleep_until(deadline) => return,
                () = orders.changed() => {}
            },
        }
    }
}

/// Orders as the task of the actor reads them. It goes idle and wakes with every message, and a place in a list of waiters
/// each time would cost more than the message.
#[derive(Clone)]
struct Orders {
    gate: Arc<Gate>,
    orders: watch::Receiver<Order>,
}

impl Orders {
    fn is_changed(&self) -> bool {
        // The seat keeps the other end, so it is not closed.
        self.orders.has_changed().unwrap_or(false)
    }

    /// Until there is one that has not been read. To be awaited in the task of the actor only: one waker is kept.
    async fn changed(&self) {
        poll_fn(|context| {
            self.gate.ordered.register(context.waker());
            if self.is_changed() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn read(&mut self) -> Order {
        *self.orders.borrow_and_update()
    }
}

impl<M: Send + 'static> Seat<M> {
    /// One life after the other.
    async fn live<F: Factory>(&mut self, factory: &F) -> Ending
    where
        F::Actor: Actor<Message = M>,
    {
        let mut restarts = Restarts::new(&self.settings.supervision);
        loop {
            let failure = match self.life(factory).await {
                Ok(ending) => return ending,
                Err(failure) => failure,
            };
            self.context.end_life().await;
            let Some(wait) = restarts.next(Instant::now()) else {
                tracing::error!(actor = %self.gate.name, %failure, "an actor failed and does not start again");
                return Ending::Failed(failure.reason().to_owned());
            };
            tracing::warn!(actor = %self.gate.name, %failure, ?wait, "an actor failed and starts again");
            self.closing.set(State::Restarting);
            let until = Instant::now().checked_add(wait).unwrap_or_else(far);
            if self.waited_in_vain(until).await {
                return Ending::Stopped;
            }
        }
    }

    /// Whether it was ordered to stop now before that time.
    async fn waited_in_vain(&mut self, until: Instant) -> bool {
        loop {
            self.order = self.orders.read();
            if matches!(self.order, Order::Now(_)) {
                return true;
            }
            tokio::select! {
                biased;
                () = sleep_until(until) => return false,
                () = self.orders.changed() => {}
            }
        }
    }

    /// From a start to a failure, or to the end.
    async fn life<F: Factory>(&mut self, factory: &F) -> Result<Ending, Failure>
    where
        F::Actor: Actor<Message = M>,
    {
        let made = catch_unwind(AssertUnwindSafe(|| factory.make()));
        let mut actor = made.map_err(|panic| panicked(&*panic))?;
        guarded(actor.started(&mut self.context)).await?;
        self.closing.set(State::Running);
        let ending = loop {
            match self.next().await {
                Ok(message) => guarded(actor.handle(message, &mut self.context)).await?,
                Err(ending) => break ending,
            }
        };
        self.gate.room.close();
        self.context.end_life().await;
        let stopped = guarded(async {
            actor.stopped().await;
            Ok(())
        });
        if let Err(failure) = stopped.await {
            return Ok(Ending::Failed(failure.reason().to_owned()));
        }
        Ok(ending)
    }

    /// The next message, or how it ends without one. Due timers go first: they are bounded, and a full mailbox must not
    /// hold them up.
    async fn next(&mut self) -> Result<M, Ending> {
        loop {
            if self.context.stopping {
                return Err(Ending::Stopped);
            }
            if self.orders.is_changed() {
                self.order = self.orders.read();
            }
            match self.order {
                Order::Run => {}
                Order::Drain(_) => {
                    self.gate.room.close();
                    self.messages.close();
                    self.closing.set(State::Draining);
                }
                Order::Now(_) => return Err(Ending::Stopped),
            }
            tokio::select! {
                biased;
                message = self.context.timers.next(), if !self.context.timers.is_empty() => return Ok(message),
                message = self.messages.recv() => {
                    let Some(message) = message else {
                        return Err(if self.order == Order::Run { Ending::Unreferenced } else { Ending::Stopped });
                    };
                    self.gate.room.add_permits(1);
                    if let Some(on_taken) = &self.on_taken {
                        on_taken();
                    }
                    return Ok(message);
                }
                () = self.orders.changed() => {}
            }
        }
    }
}

/// A panic is a failure too. Unwind safety: after it the actor is dropped, never used.
async fn guarded(call: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(panicked(&*panic)),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::new(format!("panicked: {}", text.unwrap_or("without a text")))
}
