//! A call, from its name to its outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use serde_json::{Value, json};

use super::{Arguments, Caller, Fault, Found};
use crate::server::hub::Hub;
use crate::server::session::Connection;

/// Runs a call to its end, fails it on purpose, or gives it up when it takes too long.
pub(in crate::server) async fn invoke(
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    target: &str,
    arguments: Result<Value, Fault>,
) -> Result<Value, Fault> {
    let number = hub.counts.requests.fetch_add(1, Ordering::Relaxed);
    let outcome = if fails(number, hub.options.fail_rate_percent) {
        Err(Fault::new(500, "failed on purpose (--fail-rate)"))
    } else {
        let within = hub.options.limits.call_within;
        let caller = Caller {
            hub: Arc::clone(&hub),
            connection,
        };
        // A unit that panics fails its call, not the session.
        let call = AssertUnwindSafe(run(&caller, target, arguments)).catch_unwind();
        match tokio::time::timeout(within, call).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                tracing::error!(target, "a method panicked");
                Err(Fault::new(500, "the method panicked"))
            }
            Err(_) => {
                hub.service.counts.calls_late.fetch_add(1, Ordering::Relaxed);
                Err(Fault::new(408, "the call took too long; it may have acted"))
            }
        }
    };
    if let Err(fault) = &outcome
        && fault.status >= 500
    {
        hub.counts.errors.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target, %fault, "a call failed");
    }
    outcome
}

async fn run(caller: &Caller, target: &str, arguments: Result<Value, Fault>) -> Result<Value, Fault> {
    let Some(Found { unit, method }) = caller.hub.service.registry.find(target) else {
        return Err(Fault::new(404, format!("no method {target}")));
    };
    let anonymous = caller.hub.options.authentication.required && caller.identity().is_none();
    if anonymous && !method.public {
        return Err(Fault::new(403, "sign in first: auth/signin {token}"));
    }
    let arguments = Arguments::read(&method, arguments?)?;
    unit.call(caller, method.name, arguments).await
}

/// What a client reads of an outcome: status, 0 for success, and result or `{error}`.
pub(in crate::server) fn public(outcome: Result<Value, Fault>) -> (u16, Value) {
    match outcome {
        Ok(value) => (0, value),
        Err(fault) => (fault.status, json!({"error": fault.public_message()})),
    }
}

/// Evenly spread, so that a demonstration does not hang on luck.
fn fails(number: u64, percent: u8) -> bool {
    let percent = u64::from(percent.min(100));
    number.wrapping_add(1).wrapping_mul(percent) / 100 != number.wrapping_mul(percent) / 100
}
