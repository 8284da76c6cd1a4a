//! Which members hold a document: rendezvous hashing over slots, so that a member that comes or goes moves only the
//! documents that it holds.

use super::view::{Member, View};

/// How many members hold a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Every member: for few and small documents that everybody reads.
    Everywhere,
    /// So many, or all when there are fewer.
    Placed(usize),
}

/// The members that hold the document, the first choice first. Members that drain hold nothing, unless all drain.
#[must_use]
pub fn holders(name: &str, copies: Copies, view: &View) -> Vec<Member> {
    let staying = || view.members().iter().filter(|member| !member.draining);
    let mut all: Vec<Member> = if staying().next().is_some() {
        staying().copied().collect()
    } else {
        view.members().to_vec()
    };
    let Copies::Placed(copies) = copies else {
        return all;
    };
    let name = hash_of(name.as_bytes());
    all.sort_by_key(|member| {
        (
            std::cmp::Reverse(score(name, member.replica.slot())),
            member.replica,
        )
    });
    all.truncate(copies.max(1));
    all
}

/// FNV-1a. Part of the contract between replicas of different versions: never change it.
fn hash_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Mixes a name and a slot (the finaliser of splitmix64). Part of the contract like `hash_of`.
fn score(name: u64, slot: u16) -> u64 {
    let mut mixed = name
        ^ u64::from(slot)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::view::tests::view;

    fn slots(name: &str, copies: Copies, view: &View) -> Vec<u16> {
        holders(name, copies, view)
            .iter()
            .map(|member| member.replica.slot())
            .collect()
    }

    #[test]
    fn a_member_that_comes_takes_its_share_and_moves_nothing_else() {
        let (three, four) = (view(&[0, 1, 2]), view(&[0, 1, 2, 3]));
        let mut held: BTreeMap<u16, usize> = BTreeMap::new();
        let mut moved = 0;
        for number in 0..4_000 {
            let name = format!("room/{number}");
            let (before, after) = (
                slots(&name, Copies::Placed(2), &three),
                slots(&name, Copies::Placed(2), &four),
            );
            assert_eq!(after.len(), 2);
            for slot in &after {
                *held.entry(*slot).or_default() += 1;
                assert!(*slot == 3 || before.contains(slot), "{before:?} -> {after:?}");
            }
            moved += usize::from(before != after);
        }
        // Two of four: each holds half. The new one is in half of all pairs.
        for count in held.values().chain([&moved]) {
            assert!((1_850..2_150).contains(count), "{held:?}, {moved} moved");
        }
    }

    #[test]
    fn who_drains_holds_nothing_unless_all_drain() {
        let view = view(&[0, 1, 2]).with_draining(&[1]);
        assert_eq!(slots("a", Copies::Everywhere, &view), [0, 2]);
        for number in 0..50 {
            assert!(!slots(&number.to_string(), Copies::Placed(2), &view).contains(&1));
        }
        assert_eq!(
            slots("a", Copies::Everywhere, &view.with_draining(&[0, 1, 2])),
            [0, 1, 2]
        );
    }

    #[test]
    fn the_choice_is_pinned_because_versions_must_agree() {
        let view = view(&[0, 1, 2, 3, 4]);
        let chosen: Vec<Vec<u16>> = ["a", "room/1", "toggles"]
            .map(|name| slots(name, Copies::Placed(3), &view))
            .to_vec();
        assert_eq!(chosen, PINNED);
    }

    const PINNED: [[u16; 3]; 3] = [[3, 2, 4], [4, 1, 0], [2, 3, 0]];
}
