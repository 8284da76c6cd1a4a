//! Every type over every engine: the same history gives the same state, and a bad network only costs time.

use std::sync::Arc;

use pointsman_crdt::engine::{
    DeltaEngine, DeltaMessage, Engine, OperationEngine, OperationMessage, Settings, StateEngine,
};
use pointsman_crdt::{Context, Stability, State};

use crate::laws::{for_every_type, replica, seeds};
use crate::random::Random;
use crate::sample::Sample;

const REPLICAS: usize = 3;

/// What a link carries are bytes.
trait Carried: Clone {
    fn bytes(&self) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Self;

    fn carry(&self) -> Self {
        let bytes = self.bytes();
        let read = Self::read(&bytes);
        assert_eq!(read.bytes(), bytes, "one encoding");
        read
    }
}

impl<S: Sample> Carried for Arc<State<S>> {
    fn bytes(&self) -> Vec<u8> {
        self.encode()
    }
    fn read(bytes: &[u8]) -> Self {
        State::decode(bytes).unwrap().into()
    }
}

impl<S: Sample> Carried for Arc<OperationMessage<S>> {
    fn bytes(&self) -> Vec<u8> {
        self.encode()
    }
    fn read(bytes: &[u8]) -> Self {
        OperationMessage::decode(bytes).unwrap().into()
    }
}

impl<S: Sample> Carried for DeltaMessage<S> {
    fn bytes(&self) -> Vec<u8> {
        self.encode()
    }
    fn read(bytes: &[u8]) -> Self {
        Self::decode(bytes).unwrap()
    }
}

struct Network<S: Sample, E: Engine<S>> {
    engines: Vec<E>,
    /// Sender, receiver, message.
    flying: Vec<(usize, usize, E::Message)>,
    epoch: u64,
    buffer_max: usize,
    store: std::marker::PhantomData<S>,
}

impl<S: Sample, E: Engine<S, Message: Carried>> Network<S, E> {
    fn new(buffer_max: usize) -> Self {
        let mut network = Self {
            engines: Vec::new(),
            flying: Vec::new(),
            epoch: 0,
            buffer_max,
            store: std::marker::PhantomData,
        };
        for index in 0..REPLICAS {
            let engine = network.start(index, State::new());
            network.engines.push(engine);
        }
        network
    }

    fn start(&mut self, index: usize, state: State<S>) -> E {
        self.epoch += 1;
        let mut settings = Settings::new(replica(index as u16), self.epoch);
        settings.buffer_max = self.buffer_max;
        E::start(settings, state)
    }

    /// The process ends and starts again with what it had on disk.
    fn restart(&mut self, index: usize) {
        let state = self.engines[index].state().clone();
        self.engines[index] = self.start(index, state);
    }

    fn update(&mut self, index: usize, operation: &S::Operation) -> bool {
        let before = self.engines[index].state().context.clone();
        for message in self.engines[index].update(operation).into_iter().flatten() {
            for other in (0..REPLICAS).filter(|other| *other != index) {
                self.flying.push((index, other, message.clone()));
            }
        }
        before != self.engines[index].state().context
    }

    fn poll(&mut self, from: usize, to: usize) {
        for message in self.engines[from].poll(replica(to as u16)) {
            self.flying.push((from, to, message));
        }
    }

    fn deliver(&mut self, at: usize) {
        let (from, to, message) = self.flying.remove(at);
        for answer in self.engines[to]
            .receive(replica(from as u16), &message.carry(), 0)
            .unwrap()
        {
            self.flying.push((to, from, answer));
        }
    }

    fn deliver_all(&mut self) {
        while !self.flying.is_empty() {
            self.deliver(0);
        }
    }

    /// Both get all that the other has.
    fn meet(&mut self, a: usize, b: usize) {
        self.flying.clear();
        for _ in 0..4 {
            self.poll(a, b);
            self.poll(b, a);
            self.deliver_all();
        }
    }

    fn converged(&self) -> bool {
        self.engines
            .windows(2)
            .all(|pair| pair[0].state() == pair[1].state())
    }
}

/// A history without losses, played over one engine: who does what, who meets whom.
fn play<S: Sample, E: Engine<S, Message: Carried>>(seed: u64) -> Vec<State<S>> {
    let mut random = Random::new(seed);
    let mut network = Network::<S, E>::new(64);
    for _ in 0..30 {
        let at = random.below(REPLICAS as u64) as usize;
        if random.below(3) < 2 {
            let operation = network.engines[at].state().store.operation(&mut random);
            network.update(at, &operation);
        } else {
            network.meet(at, (at + 1) % REPLICAS);
        }
    }
    network
        .engines
        .iter()
        .map(|engine| engine.state().clone())
        .collect()
}

fn same_history<S: Sample>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        println!("seed {seed}");
        let states = play::<S, StateEngine<S>>(seed);
        assert_eq!(states, play::<S, DeltaEngine<S>>(seed), "delta = state");
        assert_eq!(states, play::<S, OperationEngine<S>>(seed), "operation = state");
    }
}

fn bad_network<S: Sample, E: Engine<S, Message: Carried>>(seed: u64, buffer_max: usize) {
    println!("seed {seed} buffer {buffer_max} {}", std::any::type_name::<E>());
    let mut random = Random::new(seed);
    let mut network = Network::<S, E>::new(buffer_max);
    let mut written = Context::new();
    for _ in 0..120 {
        let (at, to) = (random.below(3) as usize, random.below(3) as usize);
        match random.below(10) {
            0..3 => {
                let operation = network.engines[at].state().store.operation(&mut random);
                if network.update(at, &operation) {
                    written.join(&network.engines[at].state().context);
                }
            }
            3..5 if at != to => network.poll(at, to),
            5 if random.below(4) == 0 => network.restart(at),
            _ if network.flying.is_empty() => {}
            6 => {
                // Lost.
                let index = random.below(network.flying.len() as u64) as usize;
                network.flying.remove(index);
            }
            7 => {
                let copy = random.pick(&network.flying).clone();
                network.flying.push(copy);
            }
            _ => {
                let index = random.below(network.flying.len() as u64) as usize;
                network.deliver(index);
            }
        }
        let mut seen = Context::new();
        network
            .engines
            .iter()
            .for_each(|engine| seen.join(&engine.state().context));
        assert_eq!(seen, written, "nothing is invented, nothing forgotten");
    }
    // The network heals: a few rounds have to do.
    for _ in 0..8 {
        for from in 0..REPLICAS {
            for to in (0..REPLICAS).filter(|to| *to != from) {
                network.poll(from, to);
            }
        }
        network.deliver_all();
    }
    assert!(
        network.converged(),
        "{:#?}",
        network
            .engines
            .iter()
            .map(|e| e.state().clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(network.engines[0].state().context, written, "no write is lost");
    let read = network.engines[0].state().store.read();
    assert!(
        network
            .engines
            .iter()
            .all(|engine| engine.state().store.read() == read)
    );
}

fn bad_networks<S: Sample>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        for buffer_max in [2, 64] {
            bad_network::<S, StateEngine<S>>(seed, buffer_max);
            bad_network::<S, DeltaEngine<S>>(seed, buffer_max);
            bad_network::<S, OperationEngine<S>>(seed, buffer_max);
        }
    }
}

mod same {
    use super::*;
    for_every_type!(same_history, seeds(40));
}

mod bad {
    use super::*;
    for_every_type!(bad_networks, seeds(20));
}

/// What an update costs along links: intervals with content, as (sender, receiver).
fn carried(links: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut network = Network::<pointsman_crdt::OrSet, DeltaEngine<pointsman_crdt::OrSet>>::new(64);
    for (a, b) in links {
        network.meet(*a, *b);
    }
    network.update(0, &pointsman_crdt::SetOperation::Add("x".into()));
    let mut carried = Vec::new();
    for _ in 0..4 {
        for (a, b) in links {
            network.poll(*a, *b);
            network.poll(*b, *a);
            while let Some((from, to, message)) = network.flying.first().cloned() {
                if let pointsman_crdt::engine::DeltaMessage::Interval { delta, .. } = &message
                    && !delta.is_bottom()
                {
                    carried.push((from, to));
                }
                network.deliver(0);
            }
        }
    }
    assert!(network.converged());
    assert!(
        network.engines.iter().all(|engine| engine.buffered() == 0),
        "acknowledged by all"
    );
    carried
}

#[test]
fn deltas_do_not_go_back_and_redundant_ones_not_on() {
    // The first link is used again before the far end acknowledged.
    assert_eq!(
        carried(&[(0, 1), (0, 1), (1, 2)]),
        [(0, 1), (1, 2)],
        "a line: once a link, nothing back"
    );
    // In a ring one delta may meet itself; it is not taken on from there.
    assert!(carried(&[(0, 1), (1, 2), (2, 0)]).len() <= 4);
}

#[test]
fn delta_messages_have_bytes() {
    type Message = pointsman_crdt::engine::DeltaMessage<pointsman_crdt::OrSet>;
    let mut network = Network::<pointsman_crdt::OrSet, DeltaEngine<pointsman_crdt::OrSet>>::new(64);
    let mut kinds = std::collections::BTreeSet::new();
    for round in 0..4_i64 {
        network.update(0, &pointsman_crdt::SetOperation::Add(round.into()));
        network.poll(0, 1);
        network.poll(1, 0);
        while let Some((_, _, message)) = network.flying.first().cloned() {
            let bytes = message.encode();
            kinds.insert(bytes[0]);
            assert_eq!(Message::decode(&bytes).unwrap(), message);
            // A part is refused or says less; it is never anything else.
            for part in (0..bytes.len()).map(|end| &bytes[..end]) {
                assert!(Message::decode(part).map_or(true, |message| message.encode() == part));
            }
            network.deliver(0);
        }
    }
    assert_eq!(kinds.len(), 4);
}

/// A buffer full of what waits for something lost does not keep out what can be delivered.
#[test]
fn a_full_buffer_takes_what_closes_the_gap() {
    type Set = pointsman_crdt::OrSet;
    let mut settings = Settings::new(replica(0), 1);
    settings.buffer_max = 2;
    let mut origin = OperationEngine::<Set>::start(Settings::new(replica(1), 1), State::new());
    let mut receiver = OperationEngine::<Set>::start(settings, State::new());
    let messages: Vec<_> = (0..4_i64)
        .flat_map(|n| {
            origin
                .update(&pointsman_crdt::SetOperation::Add(n.into()))
                .unwrap()
        })
        .collect();
    for message in [
        &messages[1],
        &messages[2],
        &messages[3],
        &messages[0],
        &messages[3],
    ] {
        receiver.receive(replica(1), message, 0).unwrap();
    }
    assert_eq!(receiver.state(), origin.state());
}

/// An acknowledgement of an earlier life of the link arrives late: what was dropped since is asked for, not skipped.
#[test]
fn a_late_acknowledgement_skips_nothing() {
    type Set = pointsman_crdt::OrSet;
    let mut network = Network::<Set, DeltaEngine<Set>>::new(64);
    let add = |n: i64| pointsman_crdt::SetOperation::Add(n.into());
    network.update(0, &add(1));
    network.meet(0, 1);
    let late = pointsman_crdt::engine::DeltaMessage::Acknowledge { epoch: 1, to: 1 };
    network.engines[0].forget(replica(1));
    network.update(0, &add(2));
    network.engines[0].receive(replica(1), &late, 0).unwrap();
    network.update(0, &add(3));
    for _ in 0..4 {
        network.poll(0, 1);
        network.deliver_all();
    }
    assert_eq!(network.engines[1].state(), network.engines[0].state());
}

/// After a restart the clock goes on after what is stored, however far back the time is.
#[test]
fn clocks_go_on_after_the_stored_state() {
    fn check<E: Engine<pointsman_crdt::LwwRegister>>() {
        let now = 1_700_000_000_000;
        let mut engine = E::start(Settings::new(replica(0), 1), State::new());
        let stamp = engine.clock().tick(now + 300_000);
        engine.update(&(stamp, 1.into())).unwrap();
        let mut engine = E::start(Settings::new(replica(0), 2), engine.state().clone());
        let stamp = engine.clock().tick(now);
        engine.update(&(stamp, 2.into())).unwrap();
    }
    check::<StateEngine<_>>();
    check::<OperationEngine<_>>();
    check::<DeltaEngine<_>>();
}

/// Replicas collect at different times while messages are lost, repeated and late: all read what the join of all deltas
/// reads, in which nothing was ever collected.
fn collecting<S: Sample, E: Engine<S, Message: Carried>>(seed: u64) {
    println!("seed {seed} {}", std::any::type_name::<E>());
    let mut random = Random::new(seed);
    let mut network = Network::<S, E>::new(8);
    let mut kept = State::<S>::new();
    let mut stability = Stability::new();
    stability.set_members((0..REPLICAS as u16).map(replica));
    for _ in 0..200 {
        let (at, to) = (random.below(3) as usize, random.below(3) as usize);
        match random.below(12) {
            0..3 => {
                let operation = network.engines[at].state().store.operation(&mut random);
                let mut state = network.engines[at].state().clone();
                if let Ok(Some(delta)) = state.update(replica(at as u16), &operation) {
                    kept.join(&delta).unwrap();
                }
                network.update(at, &operation);
            }
            3..6 if at != to => network.poll(at, to),
            6 => stability.report(replica(at as u16), network.engines[at].state().context.clone()),
            7 => network.engines[at].collect(stability.stable()),
            8 if random.below(4) == 0 => network.restart(at),
            _ if network.flying.is_empty() => {}
            9 => {
                let index = random.below(network.flying.len() as u64) as usize;
                network.flying.remove(index);
            }
            _ => {
                let index = random.below(network.flying.len() as u64) as usize;
                if random.below(3) == 0 {
                    let copy = network.flying[index].clone();
                    network.flying.push(copy);
                }
                network.deliver(index);
            }
        }
    }
    for _ in 0..8 {
        for from in 0..REPLICAS {
            for to in (0..REPLICAS).filter(|to| *to != from) {
                network.poll(from, to);
            }
        }
        network.deliver_all();
    }
    for engine in &network.engines {
        assert_eq!(engine.state().context, kept.context);
        assert_eq!(engine.state().store.read(), kept.store.read(), "seed {seed}");
    }
    let all = kept.context.clone();
    for engine in &mut network.engines {
        engine.collect(&all);
    }
    assert!(
        network.converged(),
        "seed {seed}: one state once the cut is the same"
    );
}

#[test]
fn collecting_under_a_bad_network_changes_nothing() {
    type Text = pointsman_crdt::Text;
    for seed in seeds(25) {
        collecting::<Text, DeltaEngine<Text>>(seed);
        collecting::<Text, OperationEngine<Text>>(seed);
        collecting::<Text, StateEngine<Text>>(seed);
        collecting::<pointsman_crdt::Map, DeltaEngine<pointsman_crdt::Map>>(seed);
    }
}
