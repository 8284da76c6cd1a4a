//! Who is a member, and how a process becomes one: slots, incarnations, and who is gone for good.
//!
//! A process is a member once it has a *replica*: a slot and an incarnation that nobody else ever had. A member grants
//! one to each process that asks. Two members that do not see each other must not grant the same: the incarnation that a
//! member grants is its own slot modulo 64, so that could only happen to members whose slots are a multiple of 64 apart.
//! When nobody is a member yet, the process with the smallest number draws slot and incarnation by lot; two parts of a
//! network that both begin from nothing draw the same once in 16 million times, which is noticed when they meet.

use std::collections::BTreeMap;

use pointsman_crdt::Replica;

use super::view::{Member, View};

/// Slots of members; those above are for the writers of sessions.
const SLOTS_MAX: u16 = 4_096;
/// Distance of two incarnations that one member grants for one slot.
const GRANT_STRIDE: u32 = 64;
/// A first member draws one of so many slots, and a number up to this.
const FIRST_SLOTS: u32 = 1_024;
const FIRST_NUMBERS: u32 = 16_383;
/// Replicas that are remembered as gone; the oldest are forgotten first, which costs an interval in some contexts.
const GONE_MAX: usize = 1_024;
const PEERS_MAX: usize = 1_024;
/// A grant that was not taken up after so long is free again, with another incarnation.
const GRANT_MS: u64 = 60_000;

/// How long things take to be believed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A member that is lost without a word counts as absent for so long: writes wait for it.
    pub absent_ms: u64,
    /// After so long it is gone for good.
    pub gone_ms: u64,
}

/// What a process tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Number of the process, drawn at its start.
    pub process: u64,
    /// Its replica, once it has one.
    pub replica: Option<Replica>,
    /// It is about to end.
    pub draining: bool,
    /// Replicas that it knows to be gone for good.
    pub gone: Vec<Replica>,
    /// The largest incarnation that it knows of each slot.
    pub highest: Vec<Replica>,
}

#[derive(Clone, Debug)]
struct Peer {
    replica: Option<Replica>,
    draining: bool,
    /// `None` while it is connected.
    lost_ms: Option<u64>,
}

/// What one process knows of the members. Time comes in.
#[derive(Clone, Debug)]
pub struct Members {
    patience: Patience,
    process: u64,
    me: Option<Replica>,
    draining: bool,
    peers: BTreeMap<u64, Peer>,
    highest: BTreeMap<u16, u32>,
    granted: BTreeMap<u16, (u64, u64)>,
    /// In the order of getting to know.
    gone: Vec<Replica>,
}

/// What a process may do to become a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is one.
    Member(Replica),
    /// Ask this process for a replica.
    Ask(u64),
    /// Somebody else will be first.
    Wait,
    /// Be the first.
    First,
}

/// Two processes have the same replica: one of them has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another process is replica {replica:?} as well; this one ends, start it again")]
pub struct Twice {
    /// Which.
    pub replica: Replica,
}

impl Members {
    /// A process that knows nobody. `process`: drawn by lot at its start.
    #[must_use]
    pub fn new(process: u64, patience: Patience) -> Self {
        Self {
            patience,
            process,
            me: None,
            draining: false,
            peers: BTreeMap::new(),
            highest: BTreeMap::new(),
            granted: BTreeMap::new(),
            gone: Vec::new(),
        }
    }

    /// This process's replica, once it has one.
    #[must_use]
    pub fn me(&self) -> Option<Replica> {
        self.me
    }

    /// What this process tells of itself.
    #[must_use]
    pub fn hello(&self) -> Hello {
        let highest = self.highest.iter();
        Hello {
            process: self.process,
            replica: self.me,
            draining: self.draining,
            gone: self.gone.clone(),
            highest: highest
                .filter_map(|(slot, number)| Replica::new(*slot, *number))
                .collect(),
        }
    }

    /// This process is about to end.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// A connected process tells of itself, for the first time or again.
    ///
    /// # Errors
    /// When it has the replica of this process, and this one is the one to end.
    pub fn heard(&mut self, hello: &Hello) -> Result<(), Twice> {
        if let (Some(mine), Some(theirs)) = (self.me, hello.replica)
            && mine == theirs
            && hello.process < self.process
        {
            return Err(Twice { replica: mine });
        }
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&hello.process) {
            return Ok(());
        }
        for known in hello.highest.iter().chain(&hello.replica) {
            self.know(*known);
        }
        for gone in &hello.gone {
            self.forget(*gone);
        }
        let peer = Peer {
            replica: hello.replica,
            draining: hello.draining,
            lost_ms: None,
        };
        self.peers.insert(hello.process, peer);
        Ok(())
    }

    /// The connection to a process broke.
    pub fn lost(&mut self, process: u64, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&process) {
            peer.lost_ms.get_or_insert(now_ms);
        }
    }

    /// A process has said that it ends now.
    pub fn left(&mut self, process: u64) {
        if let Some(peer) = self.peers.remove(&process)
            && let Some(replica) = peer.replica
        {
            self.forget(replica);
        }
    }

    /// Time passes: whoever is lost for long is gone.
    pub fn tick(&mut self, now_ms: u64) {
        let gone_ms = self.patience.gone_ms;
        let over = |peer: &Peer| {
            peer.lost_ms
                .is_some_and(|lost| now_ms.saturating_sub(lost) >= gone_ms)
        };
        let over: Vec<u64> = self
            .peers
            .iter()
            .filter(|(_, peer)| over(peer))
            .map(|(process, _)| *process)
            .collect();
        for process in over {
            self.left(process);
        }
    }

    /// The members that this process sees; `None` until it is one.
    #[must_use]
    pub fn view(&self, now_ms: u64) -> Option<View> {
        let me = Member {
            replica: self.me?,
            draining: self.draining,
        };
        let others = self.connected().filter_map(|(_, peer)| {
            let replica = peer.replica?;
            let draining = peer.draining;
            Some(Member { replica, draining })
        });
        let absent = self.peers.values().filter(|peer| {
            let lost = peer.lost_ms.map(|lost| now_ms.saturating_sub(lost));
            peer.replica.is_some()
                && !peer.draining
                && lost.is_some_and(|lost| lost < self.patience.absent_ms)
        });
        let lost = self.peers.values();
        let lost = lost.filter(|peer| peer.replica.is_some() && peer.lost_ms.is_some());
        let view = View::new(others.chain([me]), self.gone.iter().copied());
        Some(view.with_absent(absent.count()).with_lost(lost.count()))
    }

    fn connected(&self) -> impl Iterator<Item = (u64, &Peer)> {
        let up = self.peers.iter().filter(|(_, peer)| peer.lost_ms.is_none());
        up.map(|(process, peer)| (*process, peer))
    }

    // === becoming a member ===

    /// What this process may do. `all_tried`: every address that was found has been tried.
    #[must_use]
    pub fn entry(&self, all_tried: bool) -> Entry {
        if let Some(me) = self.me {
            return Entry::Member(me);
        }
        let members = self
            .connected()
            .filter(|(_, peer)| peer.replica.is_some() && !peer.draining);
        // One member serves all who ask at once, so that they do not get in each other's way.
        if let Some((process, _)) = members.min_by_key(|(_, peer)| peer.replica) {
            return Entry::Ask(process);
        }
        if !all_tried || self.connected().any(|(process, _)| process < self.process) {
            return Entry::Wait;
        }
        Entry::First
    }

    /// Becomes the first member, when it still may. `lot`: drawn; `stored`: the replica that this process was before.
    pub fn be_first(&mut self, lot: u32, stored: Option<Replica>) -> Option<Replica> {
        // Somebody may have come between the look and this.
        if self.entry(true) != Entry::First {
            return None;
        }
        let replica = match stored {
            Some(stored) => {
                self.know(stored);
                let known = self.highest.get(&stored.slot()).copied().unwrap_or_default();
                Replica::new(stored.slot(), known.saturating_add(1))?
            }
            None => {
                let slot = u16::try_from(lot % FIRST_SLOTS).ok()?;
                Replica::new(slot, 1 + lot / FIRST_SLOTS % FIRST_NUMBERS)?
            }
        };
        self.become_member(replica);
        Some(replica)
    }

    /// Was granted a replica.
    pub fn become_member(&mut self, replica: Replica) {
        self.know(replica);
        self.me = Some(replica);
    }

    /// Grants a replica to a process; the smallest slot that is free. `None` when this one is no member, or no slot is.
    pub fn grant(&mut self, process: u64, now_ms: u64) -> Option<Replica> {
        let me = self.me?;
        self.granted
            .retain(|_, (_, at)| now_ms.saturating_sub(*at) < GRANT_MS);
        let used = |slot: u16| {
            slot == me.slot()
                || self.granted.get(&slot).is_some_and(|(to, _)| *to != process)
                || self.peers.iter().any(|(number, peer)| {
                    *number != process && peer.replica.is_some_and(|replica| replica.slot() == slot)
                })
        };
        let slot = (0..SLOTS_MAX).find(|slot| !used(*slot))?;
        let known = self.highest.get(&slot).copied().unwrap_or_default();
        // The next number that is this member's to grant.
        let mine = u32::from(me.slot()) % GRANT_STRIDE;
        let above = known.saturating_add(1);
        let incarnation = above + (mine + GRANT_STRIDE - above % GRANT_STRIDE) % GRANT_STRIDE;
        let replica = Replica::new(slot, incarnation)?;
        self.know(replica);
        self.granted.insert(slot, (process, now_ms));
        Some(replica)
    }

    /// The largest incarnation that is known of a slot; 0 when none is.
    #[must_use]
    pub fn highest(&self, slot: u16) -> u32 {
        self.highest.get(&slot).copied().unwrap_or_default()
    }

    /// Takes note that incarnations of a slot were used up to this one.
    pub fn know(&mut self, replica: Replica) {
        let highest = self.highest.entry(replica.slot()).or_default();
        *highest = (*highest).max(replica.incarnation());
    }

    fn forget(&mut self, replica: Replica) {
        self.know(replica);
        let alive =
            self.me == Some(replica) || self.connected().any(|(_, peer)| peer.replica == Some(replica));
        if alive || self.gone.contains(&replica) {
            return;
        }
        if self.gone.len() >= GONE_MAX {
            self.gone.remove(0);
        }
        self.gone.push(replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        absent_ms: 10_000,
        gone_ms: 600_000,
    };

    /// Everybody hears everybody.
    fn meet(all: &mut [Members]) {
        for speaker in 0..all.len() {
            let hello = all[speaker].hello();
            for listener in all.iter_mut().filter(|member| member.process != hello.process) {
                listener.heard(&hello).unwrap();
            }
        }
    }

    fn enter(all: &mut [Members]) {
        for _ in 0..2 * all.len() {
            meet(all);
            for index in 0..all.len() {
                match all[index].entry(true) {
                    Entry::First => {
                        all[index].be_first(77 * FIRST_SLOTS, None).unwrap();
                    }
                    Entry::Ask(process) => {
                        let asks = all[index].process;
                        let granter = all.iter_mut().find(|member| member.process == process).unwrap();
                        let replica = granter.grant(asks, 0).unwrap();
                        all[index].become_member(replica);
                    }
                    Entry::Wait | Entry::Member(_) => {}
                }
            }
        }
    }

    fn replicas(all: &[Members]) -> Vec<Replica> {
        all.iter().filter_map(Members::me).collect()
    }

    #[test]
    fn processes_that_begin_together_get_the_smallest_slots() {
        let mut all: Vec<Members> = [9, 4, 7, 5].map(|number| Members::new(number, PATIENCE)).to_vec();
        assert_eq!(all[0].entry(false), Entry::Wait);
        enter(&mut all);
        let mut slots: Vec<u16> = replicas(&all).iter().map(|replica| replica.slot()).collect();
        slots.sort_unstable();
        assert_eq!(slots, [0, 1, 2, 3]);
        meet(&mut all);
        assert_eq!(all[2].view(0).unwrap().members().len(), 4);
    }

    #[test]
    fn a_slot_is_free_again_once_its_replica_is_gone_and_its_next_number_is_larger() {
        let mut all: Vec<Members> = [1, 2].map(|number| Members::new(number, PATIENCE)).to_vec();
        enter(&mut all);
        let second = all[1].me().unwrap();
        all[0].lost(2, 1_000);
        assert_eq!(all[0].view(2_000).unwrap().absent(), 1);
        assert_eq!(all[0].view(11_000).unwrap().absent(), 0);
        // It may come back: its slot is not free yet.
        let third = all[0].grant(3, 11_000).unwrap();
        assert_eq!(third.slot(), 2);
        all[0].tick(601_000);
        assert_eq!(all[0].view(601_000).unwrap().gone(), [second]);
        let fourth = all[0].grant(4, 601_000).unwrap();
        assert_eq!(fourth.slot(), second.slot());
        assert!(fourth.incarnation() > second.incarnation());
    }

    #[test]
    fn who_says_that_it_ends_is_gone_at_once_and_others_hear_of_it() {
        let mut all: Vec<Members> = [1, 2, 3].map(|number| Members::new(number, PATIENCE)).to_vec();
        enter(&mut all);
        let second = all[1].me().unwrap();
        all[0].left(2);
        let hello = all[0].hello();
        all[2].left(2);
        all[2].heard(&hello).unwrap();
        assert_eq!(all[2].view(0).unwrap().gone(), [second]);
    }

    #[test]
    fn members_that_do_not_see_each_other_grant_different_replicas() {
        let mut all: Vec<Members> = (1..=5).map(|number| Members::new(number, PATIENCE)).collect();
        enter(&mut all);
        let granted: Vec<Replica> = all
            .iter_mut()
            .map(|member| member.grant(99, 0).unwrap())
            .collect();
        assert!(granted.iter().all(|replica| replica.slot() == 5));
        let mut different = granted.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), granted.len());
    }

    #[test]
    fn one_of_two_with_the_same_replica_ends() {
        let mut all: Vec<Members> = [1, 2].map(|number| Members::new(number, PATIENCE)).to_vec();
        for member in &mut all {
            member.be_first(5, None);
        }
        let hellos: Vec<Hello> = all.iter().map(Members::hello).collect();
        assert!(all[0].heard(&hellos[1]).is_ok());
        assert!(all[1].heard(&hellos[0]).is_err());
    }

    #[test]
    fn a_process_with_its_disk_goes_on_after_its_last_number() {
        let mut members = Members::new(1, PATIENCE);
        let before = Replica::new(3, 70).unwrap();
        assert_eq!(members.be_first(5, Some(before)), Replica::new(3, 71));
    }
}
