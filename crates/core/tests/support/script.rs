//! The script language of `tests/scenarios`; see its README.

use std::fmt::Write as _;

use pointsman_core::invariants;
use pointsman_core::rollout::{
    Abort, CanaryStep, Desired, Drain, Millis, Phase, Promotion, Retry, Revision, Spec, Stage, State,
    Strategy, Through, Traffic, WeightUnit, advance, desired, weight,
};

use crate::cluster::Cluster;

/// Longest wait of an `until`, in seconds.
const PATIENCE_S: i64 = 4 * 3_600;
/// More edges than this at one time are a loop.
const EDGES_AT_ONCE: usize = 32;

pub struct Script {
    spec: Spec,
    state: State,
    cluster: Cluster,
    world: Desired,
    out: String,
    start_ms: i64,
    shown: String,
    message: String,
    hit: Option<String>,
    hit_seen: bool,
}

fn revision(name: &str) -> Revision {
    Revision(name.to_owned())
}

fn span_ms(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => panic!("a time is a number and s, m or h: {text}"),
    };
    number
        .parse::<i64>()
        .unwrap_or_else(|_| panic!("not a time: {text}"))
        * unit
}

fn step(text: &str) -> CanaryStep {
    if let Some(weight) = text.strip_suffix("%s") {
        let percent = weight.parse().unwrap();
        return CanaryStep::SetWeight {
            percent,
            of: WeightUnit::Sessions,
        };
    }
    if let Some(weight) = text.strip_suffix("%c") {
        let percent = weight.parse().unwrap();
        return CanaryStep::SetWeight {
            percent,
            of: WeightUnit::Connections,
        };
    }
    match text.split_once(':') {
        None if text == "pause" => CanaryStep::Pause { duration_ms: None },
        Some(("pause", span)) => CanaryStep::Pause {
            duration_ms: Some(span_ms(span)),
        },
        _ => panic!("a step is 5%s, 5%c, pause or pause:10m: {text}"),
    }
}

impl Script {
    pub fn new() -> Self {
        let start_ms = 1_000_000_000;
        Self {
            spec: Spec {
                target: revision("v1"),
                replicas: 6,
                strategy: Strategy::Canary { steps: Vec::new() },
                traffic: Traffic::Gateway,
                sessions: None,
                progress_deadline_ms: 600_000,
                revision_history_limit: 5,
                paused: false,
                promotion: None,
                abort: None,
                retry: None,
            },
            state: State::default(),
            cluster: Cluster {
                now_ms: start_ms,
                ..Cluster::default()
            },
            world: Desired::default(),
            out: String::new(),
            start_ms,
            shown: String::new(),
            message: String::new(),
            hit: None,
            hit_seen: false,
        }
    }

    /// Runs a whole script; the golden text comes back.
    pub fn run(mut self, text: &str) -> String {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('#') || line.is_empty() {
                writeln!(self.out, "{line}").unwrap();
                continue;
            }
            writeln!(self.out, "> {line}").unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            self.command(words[0], &words[1..], line, number + 1);
        }
        let (moved, cut) = (self.cluster.moved, self.cluster.cut);
        writeln!(self.out, "end: {}, {moved} moved, {cut} cut", self.live()).unwrap();
        self.out
    }

    fn command(&mut self, verb: &str, rest: &[&str], line: &str, number: usize) {
        let faults = &mut self.cluster.faults;
        let named = || rest.iter().map(|name| revision(name));
        match verb {
            "spec" => self.set_spec(rest),
            "target" => self.spec.target = revision(rest[0]),
            "replicas" => self.spec.replicas = rest[0].parse().unwrap(),
            "pause" => self.spec.paused = true,
            "resume" => self.spec.paused = false,
            "clients" => self.cluster.homeless += rest[0].parse::<u32>().unwrap(),
            "promote" => {
                let through = match rest[1] {
                    "full" => Through::Full,
                    step => Through::Step(step.parse().unwrap()),
                };
                self.spec.promotion = Some(Promotion {
                    revision: revision(rest[0]),
                    through,
                });
            }
            "abort" => {
                let reason = line
                    .split_once("because ")
                    .map_or("", |(_, reason)| reason)
                    .to_owned();
                self.spec.abort = Some(Abort {
                    revision: revision(rest[0]),
                    reason,
                });
            }
            "unabort" => self.spec.abort = None,
            "retry" => {
                let attempt = rest[1].parse().unwrap();
                self.spec.retry = Some(Retry {
                    revision: revision(rest[0]),
                    attempt,
                });
            }
            "broken" => faults.broken.extend(named()),
            "mend" => named().for_each(|name| {
                faults.broken.remove(&name);
                faults.down.remove(&name);
                faults.mute.remove(&name);
                faults.deaf.remove(&name);
            }),
            "down" => faults.down.extend(named()),
            "mute" => faults.mute.extend(named()),
            "deaf" => faults.deaf.extend(named()),
            "gateway" => {
                faults.gateway_stuck = rest[0] == "stuck";
                faults.gateway_mute = rest[0] == "mute";
            }
            "clock" => {
                let (sign, span) = rest[0].split_at(1);
                let jump_ms = span_ms(span) * if sign == "-" { -1 } else { 1 };
                self.cluster.now_ms += jump_ms;
                self.start_ms += jump_ms;
            }
            "run" => {
                let end_ms = self.cluster.now_ms + span_ms(rest[0]);
                while self.cluster.now_ms < end_ms {
                    self.second();
                }
                self.show_message();
            }
            "until" => self.until(line.strip_prefix("until ").unwrap(), number),
            "world" => self.show_world(true),
            _ => panic!("line {number}: unknown command {verb}"),
        }
    }

    fn set_spec(&mut self, words: &[&str]) {
        let (mut steps, mut preview, mut auto, mut delay_ms) = (Vec::new(), None, false, 30_000);
        for word in words.iter().skip(1) {
            match word.split_once('=').unwrap_or((word, "")) {
                ("replicas", number) => self.spec.replicas = number.parse().unwrap(),
                ("traffic", "service") => self.spec.traffic = Traffic::Service,
                ("traffic", "gateway") => self.spec.traffic = Traffic::Gateway,
                ("steps", list) => {
                    steps = list
                        .split(',')
                        .filter(|step| !step.is_empty())
                        .map(step)
                        .collect()
                }
                ("sessions", "none") => self.spec.sessions = None,
                ("sessions", drain) => {
                    let (rate, deadline) = drain.split_once("/s,").unwrap();
                    let (rate_per_second, deadline_ms) = (rate.parse().unwrap(), span_ms(deadline));
                    self.spec.sessions = Some(Drain {
                        rate_per_second,
                        deadline_ms,
                    });
                }
                ("deadline", span) => self.spec.progress_deadline_ms = span_ms(span),
                ("preview", number) => preview = Some(number.parse().unwrap()),
                ("auto", "") => auto = true,
                ("delay", span) => delay_ms = span_ms(span),
                _ => panic!("unknown in spec: {word}"),
            }
        }
        self.spec.strategy = match words[0] {
            "canary" => Strategy::Canary { steps },
            "bluegreen" => Strategy::BlueGreen {
                preview_replicas: preview,
                auto_promote: auto,
                scale_down_delay_ms: delay_ms,
            },
            other => panic!("a strategy is canary or bluegreen: {other}"),
        };
    }

    /// `until WORDS`: until a note or a message has these words, or the phase has this name.
    fn until(&mut self, words: &str, number: usize) {
        self.hit = Some(words.to_owned());
        self.hit_seen = false;
        let end_ms = self.cluster.now_ms + PATIENCE_S * 1_000;
        while !self.hit_seen {
            assert!(
                self.cluster.now_ms < end_ms,
                "line {number}: never `{words}`; last message: {}\n{}",
                self.message,
                self.out
            );
            self.second();
        }
        self.hit = None;
        self.show_message();
    }

    fn second(&mut self) {
        self.look();
        let world = self.world.clone();
        self.cluster.second(&self.spec, &self.state, &world);
    }

    /// All the edges that can be taken now, each one persisted and its world checked.
    fn look(&mut self) {
        for _ in 0..EDGES_AT_ONCE {
            let seen = self.cluster.observe();
            let step = advance(&self.spec, &self.state, &seen, self.cluster.now());
            let world = desired(&self.spec, &step.state);
            let mut broken = invariants::check(&self.spec, &step.state, &world);
            broken.extend(invariants::check_edge(&self.spec, &self.state, &step.state));
            assert!(
                broken.is_empty(),
                "{broken:?}\n{:?}\n{world:?}\n{}",
                step.state,
                self.out
            );
            let held = step.state == self.state;
            assert_eq!(
                held,
                step.notes.is_empty(),
                "an edge has a note, and only an edge has"
            );
            self.world = world;
            self.state = step.state;
            self.message.clone_from(&step.message);
            if let Some(words) = &self.hit {
                let said = step
                    .notes
                    .iter()
                    .any(|note| note.text.contains(words) || note.reason == words);
                let phase = phase_name(&self.state.phase);
                self.hit_seen |= said || step.message.contains(words.as_str()) || phase == *words;
            }
            if held {
                self.check_wake(step.wake);
                return;
            }
            for note in &step.notes {
                let mark = if note.warning { "!" } else { "" };
                let place = self.place();
                let time = self.time();
                writeln!(
                    self.out,
                    "{time:>7} {place:<26} {mark}{}: {}",
                    note.reason, note.text
                )
                .unwrap();
            }
            self.show_world(false);
        }
        panic!("{EDGES_AT_ONCE} edges at one time\n{}", self.out);
    }

    /// Session counts, routes and clocks make no events: who waits for them must ask to look again.
    fn check_wake(&self, wake: Option<Millis>) {
        let now = self.cluster.now();
        let waits = self.state.paused_since.is_none()
            && (!self.state.retired.is_empty()
                || match self.state.phase {
                    Phase::Promoting { .. } | Phase::Aborting { .. } => true,
                    Phase::Stepping { .. } => !self.message.contains("open pause"),
                    _ => false,
                });
        assert!(!waits || wake.is_some(), "nobody looks again: {}", self.message);
        assert!(
            wake.is_none_or(|wake| wake > now),
            "a hold that asks for a look at once: {}",
            self.message
        );
    }

    fn time(&self) -> String {
        let seconds = (self.cluster.now_ms - self.start_ms) / 1_000;
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }

    fn place(&self) -> String {
        let stage = |stage: &Stage| match stage {
            Stage::Scaling => "scaling",
            Stage::Routing => "routing",
            Stage::Moving => "moving",
            Stage::Recovering => "recovering",
        };
        let name = phase_name(&self.state.phase);
        let paused = if self.state.paused_since.is_some() {
            " (paused)"
        } else {
            ""
        };
        let place = match &self.state.phase {
            Phase::Stepping { step, stage: at, .. } => format!("{name} {step} {}", stage(at)),
            Phase::Promoting { stage: at, .. } => format!("{name} {}", stage(at)),
            Phase::Previewing { ready: true, .. } => format!("{name} ready"),
            Phase::Aborting { weight, .. } => format!("{name} {weight} %"),
            _ => name.to_owned(),
        };
        format!("{place}{paused}")
    }

    fn live(&self) -> String {
        let live = self
            .cluster
            .workloads
            .iter()
            .filter(|(_, workload)| workload.sessions > 0);
        let live: Vec<_> = live
            .map(|(revision, workload)| format!("{revision}={}", workload.sessions))
            .collect();
        format!(
            "live {}",
            if live.is_empty() {
                "none".to_owned()
            } else {
                live.join(" ")
            }
        )
    }

    fn show_message(&mut self) {
        let (time, live, message) = (self.time(), self.live(), self.message.clone());
        writeln!(self.out, "{time:>7} ... {message} [{live}]").unwrap();
    }

    fn show_world(&mut self, always: bool) {
        let world = &self.world;
        let map = |map: Vec<String>| {
            if map.is_empty() {
                "none".to_owned()
            } else {
                map.join(" ")
            }
        };
        let name = |revision: &Option<Revision>, none: &str| {
            revision
                .as_ref()
                .map_or_else(|| none.to_owned(), |revision| revision.0.clone())
        };
        let mut text = format!(
            "pods {} | weight {} %: {} | own rule {} | service {}",
            map(world
                .workloads
                .iter()
                .map(|(revision, size)| format!("{revision}={size}"))
                .collect()),
            weight(&self.spec, &self.state),
            map(world
                .weights
                .iter()
                .map(|(revision, weight)| format!("{revision}={weight}"))
                .collect()),
            map(world.pinned.iter().map(|revision| revision.0.clone()).collect()),
            name(&world.selected, "all"),
        );
        if world.preview.is_some() {
            write!(text, " | preview {}", name(&world.preview, "none")).unwrap();
        }
        if !self.state.retired.is_empty() {
            let retired = self
                .state
                .retired
                .iter()
                .map(|retired| retired.revision.0.clone())
                .collect();
            write!(text, " | on its way out {}", map(retired)).unwrap();
        }
        if !world.moves.is_empty() {
            let moves = world.moves.iter();
            let moves =
                moves.map(|order| format!("{}->{} keep {} %", order.from, order.to, order.keep_percent));
            write!(text, " | move {}", moves.collect::<Vec<_>>().join(", ")).unwrap();
        }
        if always || text != self.shown {
            writeln!(self.out, "        {text}").unwrap();
            self.shown = text;
        }
    }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Initializing { .. } => "Initializing",
        Phase::Stable => "Stable",
        Phase::Stepping { .. } => "Stepping",
        Phase::Previewing { .. } => "Previewing",
        Phase::Promoting { .. } => "Promoting",
        Phase::Aborting { .. } => "Aborting",
        Phase::Aborted { .. } => "Aborted",
    }
}
