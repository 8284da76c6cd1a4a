//! Causal stability from known membership.

use std::collections::{BTreeMap, BTreeSet};

use crate::context::Context;
use crate::dot::Replica;

/// Finds stable contexts: every operation that a member has not yet received was made by a replica that had seen all of the
/// stable context. Two rounds: when all members reported, the intersection of the reports is the candidate; it is stable
/// once every member reports all that the union of those reports had.
#[derive(Clone, Debug, Default)]
pub struct Stability {
    members: BTreeSet<Replica>,
    reports: BTreeMap<Replica, Context>,
    candidate: Option<(Context, Context)>,
    stable: Context,
}

impl Stability {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets who may write or holds state, drained replicas too until they are retired. A new member holds up stability
    /// until it reports; it has to start from a member's state.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = Replica>) {
        self.members = members.into_iter().collect();
        self.reports.retain(|replica, _| self.members.contains(replica));
        self.candidate = None;
        self.advance();
    }

    /// A member reports the context of what it holds durably. Reports of others are ignored.
    pub fn report(&mut self, member: Replica, context: Context) {
        if self.members.contains(&member) {
            self.reports.entry(member).or_default().join(&context);
            self.advance();
        }
    }

    /// What is stable so far.
    #[must_use]
    pub fn stable(&self) -> &Context {
        &self.stable
    }

    /// Whether every member holds all that `context` has: then the replica that made it may be retired.
    #[must_use]
    pub fn all_have(&self, context: &Context) -> bool {
        !self.members.is_empty()
            && self.members.iter().all(|member| {
                self.reports
                    .get(member)
                    .is_some_and(|report| context.is_subset(report))
            })
    }

    fn advance(&mut self) {
        if self.members.is_empty() || self.reports.len() < self.members.len() {
            return;
        }
        if let Some((common, all)) = &self.candidate {
            if !self.all_have(all) {
                return;
            }
            self.stable.join(common);
        }
        let mut reports = self.reports.values();
        let mut common = reports.next().cloned().unwrap_or_default();
        let mut all = common.clone();
        for report in reports {
            common = common.intersection(report);
            all.join(report);
        }
        self.candidate = Some((common, all));
    }
}
