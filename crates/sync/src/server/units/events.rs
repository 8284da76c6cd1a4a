//! Events for everybody who has a session at any replica.
//!
//! An event has an origin: the slot of the replica at which it began, and its position there. The newest are kept, so a
//! session that moves to another replica gets what it missed in between, and a replica that was cut off gets what the
//! others told meanwhile. What is older than what is kept is missed, and the session is told so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pointsman_crdt::Replica;
use pointsman_wire::{Origin, Packet};
use tokio::sync::broadcast;

use crate::points::Points;
use crate::server::hub::lock;

/// Events that a slow session may be behind; it is told how many it missed beyond that.
const BEHIND_MAX: usize = 1_024;
/// Bytes of one event at most: times [`BEHIND_MAX`] they are held in memory.
pub(in crate::server) const EVENT_BYTES_MAX: usize = 32 * 1024;
/// Events that are kept for who comes back.
const KEPT_MAX: usize = 4_096;
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bits of a position that count; those above are the incarnation. Together they are exact in any language's numbers.
const COUNT_BITS: u32 = 28;

/// One event.
#[derive(Debug)]
pub(in crate::server) struct Published {
    pub(in crate::server) origin: Option<Origin>,
    pub(in crate::server) name: String,
    /// JSON.
    pub(in crate::server) payload: Bytes,
}

impl Published {
    fn packet(&self) -> Packet {
        Packet::Event {
            sequence: 1,
            name: self.name.clone(),
            origin: self.origin,
            payload: self.payload.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    events: VecDeque<Arc<Published>>,
    bytes: usize,
    /// Events of a slot up to this position are no longer kept.
    forgotten: Points,
    published: u64,
}

/// Every session listens; one copy of an event serves all.
#[derive(Clone, Debug)]
pub(in crate::server) struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Held while an event goes out, so that everybody hears events of one origin in their order.
    log: Mutex<Log>,
    points: Mutex<Points>,
    sender: broadcast::Sender<Arc<Published>>,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Inner {
            log: Mutex::default(),
            points: Mutex::default(),
            sender: broadcast::Sender::new(BEHIND_MAX),
        }))
    }
}

/// What somebody who comes back listens to.
pub(in crate::server) struct Resumed {
    pub(in crate::server) events: broadcast::Receiver<Arc<Published>>,
    /// What was missed and is still kept.
    pub(in crate::server) backlog: Vec<Arc<Published>>,
    /// More was missed than is kept.
    pub(in crate::server) missed: bool,
    /// Up to where `events` begin.
    pub(in crate::server) points: Points,
}

impl Events {
    /// Tells everybody here, and the other replicas through `tell`. Before this replica is a member only those here.
    pub(in crate::server) fn publish(
        &self,
        me: Option<Replica>,
        name: &str,
        payload: Bytes,
        tell: impl FnOnce(&Packet),
    ) {
        let mut log = lock(&self.0.log);
        log.published += 1;
        let origin = me.map(|me| Origin {
            slot: me.slot(),
            position: (u64::from(me.incarnation()) << COUNT_BITS) + log.published,
        });
        let event = Arc::new(Published {
            origin,
            name: name.to_owned(),
            payload,
        });
        if origin.is_some() {
            tell(&event.packet());
        }
        self.pass(&mut log, event);
    }

    /// Another replica tells of an event; one that was heard before is passed over.
    pub(in crate::server) fn heard(&self, origin: Origin, name: String, payload: Bytes) {
        let mut log = lock(&self.0.log);
        let known = lock(&self.0.points).get(&origin.slot).copied().unwrap_or(0);
        if origin.position > known {
            let origin = Some(origin);
            self.pass(
                &mut log,
                Arc::new(Published {
                    origin,
                    name,
                    payload,
                }),
            );
        }
    }

    fn pass(&self, log: &mut Log, event: Arc<Published>) {
        if let Some(origin) = event.origin {
            lock(&self.0.points).insert(origin.slot, origin.position);
            log.bytes += event.payload.len();
            log.events.push_back(Arc::clone(&event));
            while log.events.len() > KEPT_MAX || log.bytes > KEPT_BYTES_MAX {
                let Some(oldest) = log.events.pop_front() else {
                    break;
                };
                log.bytes = log.bytes.saturating_sub(oldest.payload.len());
                if let Some(origin) = oldest.origin {
                    log.forgotten.insert(origin.slot, origin.position);
                }
            }
        }
        // An error says that nobody listens.
        let _ = self.0.sender.send(event);
    }

    /// Up to where events were heard here.
    pub(in crate::server) fn points(&self) -> Points {
        lock(&self.0.points).clone()
    }

    /// Gives a replica that has just connected what it missed of the events that began here, and everything from then on:
    /// `ready` is called before any other event goes out.
    pub(in crate::server) fn catch_up(
        &self,
        me: Option<Replica>,
        points: &Points,
        send: impl Fn(&Packet),
        ready: impl FnOnce(),
    ) {
        let log = lock(&self.0.log);
        if let Some(me) = me {
            let known = points.get(&me.slot()).copied().unwrap_or(0);
            for event in &log.events {
                if event
                    .origin
                    .is_some_and(|origin| origin.slot == me.slot() && origin.position > known)
                {
                    send(&event.packet());
                }
            }
        }
        ready();
    }

    /// Listens from now on; for who shows up to where it has heard, with what it missed.
    pub(in crate::server) fn resume(&self, heard: Option<&Points>) -> Resumed {
        let log = lock(&self.0.log);
        let events = self.0.sender.subscribe();
        let points = self.points();
        let Some(heard) = heard else {
            return Resumed {
                events,
                backlog: Vec::new(),
                missed: false,
                points,
            };
        };
        let known = |slot: &u16| heard.get(slot).copied().unwrap_or(0);
        let new = |origin: Origin| origin.position > known(&origin.slot);
        let backlog = log.events.iter().filter(|event| event.origin.is_some_and(new));
        Resumed {
            events,
            backlog: backlog.cloned().collect(),
            missed: log
                .forgotten
                .iter()
                .any(|(slot, position)| *position > known(slot)),
            points,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::{parse, write};

    fn replica(slot: u16) -> Replica {
        Replica::new(slot, 3).unwrap()
    }

    fn say(events: &Events, slot: u16, text: &'static str) -> Vec<Packet> {
        let told = Mutex::new(Vec::new());
        events.publish(
            Some(replica(slot)),
            "a",
            Bytes::from_static(text.as_bytes()),
            |packet| {
                lock(&told).push(packet.clone());
            },
        );
        told.into_inner().unwrap()
    }

    fn hear(events: &Events, packets: &[Packet]) {
        for packet in packets {
            if let Packet::Event {
                name,
                origin: Some(origin),
                payload,
                ..
            } = packet.clone()
            {
                events.heard(origin, name, payload);
            }
        }
    }

    fn texts(events: &[Arc<Published>]) -> Vec<String> {
        events
            .iter()
            .map(|event| String::from_utf8(event.payload.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_session_that_moves_gets_what_it_missed_and_nothing_twice() {
        let (old, new) = (Events::default(), Events::default());
        hear(&new, &say(&old, 0, "1"));
        let heard = old.points();
        for text in ["2", "3"] {
            let packets = say(&old, 0, text);
            hear(&new, &packets);
            // Told twice, as after a connection that broke.
            hear(&new, &packets);
        }
        hear(&old, &say(&new, 1, "4"));
        let resumed = new.resume(Some(&parse(&write(&heard))));
        assert_eq!(texts(&resumed.backlog), ["2", "3", "4"]);
        assert!(!resumed.missed);
        assert_eq!(
            texts(&new.resume(Some(&new.points())).backlog),
            Vec::<String>::new()
        );
        assert_eq!(texts(&new.resume(None).backlog), Vec::<String>::new());
    }

    #[test]
    fn a_replica_that_was_cut_off_is_caught_up_before_it_hears_what_is_new() {
        let (here, there) = (Events::default(), Events::default());
        hear(&there, &say(&here, 0, "1"));
        say(&here, 0, "2");
        let sent = Mutex::new(Vec::new());
        here.catch_up(
            Some(replica(0)),
            &there.points(),
            |packet| lock(&sent).push(packet.clone()),
            || {},
        );
        hear(&there, &sent.into_inner().unwrap());
        assert_eq!(there.points(), here.points());
        let all = there.resume(Some(&Points::new()));
        assert_eq!(texts(&all.backlog), ["1", "2"]);
    }

    #[test]
    fn who_was_away_for_too_long_is_told() {
        let events = Events::default();
        say(&events, 0, "first");
        let heard = events.points();
        for _ in 0..KEPT_MAX {
            say(&events, 0, "more");
        }
        assert!(!events.resume(Some(&heard)).missed);
        say(&events, 0, "one more");
        assert!(events.resume(Some(&heard)).missed);
    }
}
