//! Tells sessions to move, one at a time, until no more are left than the last order keeps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hub::Hub;

pub(super) async fn run(hub: Arc<Hub>) {
    let mut last: Option<Instant> = None;
    loop {
        let changed = hub.changed.notified();
        tokio::pin!(changed);
        // Registered before the look, so that a change between look and wait is not missed.
        changed.as_mut().enable();
        let order = hub.order();
        if !hub.keeps_too_many(&order) {
            changed.await;
            continue;
        }
        // Counted from the last one, so that an order that is repeated does not hasten or hold up the pace; and looked
        // at again when the order changes, so that a slow one does not hold up the next.
        let due = last.map(|last| last + Duration::from_millis(order.interval_ms));
        if let Some(due) = due.filter(|due| *due > Instant::now()) {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = changed => {}
            }
            continue;
        }
        hub.tell_one(&order);
        last = Some(Instant::now());
        // With no interval the others get their turn all the same.
        tokio::task::yield_now().await;
    }
}
