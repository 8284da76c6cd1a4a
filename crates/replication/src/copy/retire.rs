//! Closes the ranges of replicas that are gone, so that contexts do not grow with every release.
//!
//! What a gone replica made exists in the copies of members only, or in what is stored by members that cannot be
//! reached. So nothing is closed while a member is absent, and only after every member, asked twice, had nothing of the
//! gone replica that is not stored here and by every other holder. A copy lets go only of what all holders have stored,
//! so nothing hides between two copies.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_crdt::{Context, Interval, Replica};

use super::{DocumentCopy, SEQUENCE_MASK};

/// One time asking everybody.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Who has not answered.
    asked: BTreeSet<Replica>,
    /// What each one has, and whether it is stored.
    answers: BTreeMap<Replica, (Context, bool)>,
    /// Replicas that passed the round before, and what they had made then.
    passed: BTreeMap<Replica, Context>,
}

impl DocumentCopy {
    /// At each tick: begins a round, or ends one that all have answered.
    pub(super) fn look_retire(&mut self) {
        if !self.holds() || !self.ready || self.view.absent() > 0 {
            self.round = None;
            return;
        }
        let open: Vec<(Replica, Context)> = self
            .view
            .gone()
            .iter()
            .filter_map(|gone| self.made_by(*gone))
            .collect();
        if open.is_empty() {
            self.round = None;
            return;
        }
        let round = match self.round.take() {
            Some(round) if !round.asked.is_empty() => {
                self.round = Some(round);
                return;
            }
            Some(round) => self.end_round(&round, open),
            None => Round::default(),
        };
        self.begin_round(round);
    }

    fn begin_round(&mut self, mut round: Round) {
        let others: Vec<Replica> = self.others().collect();
        round.asked = others.iter().copied().collect();
        round.answers.clear();
        self.round = Some(round);
        for other in others {
            // One that is on its way already was asked before this round, so its answer would prove nothing.
            self.ask(other);
        }
    }

    /// Closes what passed twice; gives the round that follows.
    fn end_round(&mut self, round: &Round, open: Vec<(Replica, Context)>) -> Round {
        let mut next = Round::default();
        let mut closed = false;
        for (gone, made) in open {
            let Some(range) = self.closable(gone) else {
                continue;
            };
            let nobody_has_more = round
                .answers
                .values()
                .all(|(context, _)| context.intersection(&range).is_subset(&made));
            let me = self.settings.me;
            let holders_have_all = self.holders.iter().filter(|holder| **holder != me).all(|holder| {
                let answer = round.answers.get(holder);
                answer.is_some_and(|(context, stored)| *stored && made.is_subset(context))
            });
            if !(nobody_has_more && holders_have_all && self.stored.has(&made)) {
                continue;
            }
            if round.passed.get(&gone) == Some(&made) {
                self.document.state_mut().context.join(&range);
                closed = true;
            } else {
                next.passed.insert(gone, made);
            }
        }
        if closed {
            self.stored.begin();
            self.look_store();
        }
        next
    }

    /// A member has told what it has.
    pub(super) fn reported(&mut self, member: Replica, context: &Context, stored: bool) {
        if let Some(round) = &mut self.round
            && round.asked.remove(&member)
        {
            round.answers.insert(member, (context.clone(), stored));
        }
    }

    /// The members have changed: who was asked may be gone.
    pub(super) fn forget_round(&mut self) {
        self.round = None;
    }

    /// What a gone replica made and is not closed yet.
    fn made_by(&self, gone: Replica) -> Option<(Replica, Context)> {
        let range = self.closable(gone)?;
        let context = &self.document.state().context;
        let made = context.intersection(&range);
        // Where it made nothing, there is nothing to close but what belongs to one before it.
        let any = !context.intersection(&range_of(gone)?).is_empty();
        (any && made != range).then_some((gone, made))
    }

    /// What is closed for a gone replica: its range, and all numbers up to the next one of its slot that lives or has made
    /// something. Those in between were never given to anybody, or made nothing; open, they would keep the intervals of
    /// generations apart, and from carrying on the counters of one another.
    ///
    /// Who gave one of them to somebody that nobody here has met cannot be reached; so while a member is lost, or one before
    /// lives on, only the range of the gone one is closed.
    fn closable(&self, gone: Replica) -> Option<Context> {
        let own = range_of(gone)?;
        let context = &self.document.state().context;
        let members = self.view.members().iter().map(|member| member.replica);
        let living = members.filter(|member| member.slot() == gone.slot());
        let made = |other: &Replica| {
            let range = range_of(*other);
            range.is_some_and(|range| !context.intersection(&range).is_empty())
        };
        let others = self.view.gone().iter().copied();
        let others = others.filter(|other| other.slot() == gone.slot() && made(other));
        let later = |other: &Replica| other.incarnation() > gone.incarnation();
        let Some(next) = living.clone().chain(others).filter(later).min() else {
            return Some(own);
        };
        if self.view.lost() > 0 || living.clone().any(|living| living < next) {
            return Some(own);
        }
        let (first, end) = (base_of(gone)?, base_of(next)?);
        let whole = Context::from(Interval {
            slot: gone.slot(),
            first,
            last: end,
        });
        // A number in between that made something after all is closed by itself.
        let between = context.intersection(&whole.difference(&own));
        let closed = |interval: &Interval| interval.last & SEQUENCE_MASK == 0;
        let unused = between.intervals().iter().all(closed);
        Some(if unused { whole } else { own })
    }
}

/// The counter before the first dot of a replica.
fn base_of(replica: Replica) -> Option<u64> {
    replica.dot(1)?.counter.checked_sub(1)
}

/// All dots that a replica could ever make, and the gap to the next incarnation, so that neighbours merge.
pub(super) fn range_of(replica: Replica) -> Option<Context> {
    let base = base_of(replica)?;
    Some(Context::from(Interval {
        slot: replica.slot(),
        first: base,
        last: base.checked_add(SEQUENCE_MASK + 1)?,
    }))
}
