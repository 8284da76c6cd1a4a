//! Time, faults and users.

use std::collections::BTreeMap;

use pointsman_crdt::{MapOperation, Operation, Replica, SetOperation, Value};
use pointsman_replication::{Copies, Effect};

use super::check;
use super::network::{Network, Packet};
use super::node::{Disk, Node, Storing};
use super::random::Random;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const TICK_MS: u64 = 2_000;

/// What a run goes through.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub seeds: u64,
    pub nodes: usize,
    pub steps: u64,
    pub faults: bool,
    /// Clocks are wrong by up to so much.
    pub skew_ms: u64,
    /// Replicas that are replaced.
    pub releases: u64,
    pub everywhere: bool,
    /// The replicas of slots 0 and 2 never see each other.
    pub apart: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "",
            seeds: 10,
            nodes: 4,
            steps: 3_000,
            faults: true,
            skew_ms: 100,
            releases: 0,
            everywhere: false,
            apart: false,
        }
    }
}

pub struct World<'a> {
    plan: &'a Plan,
    told: bool,
    random: Random,
    now: u64,
    network: Network,
    nodes: BTreeMap<usize, Node>,
    /// Disks of nodes that are down.
    disks: BTreeMap<usize, Disk>,
    incarnation: u32,
    next_ticket: u64,
    asked: BTreeMap<u64, (&'static str, Value)>,
    acknowledged: BTreeMap<&'static str, Vec<Value>>,
    /// A disk was lost and not everything has two copies again, as far as is known.
    fragile: bool,
    next_tick: u64,
}

impl<'a> World<'a> {
    /// Runs a seed to its end; gives how many writes were acknowledged.
    pub fn run(plan: &'a Plan, seed: u64, told: bool) -> u64 {
        let mut world = Self {
            plan,
            told,
            random: Random::new(seed),
            now: 1_000_000,
            network: Network::default(),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            incarnation: 0,
            next_ticket: 1,
            asked: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            fragile: false,
            next_tick: 0,
        };
        for index in 0..plan.nodes {
            world.start(index);
        }
        let mut releases = plan.releases;
        for step in 0..plan.steps {
            world.step();
            if releases > 0 && step % (plan.steps / (plan.releases + 1)) == 1 {
                releases -= 1;
                world.replace_one();
            }
        }
        world.settle();
        if plan.apart {
            check::alike(&world.nodes, &NAMES, &world.acknowledged);
        } else {
            check::settled(&world.nodes, &NAMES, &world.acknowledged);
        }
        world
            .acknowledged
            .values()
            .map(|writes| writes.len() as u64)
            .sum()
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.told {
            println!("{:>8} {}", self.now, what());
        }
    }

    // === one step ===

    fn step(&mut self) {
        self.now += self.random.below(8);
        self.deliver();
        match self.random.below(100) {
            0..40 => self.write(),
            40..44 => self.use_or_leave(),
            44..46 if self.plan.faults => self.cut(),
            46..50 if self.plan.faults => self.heal(),
            50..51 if self.plan.faults => self.crash(),
            51..54 => self.restart(),
            54..70 => self.connect(),
            _ => {}
        }
    }

    fn deliver(&mut self) {
        loop {
            let mut idle = true;
            for index in self.up() {
                let now = self.now;
                while self.nodes.get_mut(&index).unwrap().store(now) {
                    idle = false;
                }
            }
            self.effects();
            if let Some((from, to, packet)) = self.network.arrive(self.now) {
                self.say(|| format!("{from:?} -> {to:?} {packet:?}"));
                self.arrived(from, to, packet);
                idle = false;
            }
            if self.now >= self.next_tick {
                self.next_tick = self.now + TICK_MS;
                for node in self.nodes.values_mut() {
                    for (_, copy) in node.copies.values_mut() {
                        copy.tick();
                    }
                }
                idle = false;
            }
            self.effects();
            if idle {
                return;
            }
        }
    }

    fn arrived(&mut self, from: Replica, to: Replica, packet: Packet) {
        let now = self.now;
        let Some(node) = self.nodes.values_mut().find(|node| node.replica == to) else {
            return;
        };
        match packet {
            Packet::Hello { draining } => {
                node.sees.insert(from, draining);
                self.look_absent();
            }
            Packet::Draining => {
                node.sees.insert(from, true);
                node.view_changed();
            }
            Packet::Document { name, message } => {
                let now = node.now(now);
                if message.opens() || node.copies.contains_key(name) {
                    node.copy(name).receive(from, message, now);
                }
            }
        }
    }

    fn effects(&mut self) {
        for index in self.up() {
            let node = self.nodes.get_mut(&index).unwrap();
            let (me, mut closed) = (node.replica, Vec::new());
            for (name, (opened, copy)) in &mut node.copies {
                for effect in copy.take_effects() {
                    match effect {
                        Effect::Send { to, message } => {
                            let packet = Packet::Document { name, message };
                            self.network.send(me, to, self.now, &mut self.random, packet);
                        }
                        Effect::Append { .. } | Effect::Snapshot { .. } | Effect::Erase => {
                            if self.told {
                                println!("{:>8} store {name} at {me:?}: {effect:?}", self.now);
                            }
                            // The disk does one document's work in order.
                            let last = node.storing.iter().filter(|storing| storing.name == *name);
                            let after = last.map(|storing| storing.at).max().unwrap_or(self.now);
                            node.storing.push(Storing {
                                at: after.max(self.now) + self.random.below(15),
                                name,
                                opened: *opened,
                                effect,
                            });
                        }
                        Effect::Done(ticket) => {
                            if let Some((name, value)) = self.asked.remove(&ticket) {
                                if self.told {
                                    println!("{:>8} acknowledged {value:?} at {me:?}", self.now);
                                }
                                self.acknowledged.entry(name).or_default().push(value);
                            }
                        }
                        Effect::Close => {
                            if self.told {
                                println!("{:>8} close {name} at {me:?}", self.now);
                            }
                            closed.push(*name);
                        }
                        Effect::Changed(_) | Effect::Opening | Effect::Ready => {}
                    }
                }
            }
            for name in closed {
                node.close(name);
            }
        }
    }

    // === users ===

    fn write(&mut self) {
        let Some((index, name)) = self.somewhere() else {
            return;
        };
        let ticket = self.next_ticket;
        let value = Value::text(&format!("write {ticket}"));
        let counts = self.random.percent(50);
        let now = self.now;
        let node = self.nodes.get_mut(&index).unwrap();
        if node.draining || !node.used.contains(name) {
            return;
        }
        let now = node.now(now);
        let copy = node.copy(name);
        if !copy.is_ready() {
            return;
        }
        let stamp = copy.clock().tick(now);
        let update = |field: &str, operation| MapOperation::Update {
            name: field.into(),
            operation: Box::new(operation),
        };
        let add = Operation::OrSet(SetOperation::Add(value.clone()));
        // Part of the same write: one ticket waits for all that came before it as well.
        let _ = copy.operate(0, &update("count", Operation::GCounter(1)));
        if counts {
            let title = Operation::LwwRegister((stamp, value.clone()));
            let _ = copy.operate(0, &update("title", title));
        }
        if copy.operate(ticket, &update("writes", add)).is_ok() {
            self.next_ticket += 1;
            self.asked.insert(ticket, (name, value));
        }
        self.effects();
    }

    fn use_or_leave(&mut self) {
        let Some((index, name)) = self.somewhere() else {
            return;
        };
        let node = self.nodes.get_mut(&index).unwrap();
        if node.draining {
            return;
        }
        let used = node.used.insert(name) || !node.used.remove(name);
        if used || node.copies.contains_key(name) {
            node.copy(name).set_used(used);
        }
    }

    fn somewhere(&mut self) -> Option<(usize, &'static str)> {
        let up = self.up();
        Some((self.random.pick(&up)?, self.random.pick(&NAMES)?))
    }

    // === faults ===

    fn up(&self) -> Vec<usize> {
        self.nodes.keys().copied().collect()
    }

    fn start(&mut self, index: usize) {
        self.incarnation += 1;
        let replica = Replica::new(u16::try_from(index).unwrap(), self.incarnation).unwrap();
        let skew = i64::try_from(self.random.below(2 * self.plan.skew_ms + 1)).unwrap();
        let copies = if self.plan.everywhere {
            Copies::Everywhere
        } else {
            Copies::Placed(2)
        };
        let disk = self.disks.remove(&index).unwrap_or_default();
        let skew = skew - i64::try_from(self.plan.skew_ms).unwrap();
        let mut node = Node::start(replica, disk, skew, copies);
        node.used = NAMES.into_iter().filter(|_| self.random.percent(70)).collect();
        self.say(|| format!("start {replica:?}"));
        self.nodes.insert(index, node);
        self.look_absent();
    }

    /// Who is up is who should be there; whoever a node does not see is absent.
    fn look_absent(&mut self) {
        let expected = self.plan.nodes.max(self.nodes.len());
        for node in self.nodes.values_mut() {
            let unseen = usize::from(self.plan.apart && node.replica.slot() != 1);
            node.absent = expected.saturating_sub(node.sees.len() + 1 + unseen);
            node.view_changed();
        }
    }

    fn connect(&mut self) {
        let up = self.up();
        let (Some(a), Some(b)) = (self.random.pick(&up), self.random.pick(&up)) else {
            return;
        };
        let (from, to) = (self.nodes[&a].replica, self.nodes[&b].replica);
        let noticed = !self.nodes[&a].sees.contains_key(&to);
        let apart = self.plan.apart && from.slot() != 1 && to.slot() != 1;
        if apart || from == to || self.network.connected(from, to) || self.network.cut(from, to) || !noticed {
            return;
        }
        self.say(|| format!("connect {from:?} {to:?}"));
        self.network.connect(from, to);
        // The one that is dialled makes room and says so; it may not have noticed that an older connection broke.
        let draining = self.nodes[&a].draining;
        let node = self.nodes.get_mut(&b).unwrap();
        if node.sees.insert(from, draining).is_some() {
            node.lost(from);
        }
        let draining = node.draining;
        let hello = Packet::Hello { draining };
        self.network.send(to, from, self.now, &mut self.random, hello);
        self.look_absent();
    }

    fn cut(&mut self) {
        let up = self.up();
        let (Some(a), Some(b)) = (self.random.pick(&up), self.random.pick(&up)) else {
            return;
        };
        let (a, b) = (self.nodes[&a].replica, self.nodes[&b].replica);
        if a != b && self.network.cuts.len() < 3 {
            self.say(|| format!("cut {a:?} {b:?}"));
            self.network.cuts.push((a, b));
            self.broken(a, b);
        }
    }

    fn heal(&mut self) {
        if !self.network.cuts.is_empty() {
            let index = self.random.below(self.network.cuts.len() as u64);
            self.network.cuts.remove(usize::try_from(index).unwrap());
        }
    }

    /// One end notices at once, the other one perhaps only when it is dialled again.
    fn broken(&mut self, a: Replica, b: Replica) {
        self.network.disconnect(a, b);
        let late = self.random.percent(50);
        for (here, there, late) in [(a, b, false), (b, a, late)] {
            if let Some(node) = self.nodes.values_mut().find(|node| node.replica == here)
                && !late
                && node.sees.remove(&there).is_some()
            {
                node.lost(there);
            }
        }
        self.look_absent();
    }

    fn crash(&mut self) {
        let up = self.up();
        if up.len() < self.plan.nodes {
            return;
        }
        let Some(index) = self.random.pick(&up) else {
            return;
        };
        // A second disk may go only when everything has its copies again: that is what two copies promise.
        let lose = !self.fragile && self.random.percent(50) && self.everything_twice();
        let node = self.nodes.remove(&index).unwrap();
        self.say(|| {
            format!(
                "crash {:?}, disk {}",
                node.replica,
                if lose { "lost" } else { "kept" }
            )
        });
        self.end(&node);
        if lose {
            self.fragile = true;
        } else {
            self.disks.insert(index, node.disk);
        }
    }

    /// The process is gone; everybody notices, and its number never comes back.
    fn end(&mut self, node: &Node) {
        for other in self.nodes.values_mut() {
            self.network.disconnect(other.replica, node.replica);
            if other.sees.remove(&node.replica).is_some() {
                other.lost(node.replica);
            }
            other.gone.insert(node.replica);
        }
        self.network
            .cuts
            .retain(|(a, b)| *a != node.replica && *b != node.replica);
        self.look_absent();
    }

    fn restart(&mut self) {
        let down = (0..self.plan.nodes).find(|index| !self.nodes.contains_key(index));
        if let Some(index) = down.filter(|_| self.plan.faults) {
            self.start(index);
        }
    }

    /// Whether every copy that holds something is stored by as many as it should be.
    fn everything_twice(&mut self) -> bool {
        self.fragile = false;
        let sees_all = |node: &Node| node.sees.len() + 1 == self.plan.nodes;
        self.nodes
            .values()
            .all(|node| sees_all(node) && node.copies.values().all(|(_, copy)| copy.is_settled()))
    }

    // === releases ===

    /// A new replica comes, an old one drains and goes once it has handed everything over.
    fn replace_one(&mut self) {
        let Some(old) = self
            .up()
            .into_iter()
            .min_by_key(|index| self.nodes[index].replica.incarnation())
        else {
            return;
        };
        let new = self.up().into_iter().max().unwrap_or(0) + 1;
        self.start(new);
        self.join_everybody();
        let node = self.nodes.get_mut(&old).unwrap();
        node.draining = true;
        node.used.clear();
        let (me, others) = (node.replica, node.sees.keys().copied().collect::<Vec<_>>());
        for (_, copy) in node.copies.values_mut() {
            copy.set_used(false);
        }
        node.view_changed();
        for other in others {
            self.network
                .send(me, other, self.now, &mut self.random, Packet::Draining);
        }
        for _ in 0..3_000 {
            if self.nodes[&old].copies.is_empty() && self.nodes[&old].storing.is_empty() {
                break;
            }
            self.step();
        }
        let node = self.nodes.remove(&old).unwrap();
        assert!(node.copies.is_empty(), "{me:?} keeps {:?}", node.copies.keys());
        assert!(node.disk.names().is_empty());
        self.end(&node);
    }

    fn join_everybody(&mut self) {
        self.network.cuts.clear();
        for _ in 0..10_000 {
            let all = self.nodes.len() - 1;
            let apart = |node: &Node| usize::from(self.plan.apart && node.replica.slot() != 1);
            if self
                .nodes
                .values()
                .all(|node| node.sees.len() + apart(node) == all)
            {
                return;
            }
            self.connect();
            self.now += 1;
            self.deliver();
        }
        panic!("not everybody met");
    }

    /// No more faults and no more writes; what is to be done is done.
    fn settle(&mut self) {
        self.say(|| "settle".to_owned());
        for index in 0..self.plan.nodes {
            if self.plan.releases == 0 && !self.nodes.contains_key(&index) {
                self.start(index);
            }
        }
        // Whoever has not noticed that a connection broke does so now.
        let pairs: Vec<(Replica, Replica)> = self
            .nodes
            .values()
            .flat_map(|node| node.sees.keys().map(|other| (node.replica, *other)))
            .filter(|(a, b)| !self.network.connected(*a, *b))
            .collect();
        for (here, there) in pairs {
            let node = self.nodes.values_mut().find(|node| node.replica == here).unwrap();
            node.sees.remove(&there);
            node.lost(there);
        }
        self.look_absent();
        self.join_everybody();
        let mut quiet = 0;
        for round in 0..20_000 {
            self.now += 50;
            self.deliver();
            let busy = self.nodes.values().any(|node| !node.storing.is_empty());
            quiet = if self.network.is_idle() && !busy {
                quiet + 1
            } else {
                0
            };
            // A few ticks without anything to say. Members that see different ones ask each other again at each tick.
            if quiet > 200 || (self.plan.apart && round > 400) {
                return;
            }
        }
        panic!("never quiet");
    }
}
