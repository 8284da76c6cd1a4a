//! `Rollout`: a workload that changes its version under live sessions.

mod spec;
mod status;

pub use spec::*;
pub use status::*;
