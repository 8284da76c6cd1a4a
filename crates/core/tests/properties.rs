//! Random rollouts against a model cluster and somebody who breaks it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Cluster;
use pointsman_core::invariants;
use pointsman_core::rollout::{
    Abort, CanaryStep, Count, Desired, Drain, Millis, Observed, Phase, Pods, Promotion, Retry, Revision,
    Routed, Spec, Stage, State, Step, Strategy, Through, Traffic, WeightUnit, advance, desired, weight,
};
use proptest::prelude::{Just, Strategy as Generator, any, prop, prop_oneof, proptest};
use proptest::test_runner::{Config, FileFailurePersistence};

/// What the owner, the cluster and fate may do.
#[derive(Clone, Debug)]
enum Action {
    /// Seconds pass; the operator looks each second.
    Run(u8),
    /// The operator persists an edge and dies before it applies anything.
    Die,
    /// The operator looks at something that is not there.
    Dream(Observed),
    Target(u8),
    Replicas(u32),
    Paused(bool),
    Promote(u8, Through),
    Abort(Option<u8>),
    Retry(u8, u32),
    Strategy(Strategy),
    Traffic(Traffic),
    Clients(u32),
    Clock(i64),
    Fault(u8, u8),
    Gateway(bool, bool),
    Mend,
}

/// Number of a revision; 0 stands for the candidate, or for the stable revision when there is none.
fn whose() -> impl Generator<Value = u8> {
    prop_oneof![3 => Just(0), 2 => 1_u8..6]
}

fn revision(number: u8) -> Revision {
    Revision(format!("v{number}"))
}

fn step() -> impl Generator<Value = CanaryStep> {
    let unit = prop_oneof![Just(WeightUnit::Sessions), Just(WeightUnit::Connections)];
    let percent = prop_oneof![4 => 0_u8..=100, 1 => Just(0), 1 => Just(100)];
    prop_oneof![
        3 => (percent, unit).prop_map(|(percent, of)| CanaryStep::SetWeight { percent, of }),
        1 => Just(CanaryStep::Pause { duration_ms: None }),
        1 => (0_i64..60_000).prop_map(|span| CanaryStep::Pause { duration_ms: Some(span) }),
    ]
}

fn strategy() -> impl Generator<Value = Strategy> {
    let delay = prop_oneof![Just(0), 0_i64..120_000];
    prop_oneof![
        3 => prop::collection::vec(step(), 0..5).prop_map(|steps| Strategy::Canary { steps }),
        2 => (prop::option::of(1_u32..8), any::<bool>(), delay).prop_map(|(preview_replicas, auto_promote, delay)| {
            Strategy::BlueGreen { preview_replicas, auto_promote, scale_down_delay_ms: delay }
        }),
    ]
}

fn traffic() -> impl Generator<Value = Traffic> {
    prop_oneof![3 => Just(Traffic::Gateway), 1 => Just(Traffic::Service)]
}

fn spec() -> impl Generator<Value = Spec> {
    let drain = (1_u32..40, 5_000_i64..90_000).prop_map(|(rate_per_second, deadline_ms)| Drain {
        rate_per_second,
        deadline_ms,
    });
    (
        0_u32..8,
        strategy(),
        traffic(),
        prop::option::weighted(0.8, drain),
        5_000_i64..90_000,
    )
        .prop_map(
            |(replicas, strategy, traffic, sessions, progress_deadline_ms)| Spec {
                target: revision(1),
                replicas,
                strategy,
                traffic,
                sessions,
                progress_deadline_ms,
                revision_history_limit: 5,
                paused: false,
                promotion: None,
                abort: None,
                retry: None,
            },
        )
}

fn dream() -> impl Generator<Value = Observed> {
    let count = prop_oneof![Just(Count::Unknown), (0_u32..50).prop_map(Count::Known)];
    let pods = (0_u32..8, 0_u32..8).prop_map(|(total, ready)| Pods {
        total,
        ready: ready.min(total),
    });
    let named = |number: u8| revision(number);
    let routed = prop::collection::btree_map((1_u8..5).prop_map(named), 0_u8..=100, 0..3);
    (
        prop::collection::btree_map((1_u8..5).prop_map(named), pods, 0..4),
        prop::collection::btree_map((1_u8..5).prop_map(named), count, 0..4),
        prop::option::of(routed),
    )
        .prop_map(|(pods, sessions, routed)| Observed {
            pods,
            sessions,
            routed: routed.map_or(Routed::Unknown, Routed::Known),
        })
}

fn action() -> impl Generator<Value = Action> {
    let through = prop_oneof![Just(Through::Full), (0_u32..5).prop_map(Through::Step)];
    prop_oneof![
        6 => (1_u8..6).prop_map(Action::Run),
        4 => (6_u8..60).prop_map(Action::Run),
        2 => Just(Action::Die),
        1 => dream().prop_map(Action::Dream),
        4 => (1_u8..6).prop_map(Action::Target),
        1 => (0_u32..8).prop_map(Action::Replicas),
        1 => any::<bool>().prop_map(Action::Paused),
        2 => (whose(), through).prop_map(|(of, through)| Action::Promote(of, through)),
        1 => prop::option::of(whose()).prop_map(Action::Abort),
        1 => (whose(), 1_u32..4).prop_map(|(of, attempt)| Action::Retry(of, attempt)),
        1 => strategy().prop_map(Action::Strategy),
        1 => traffic().prop_map(Action::Traffic),
        2 => (0_u32..60).prop_map(Action::Clients),
        1 => (-7_200_000_i64..7_200_000).prop_map(Action::Clock),
        3 => (0_u8..4, whose()).prop_map(|(kind, of)| Action::Fault(kind, of)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(stuck, mute)| Action::Gateway(stuck, mute)),
        1 => Just(Action::Mend),
    ]
}

struct Run {
    spec: Spec,
    state: State,
    cluster: Cluster,
    /// What was applied last.
    world: Desired,
}

impl Run {
    fn new(spec: Spec) -> Self {
        let cluster = Cluster {
            now_ms: 1_000_000_000,
            ..Cluster::default()
        };
        Self {
            spec,
            state: State::default(),
            cluster,
            world: Desired::default(),
        }
    }

    fn act(&mut self, action: Action) {
        let named = |of: u8| match (&self.state.candidate, &self.state.stable) {
            (Some(revision), _) | (None, Some(revision)) if of == 0 => revision.clone(),
            _ => revision(of),
        };
        let faults = &mut self.cluster.faults;
        match action {
            Action::Run(seconds) => (0..seconds).for_each(|_| self.second()),
            Action::Die => {
                let seen = self.cluster.observe();
                self.look(&seen);
            }
            Action::Dream(seen) => {
                self.look(&seen);
            }
            Action::Target(of) => self.spec.target = revision(of),
            Action::Replicas(replicas) => self.spec.replicas = replicas,
            Action::Paused(paused) => self.spec.paused = paused,
            Action::Promote(of, through) => {
                self.spec.promotion = Some(Promotion {
                    revision: named(of),
                    through,
                });
            }
            Action::Abort(of) => {
                let order = |of| Abort {
                    revision: named(of),
                    reason: String::new(),
                };
                self.spec.abort = of.map(order);
            }
            Action::Retry(of, attempt) => {
                self.spec.retry = Some(Retry {
                    revision: named(of),
                    attempt,
                })
            }
            Action::Strategy(strategy) => self.spec.strategy = strategy,
            Action::Traffic(traffic) => self.spec.traffic = traffic,
            Action::Clients(clients) => self.cluster.homeless += clients,
            Action::Clock(jump_ms) => self.cluster.now_ms += jump_ms,
            Action::Fault(0, of) => drop(faults.broken.insert(named(of))),
            Action::Fault(1, of) => drop(faults.down.insert(named(of))),
            Action::Fault(2, of) => drop(faults.mute.insert(named(of))),
            Action::Fault(_, of) => drop(faults.deaf.insert(named(of))),
            Action::Gateway(stuck, mute) => (faults.gateway_stuck, faults.gateway_mute) = (stuck, mute),
            Action::Mend => *faults = cluster::Faults::default(),
        }
    }

    /// All the edges of this second, then what the cluster makes of them.
    fn second(&mut self) {
        let mut edges = 0;
        loop {
            let seen = self.cluster.observe();
            let before = self.state.clone();
            let step = self.look(&seen);
            if self.spec.replicas > 0 && step.notes.iter().all(|note| note.reason != "ClockSetBack") {
                self.check_removal(&before, &seen, &step);
            }
            if before == step.state {
                self.check_rest(&seen, &step);
                break;
            }
            edges += 1;
            assert!(edges < 32, "edges without end: {:?}", self.state);
        }
        // Derived anew from what was persisted, as after a crash.
        self.world = desired(&self.spec, &self.state);
        let world = self.world.clone();
        self.cluster.second(&self.spec, &self.state, &world);
    }

    /// One look, persisted, with everything that must hold for it.
    fn look(&mut self, seen: &Observed) -> Step {
        let now = self.cluster.now();
        let step = advance(&self.spec, &self.state, seen, now);
        let world = desired(&self.spec, &step.state);
        let mut broken = invariants::check(&self.spec, &step.state, &world);
        broken.extend(invariants::check_edge(&self.spec, &self.state, &step.state));
        assert!(
            broken.is_empty(),
            "{broken:?}\nfrom {:?}\nto {:?}\n{world:?}",
            self.state,
            step.state
        );
        assert_eq!(
            step.state == self.state,
            step.notes.is_empty(),
            "an edge has a note: {step:?}"
        );
        assert!(!step.message.is_empty());
        if step.state == self.state {
            let again = advance(&self.spec, &step.state, seen, now);
            assert_eq!(again, step, "a hold is a hold however often it is looked at");
        }
        self.check_orders(seen, &step, now);
        self.check_promotion(seen, &step);
        self.state = step.state.clone();
        step
    }

    /// Orders that name another revision do nothing; an abort of this one is never held up.
    fn check_orders(&self, seen: &Observed, step: &Step, now: Millis) {
        let named = |revision: &Revision| {
            *revision == self.spec.target
                || self.state.stable.as_ref() == Some(revision)
                || self.state.candidate.as_ref() == Some(revision)
        };
        let mut without = self.spec.clone();
        without.promotion = without.promotion.filter(|order| named(&order.revision));
        without.abort = without.abort.filter(|order| named(&order.revision));
        without.retry = without.retry.filter(|order| named(&order.revision));
        assert_eq!(
            &advance(&without, &self.state, seen, now),
            step,
            "an old order acted"
        );
        let on_its_way = matches!(
            self.state.phase,
            Phase::Stepping { .. } | Phase::Previewing { .. } | Phase::Promoting { .. }
        );
        let abort = self.spec.abort.as_ref().map(|abort| &abort.revision);
        let set_back = step.notes.iter().any(|note| note.reason == "ClockSetBack");
        if on_its_way && abort == self.state.candidate.as_ref() && abort.is_some() && !set_back {
            assert!(
                matches!(step.state.phase, Phase::Aborting { .. }),
                "an abort was held up: {step:?}"
            );
        }
    }

    /// Pods that the gateway still sends somebody to are not taken away, nor those whose sessions have time left.
    fn check_removal(&self, old: &State, seen: &Observed, step: &Step) {
        let now = self.cluster.now();
        let (before, after) = (desired(&self.spec, old), desired(&self.spec, &step.state));
        let pods = |world: &Desired, of: &Revision| world.workloads.get(of).copied().unwrap_or(0);
        for revision in before.workloads.keys() {
            if pods(&before, revision) == 0 || pods(&after, revision) > 0 {
                continue;
            }
            if let (Traffic::Gateway, Routed::Known(routed)) = (self.spec.traffic, &seen.routed) {
                let share = routed.get(revision).copied().unwrap_or(0);
                assert_eq!(share, 0, "{revision} goes with {share} % of the traffic: {old:?}");
            }
            let retired = old.retired.iter().find(|retired| retired.revision == *revision);
            let live = match seen.sessions.get(revision) {
                Some(Count::Known(0)) | None => false,
                Some(Count::Known(_) | Count::Unknown) => true,
            };
            if let (Some(retired), Some(drain), true) = (retired, self.spec.sessions, live) {
                let time_up = retired.since.plus(drain.deadline_ms) <= now;
                assert!(time_up, "{revision} goes with sessions before its deadline");
            }
        }
    }

    /// Not to know is never good news.
    fn check_promotion(&self, seen: &Observed, step: &Step) {
        let promoting = matches!(self.state.phase, Phase::Promoting { .. });
        if !promoting || step.state.phase != Phase::Stable {
            return;
        }
        let (old, new) = (
            self.state.stable.as_ref().unwrap(),
            step.state.stable.as_ref().unwrap(),
        );
        let old_pods = seen.pods.get(old).copied().unwrap_or_default();
        let counted = matches!(seen.sessions.get(old), Some(Count::Known(_)));
        assert!(
            self.spec.sessions.is_none() || old_pods.total == 0 || counted,
            "promoted without knowing who is left"
        );
        let ready = seen.pods.get(new).map_or(0, |pods| pods.ready);
        assert!(ready >= self.spec.replicas, "promoted with {ready} ready pods");
        if self.spec.traffic == Traffic::Gateway {
            assert!(
                matches!(seen.routed, Routed::Known(_)),
                "promoted without knowing the route"
            );
        }
    }

    /// What must hold once no edge is left to take now.
    fn check_rest(&self, seen: &Observed, step: &Step) {
        assert!(
            step.wake.is_none_or(|wake| wake > self.cluster.now()),
            "a hold that is no hold: {step:?}"
        );
        let ready = |revision: &Option<Revision>| {
            let pods = revision.as_ref().and_then(|revision| seen.pods.get(revision));
            pods.map_or(0, |pods| pods.ready)
        };
        let in_traffic = matches!(self.state.phase, Phase::Stepping { .. } | Phase::Promoting { .. })
            && weight(&self.spec, &self.state) > 0;
        if in_traffic && self.state.paused_since.is_none() && self.spec.replicas > 0 {
            assert!(
                ready(&self.state.candidate) > 0 || ready(&self.state.stable) == 0,
                "traffic to a candidate without a ready pod: {:?}",
                self.state
            );
        }
    }

    /// True at rest: nothing on its way in or out.
    fn at_rest(&self) -> bool {
        matches!(self.state.phase, Phase::Stable | Phase::Aborted { .. }) && self.state.retired.is_empty()
    }

    /// Seconds until rest.
    fn settle(&mut self, patience: u32) -> Option<u32> {
        for second in 0..patience {
            self.second();
            let asked = self.state.stable.as_ref() == Some(&self.spec.target)
                || self.state.candidate.as_ref() == Some(&self.spec.target);
            if self.at_rest() && asked {
                return Some(second);
            }
        }
        None
    }
}

fn config() -> Config {
    // Cases that failed once are committed beside this file and run first.
    let failures = FileFailurePersistence::Direct(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/properties.proptest-regressions"
    ));
    let cases = std::env::var("PROPTEST_CASES").map_or(512, |cases| cases.parse().unwrap());
    Config {
        cases,
        failure_persistence: Some(Box::new(failures)),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_rule_is_broken_whatever_happens_and_every_rollout_ends(
        spec in spec(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let mut run = Run::new(spec);
        for action in actions {
            run.act(action);
        }
        // From here on the cluster is fair and the owner wants one thing.
        run.act(Action::Mend);
        run.spec.paused = false;
        run.spec.abort = None;
        run.spec.promotion = Some(Promotion { revision: run.spec.target.clone(), through: Through::Full });
        let settled = run.settle(3_600);
        assert!(settled.is_some(), "never at rest: {:?} under {:?}", run.state, run.spec);
        let (state, world) = (run.state.clone(), run.world.clone());
        (0..100).for_each(|_| run.second());
        assert_eq!((run.state, run.world), (state, world), "rest is rest");
    }

    #[test]
    fn a_fair_rollout_moves_each_session_once_and_cuts_none(
        mut spec in spec(),
        mut weights in prop::collection::vec((0_u8..=100, any::<bool>()), 0..5),
        canary in any::<bool>(),
        clients in 0_u32..300,
    ) {
        spec.replicas = spec.replicas.max(1);
        spec.sessions = Some(Drain { rate_per_second: 20, deadline_ms: 3_600_000 });
        weights.sort_unstable();
        if canary {
            let steps = weights.into_iter().map(|(percent, sessions)| {
                let of = if sessions { WeightUnit::Sessions } else { WeightUnit::Connections };
                CanaryStep::SetWeight { percent, of }
            });
            spec.strategy = Strategy::Canary { steps: steps.collect() };
        }
        if !canary && matches!(spec.strategy, Strategy::Canary { .. }) {
            spec.strategy = Strategy::BlueGreen { preview_replicas: None, auto_promote: true, scale_down_delay_ms: 9_000 };
        }
        let mut run = Run::new(spec);
        run.settle(60).expect("the first revision is up");
        run.cluster.homeless = clients;
        (0..3).for_each(|_| run.second());
        run.spec.target = revision(2);
        run.spec.promotion = match run.spec.strategy {
            Strategy::Canary { .. } => None,
            Strategy::BlueGreen { .. } => Some(Promotion { revision: revision(2), through: Through::Full }),
        };
        let mut shares = Vec::new();
        for _ in 0..3_600 {
            let before = run.state.clone();
            run.second();
            if let (Phase::Stepping { step, stage: Stage::Moving, .. }, Strategy::Canary { steps }) = (&before.phase, &run.spec.strategy)
                && before.phase != run.state.phase
                && let Some(CanaryStep::SetWeight { percent, of: WeightUnit::Sessions }) = steps.get(*step as usize)
            {
                let live = |number| run.cluster.workloads.get(&revision(number)).map_or(0, |workload| workload.sessions);
                shares.push((*percent, live(2), live(1) + live(2)));
            }
            if run.at_rest() && run.state.stable == Some(revision(2)) {
                break;
            }
        }
        assert_eq!(run.state.stable, Some(revision(2)), "{:?}", run.state);
        assert_eq!((run.cluster.moved, run.cluster.cut), (clients, 0));
        if run.spec.traffic == Traffic::Gateway {
            for (percent, new, total) in shares {
                let off = (i64::from(new) * 100 - i64::from(total) * i64::from(percent)).abs();
                assert!(off <= (i64::from(total) * 2).max(100), "{new} of {total} at {percent} %");
            }
        }
    }
}
