//! How the documents of a replica stand, for metrics.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use pointsman_replication::DocumentCopy;

use super::Documents;
use crate::server::hub::lock;

/// What an owner says of its copy outside.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Nothing needs the copy.
    idle: AtomicBool,
    /// This replica is one of the holders.
    holds: AtomicBool,
    /// All of it, or of what was written here, was stored by every holder at the last tick, and the members are the same
    /// since.
    settled: AtomicBool,
}

impl Standing {
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// The cheap part, after each message.
    pub(super) fn note(&self, copy: &DocumentCopy) {
        self.idle.store(copy.is_closed(), Ordering::Relaxed);
        self.holds
            .store(copy.holds() && !copy.is_closed(), Ordering::Relaxed);
    }

    /// At each tick; between two of them nobody asks.
    pub(super) fn note_settled(&self, copy: &DocumentCopy) {
        let safe = copy.is_settled() || (copy.follows() && copy.waiting() == 0);
        let settled = copy.is_ready() && safe;
        self.settled.store(settled, Ordering::Relaxed);
    }

    /// The members have changed.
    pub(super) fn unsettle(&self) {
        self.settled.store(false, Ordering::Relaxed);
    }
}

impl Documents {
    pub(in crate::server) fn metrics(&self, text: &mut String, revision: &str) {
        let (mut held, mut others, mut unsettled) = (0_u64, 0_u64, 0_u64);
        for open in lock(&self.open).values() {
            let standing = &open.standing;
            if standing.holds.load(Ordering::Relaxed) {
                held += 1;
            } else {
                others += 1;
            }
            unsettled += u64::from(!standing.settled.load(Ordering::Relaxed));
        }
        let help = "Documents open here: those that this replica is to keep, and others.";
        let _ = writeln!(
            text,
            "# HELP pointsman_sync_documents {help}\n# TYPE pointsman_sync_documents gauge"
        );
        for (holds, count) in [(true, held), (false, others)] {
            let _ = writeln!(
                text,
                "pointsman_sync_documents{{revision=\"{revision}\",held=\"{holds}\"}} {count}"
            );
        }
        let help = "Documents open here that a holder may not have all of.";
        let _ = writeln!(
            text,
            "# HELP pointsman_sync_documents_unsettled {help}\n# TYPE pointsman_sync_documents_unsettled gauge"
        );
        let _ = writeln!(
            text,
            "pointsman_sync_documents_unsettled{{revision=\"{revision}\"}} {unsettled}"
        );
    }
}
