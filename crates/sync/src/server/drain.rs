//! Tells sessions to move, one at a time, until no more are left than the last order keeps.

use std::sync::Arc;
use std::time::Duration;

use super::hub::Hub;

pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        let changed = hub.changed.notified();
        tokio::pin!(changed);
        // Registered before the look, so that a change between look and wait is not missed.
        changed.as_mut().enable();
        if hub.tell_one() {
            tokio::time::sleep(Duration::from_millis(hub.order().interval_ms)).await;
        } else {
            changed.await;
        }
    }
}
