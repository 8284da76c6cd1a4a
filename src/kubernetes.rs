//! What every controller needs of Kubernetes: a counted client, bounded calls, the lease, guards and backoff.

pub mod backoff;
pub mod client;
pub mod guard;
pub mod lease;
