//! Connections that keep order, delay, break and lose what is on the way.

use std::collections::{BTreeMap, VecDeque};

use pointsman_crdt::Replica;
use pointsman_replication::Message;

use super::random::Random;

/// What one end sends.
#[derive(Clone, Debug)]
pub enum Packet {
    /// The other end has made room for us; from now on there are messages.
    Hello { draining: bool },
    /// About a document.
    Document { name: &'static str, message: Message },
    /// The sender is about to end.
    Draining,
}

#[derive(Default)]
struct Way {
    queue: VecDeque<(u64, Packet)>,
}

/// Both ways of every connection that is up.
#[derive(Default)]
pub struct Network {
    ways: BTreeMap<(Replica, Replica), Way>,
    /// Pairs that cannot connect now.
    pub cuts: Vec<(Replica, Replica)>,
}

impl Network {
    pub fn connected(&self, a: Replica, b: Replica) -> bool {
        self.ways.contains_key(&(a, b))
    }

    pub fn cut(&self, a: Replica, b: Replica) -> bool {
        self.cuts.contains(&(a, b)) || self.cuts.contains(&(b, a))
    }

    pub fn connect(&mut self, a: Replica, b: Replica) {
        self.ways.insert((a, b), Way::default());
        self.ways.insert((b, a), Way::default());
    }

    /// What is on the way is lost.
    pub fn disconnect(&mut self, a: Replica, b: Replica) {
        self.ways.remove(&(a, b));
        self.ways.remove(&(b, a));
    }

    pub fn send(&mut self, from: Replica, to: Replica, now: u64, random: &mut Random, packet: Packet) {
        if let Some(way) = self.ways.get_mut(&(from, to)) {
            let earliest = way.queue.back().map_or(now, |(at, _)| *at);
            let slow = if random.percent(5) { 300 } else { 10 };
            way.queue
                .push_back((earliest.max(now + 1 + random.below(slow)), packet));
        }
    }

    /// The next packet that has arrived by now.
    pub fn arrive(&mut self, now: u64) -> Option<(Replica, Replica, Packet)> {
        let (ends, way) = self
            .ways
            .iter_mut()
            .filter(|(_, way)| way.queue.front().is_some_and(|(at, _)| *at <= now))
            .min_by_key(|(_, way)| way.queue.front().map(|(at, _)| *at))?;
        let (_, packet) = way.queue.pop_front()?;
        Some((ends.0, ends.1, packet))
    }

    pub fn is_idle(&self) -> bool {
        self.ways.values().all(|way| way.queue.is_empty())
    }
}
