//! Who takes part, as one replica sees it.

use std::sync::Arc;

use pointsman_crdt::Replica;

/// A replica that this one is connected to, or itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Slot and incarnation.
    pub replica: Replica,
    /// It is about to end, and gives what it holds to others.
    pub draining: bool,
}

/// The members that this replica sees, itself included. Two replicas may see different ones for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Ascending by replica.
    members: Arc<[Member]>,
    /// Replicas that are gone for good: their process has ended or its slot was leased again.
    gone: Arc<[Replica]>,
    /// Members that should be there and cannot be reached, for a while now. A write is not acknowledged by one replica
    /// alone as long as there are any.
    absent: usize,
    /// Members that cannot be reached and are not known to be gone.
    lost: usize,
}

impl View {
    /// Members in any order, and those that are gone for good.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>, gone: impl IntoIterator<Item = Replica>) -> Self {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup_by_key(|member| member.replica);
        let mut gone: Vec<Replica> = gone.into_iter().collect();
        gone.sort_unstable();
        gone.dedup();
        Self {
            members: members.into(),
            gone: gone.into(),
            absent: 0,
            lost: 0,
        }
    }

    /// With so many members that should be there and cannot be reached.
    #[must_use]
    pub fn with_absent(mut self, absent: usize) -> Self {
        self.absent = absent;
        self
    }

    /// With so many members that cannot be reached and are not known to be gone.
    #[must_use]
    pub fn with_lost(mut self, lost: usize) -> Self {
        self.lost = lost;
        self
    }

    /// How many members cannot be reached and are not known to be gone.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// How many members should be there and cannot be reached.
    #[must_use]
    pub fn absent(&self) -> usize {
        self.absent
    }

    /// Who is there, ascending.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Who never comes back, ascending.
    #[must_use]
    pub fn gone(&self) -> &[Replica] {
        &self.gone
    }

    /// Whether the replica is a member.
    #[must_use]
    pub fn has(&self, replica: Replica) -> bool {
        self.members.iter().any(|member| member.replica == replica)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn replica(slot: u16) -> Replica {
        Replica::new(slot, 1).unwrap()
    }

    pub fn view(slots: &[u16]) -> View {
        let member = |slot: &u16| Member {
            replica: replica(*slot),
            draining: false,
        };
        View::new(slots.iter().map(member), [])
    }

    impl View {
        pub(crate) fn with_draining(&self, slots: &[u16]) -> Self {
            let members = self.members.iter().map(|member| Member {
                draining: slots.contains(&member.replica.slot()),
                ..*member
            });
            Self::new(members, self.gone.iter().copied())
        }
    }
}
