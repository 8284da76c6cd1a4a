//! The rollout state machine: what the world should look like while a workload changes its version.
//!
//! [`advance()`] moves the persisted [`State`] by at most one edge; [`desired()`] turns the persisted state into the
//! whole world the shell must apply. Effects derive from the *persisted* state only, so a crash between the two is
//! harmless.

mod advance;
mod canary;
mod clock;
mod desired;
mod model;
mod rest;
mod retired;
mod shed;
mod sizes;
mod start;
mod takeover;
mod text;
mod waits;

pub use advance::advance;
pub use desired::desired;
pub use model::*;
pub use shed::{PodDrain, PodSessions, shed};
pub use sizes::weight;
pub use waits::movable;
