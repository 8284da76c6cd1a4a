//! Leader election on a Lease.
//!
//! The lease is advice, so that two replicas do not do the same work. The fence is the compare-and-swap of `.status`.
//! Whether a lease is over is judged by the local clock since its record was last seen to change, never by the time
//! that another machine wrote.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{CallError, call};

/// A leader that has not renewed for this long may be replaced.
pub const LEASE: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops; shorter than [`LEASE`], so there are never two.
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Name of the Lease.
pub const NAME: &str = "pointsman-leader";

/// Whether this replica leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: Arc<watch::Sender<Option<Instant>>>,
}

impl Leadership {
    /// Nobody leads yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            until: Arc::new(watch::channel(None).0),
        }
    }

    /// True while this replica may act.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Tells of every change of who leads.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }

    fn set(&self, until: Option<Instant>) {
        self.until.send_replace(until);
    }
}

impl Default for Leadership {
    fn default() -> Self {
        Self::new()
    }
}

/// What was last seen of the lease, and when it was first seen so.
#[derive(Clone, Debug)]
struct Seen {
    lease: Lease,
    since: Instant,
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Take,
    Renew,
    Wait,
}

fn evaluate(seen: Option<&Seen>, me: &str, now: Instant) -> Step {
    let Some(seen) = seen else { return Step::Create };
    let spec = seen.lease.spec.clone().unwrap_or_default();
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == me => Step::Renew,
        None | Some("") => Step::Take,
        Some(_) => {
            let seconds = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            let length = seconds.map_or(LEASE, Duration::from_secs);
            if now.duration_since(seen.since) > length {
                Step::Take
            } else {
                Step::Wait
            }
        }
    }
}

/// Takes and keeps the lease until `stop`, then gives it back so that the next replica need not wait.
pub async fn run(
    client: Client,
    namespace: String,
    me: String,
    leadership: Leadership,
    stop: impl Future<Output = ()>,
) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let mut seen: Option<Seen> = None;
    tokio::pin!(stop);
    loop {
        let begin = Instant::now();
        if let Err(error) = look(&api, &me, &leadership, &mut seen).await {
            tracing::warn!(%error, "the lease could not be read or written");
        }
        if !leadership.leads() && leadership.until.borrow().is_some() {
            tracing::warn!("no longer leading: the lease could not be renewed in time");
            leadership.set(None);
        }
        tokio::select! {
            () = tokio::time::sleep_until(begin + LOOK_EVERY) => {}
            () = &mut stop => break,
        }
    }
    let led = leadership.leads();
    leadership.set(None);
    if led && let Some(seen) = seen {
        let vacated = write(&api, Some(&seen.lease), "", begin_time());
        if let Err(error) = vacated.await {
            tracing::warn!(%error, "the lease could not be given back; it ends by itself");
        }
    }
}

async fn look(
    api: &Api<Lease>,
    me: &str,
    leadership: &Leadership,
    seen: &mut Option<Seen>,
) -> Result<(), CallError> {
    let found = call(api.get_opt(NAME)).await?;
    let now = Instant::now();
    *seen = found.map(|lease| match seen.take() {
        Some(known) if known.lease.metadata.resource_version == lease.metadata.resource_version => known,
        Some(_) | None => Seen { lease, since: now },
    });
    let step = evaluate(seen.as_ref(), me, now);
    if step == Step::Wait {
        leadership.set(None);
        return Ok(());
    }
    // From before the write: the lease runs from then at the earliest.
    let begin = Instant::now();
    match write(api, seen.as_ref().map(|seen| &seen.lease), me, begin_time()).await {
        Ok(lease) => {
            if step != Step::Renew || !leadership.leads() {
                tracing::info!(me, "leading");
            }
            *seen = Some(Seen { lease, since: begin });
            leadership.set(Some(begin + RENEW_WITHIN));
            Ok(())
        }
        // Somebody was faster.
        Err(error) if error.status() == Some(409) => {
            leadership.set(None);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn begin_time() -> MicroTime {
    MicroTime(k8s_openapi::jiff::Timestamp::now())
}

/// Writes the lease as a compare-and-swap: the resource version of what was seen goes with it.
async fn write(
    api: &Api<Lease>,
    known: Option<&Lease>,
    holder: &str,
    now: MicroTime,
) -> Result<Lease, CallError> {
    let before = known.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let same = before.holder_identity.as_deref() == Some(holder);
    let spec = LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
        acquire_time: if same {
            before.acquire_time
        } else {
            Some(now.clone())
        },
        renew_time: Some(now),
        lease_transitions: Some(
            before
                .lease_transitions
                .unwrap_or(0)
                .saturating_add(i32::from(!same)),
        ),
        ..LeaseSpec::default()
    };
    let mut lease = known.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    });
    lease.spec = Some(spec);
    lease.metadata.managed_fields = None;
    match known {
        Some(_) => call(api.replace(NAME, &PostParams::default(), &lease)).await,
        None => call(api.create(&PostParams::default(), &lease)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: Option<&str>, since: Instant) -> Seen {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        Seen {
            lease: Lease {
                spec: Some(spec),
                ..Lease::default()
            },
            since,
        }
    }

    #[test]
    fn only_a_lease_that_stood_still_for_its_length_is_taken() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(evaluate(None, "me", begin), Step::Create);
        assert_eq!(
            evaluate(Some(&seen(Some("other"), begin)), "me", after(15)),
            Step::Wait
        );
        assert_eq!(
            evaluate(Some(&seen(Some("other"), begin)), "me", after(16)),
            Step::Take
        );
        assert_eq!(
            evaluate(Some(&seen(Some("me"), begin)), "me", after(99)),
            Step::Renew
        );
        assert_eq!(evaluate(Some(&seen(Some(""), begin)), "me", begin), Step::Take);
        assert_eq!(evaluate(Some(&seen(None, begin)), "me", begin), Step::Take);
    }

    #[test]
    fn a_leader_stops_before_another_may_begin() {
        assert!(RENEW_WITHIN < LEASE);
    }
}
