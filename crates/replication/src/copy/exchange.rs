//! What copies of a document say to each other.

use std::sync::Arc;

use pointsman_crdt::{Digest, Map, Replica, State};

use super::{DocumentCopy, Effect, Entrusted, SENT_MAX};
use crate::message::Message;
use crate::parts::parts;

impl DocumentCopy {
    /// A member says something. `now_ms` bounds the stamps that are taken.
    pub fn receive(&mut self, from: Replica, message: Message, now_ms: u64) {
        if !self.view.has(from) || from == self.settings.me {
            return;
        }
        if !message.opens() {
            self.neighbour(from).silent_ticks = 0;
        }
        match message {
            Message::Delta { id, state, hold } => self.delta(from, id, &state, hold, now_ms),
            Message::Part { state } => {
                // A copy that leaves learns nothing that it has not been entrusted with, or it would never be done.
                if !self.leaves() {
                    self.learn(from, &state, now_ms);
                }
            }
            Message::Held { id, stored } => {
                if let Some(dots) = self.neighbour(from).sent.remove(&id)
                    && stored
                {
                    self.neighbour(from).held.join(&dots);
                }
            }
            Message::Refused { id } => {
                let neighbour = self.neighbour(from);
                neighbour.sent.remove(&id);
                neighbour.behind = true;
            }
            Message::Digest {
                id,
                digest,
                stored,
                fill,
                follow,
            } => {
                let neighbour = self.neighbour(from);
                neighbour.follows |= follow;
                neighbour.claims = stored;
                if stored {
                    neighbour.held.join(&digest.context);
                }
                self.answer(from, id, fill.then_some(&digest));
            }
            Message::Filled { id, digest, stored } => self.filled(from, id, &digest, stored),
            Message::Leave => {
                let neighbour = self.neighbour(from);
                neighbour.follows = false;
                neighbour.claims = false;
            }
        }
        self.settle();
        self.look_leave();
    }

    /// A delta that somebody relies on. Who takes this copy for a holder while it is none sees other members than it
    /// does: the copy passes the delta on, and says that it is held once the holders do.
    fn delta(&mut self, from: Replica, id: u64, delta: &State<Map>, hold: bool, now_ms: u64) {
        if self.leaves() && !hold {
            self.send(from, Message::Leave);
            self.send(from, Message::Held { id, stored: false });
            return;
        }
        if !self.learn(from, delta, now_ms) {
            self.send_stored(from, Message::Refused { id });
            return;
        }
        if self.holds() || !hold {
            let stored = self.holds();
            self.send_stored(from, Message::Held { id, stored });
            return;
        }
        let dots = delta.context.clone();
        if self.entrusted.len() >= SENT_MAX {
            self.send(from, Message::Refused { id });
        } else {
            self.entrusted.push(Entrusted { from, id, dots });
            self.contact();
            // A sender that is a holder does not say when it has stored its own write; so it is asked.
            if self.holders.contains(&from) && self.neighbour(from).asked.is_none() {
                self.ask(from);
            }
        }
    }

    /// Answers for what was entrusted, once enough holders have it.
    pub(super) fn settle_entrusted(&mut self) {
        if self.entrusted.is_empty() {
            return;
        }
        for entrusted in std::mem::take(&mut self.entrusted) {
            if self.is_held(&entrusted.dots) {
                let message = Message::Held {
                    id: entrusted.id,
                    stored: true,
                };
                self.send(entrusted.from, message);
            } else if self.view.has(entrusted.from) {
                self.entrusted.push(entrusted);
            }
        }
    }

    /// Joins what a member sent; `false` when it may not be joined now.
    fn learn(&mut self, from: Replica, delta: &State<Map>, now_ms: u64) -> bool {
        let grown = delta.difference(self.document.state());
        if grown.is_bottom() {
            return true;
        }
        if let Some(stamp) = grown.newest_stamp()
            && self.clock.observe(stamp, now_ms).is_err()
        {
            return false;
        }
        if self.document.state_mut().join(&grown).is_err() {
            return false;
        }
        self.changed(&Arc::new(grown), Some(from));
        true
    }

    fn answer(&mut self, from: Replica, id: u64, fill: Option<&Digest>) {
        let missing = fill.map(|digest| self.document.state().missing(digest));
        if let Some(missing) = missing.filter(|missing| !missing.is_bottom()) {
            for part in parts(missing, self.settings.part_bytes_max) {
                let state = Arc::new(part);
                self.send(from, Message::Part { state });
            }
        }
        let digest = self.document.state().digest();
        // Who takes this copy for a holder while it is none sees other members; what the holders here have is kept.
        let stored = self.holds() || self.is_held(&digest.context);
        self.send_stored(from, Message::Filled { id, digest, stored });
    }

    fn filled(&mut self, from: Replica, id: u64, digest: &Digest, stored: bool) {
        let neighbour = self.neighbour(from);
        let Some((_, fill)) = neighbour.asked.filter(|(asked, _)| *asked == id) else {
            return;
        };
        neighbour.asked = None;
        neighbour.met = true;
        neighbour.filled |= fill;
        neighbour.claims = stored;
        neighbour.behind = false;
        if stored {
            neighbour.held.join(&digest.context);
        }
        self.opening.remove(&from);
        self.reported(from, &digest.context, stored);
        if self.holders.contains(&from) {
            let missing = self.document.state().missing(digest);
            if !missing.is_bottom() {
                for part in parts(missing, self.settings.part_bytes_max) {
                    self.send_delta(from, &Arc::new(part));
                }
            }
        }
        self.look_ready();
    }

    /// Exchanges digests with every member that matters and was not met.
    pub(super) fn contact(&mut self) {
        let source = self.source().filter(|_| self.used && !self.holds());
        self.unfollow(source);
        for other in self.others().collect::<Vec<_>>() {
            let matters = self.opening.contains(&other) || self.holders.contains(&other);
            if !matters || (self.document.state().is_bottom() && !self.used && !self.opening.contains(&other))
            {
                continue;
            }
            let neighbour = self.neighbour(other);
            let follow = source == Some(other) && !neighbour.followed;
            if neighbour.asked.is_none() && (!neighbour.met || follow) {
                self.ask(other);
            }
        }
    }

    /// Tells whoever we followed, but for one, that we no longer do.
    pub(super) fn unfollow(&mut self, but: Option<Replica>) {
        for (to, neighbour) in &mut self.neighbours {
            if Some(*to) != but && std::mem::take(&mut neighbour.followed) {
                let message = Message::Leave;
                self.effects.push(Effect::Send { to: *to, message });
            }
        }
    }

    /// Sends a digest. A digest speaks of what is stored, so it waits for that.
    pub(super) fn ask(&mut self, of: Replica) {
        let id = self.next_id();
        let follow = self.used && !self.holds() && self.source() == Some(of);
        let fill = !self.leaves();
        let neighbour = self.neighbour(of);
        neighbour.asked = Some((id, fill));
        neighbour.followed |= follow;
        let (digest, stored) = (self.document.state().digest(), self.holds());
        let message = Message::Digest {
            id,
            digest,
            stored,
            fill,
            follow,
        };
        self.send_stored(of, message);
    }

    /// Sends a change to all that are to hear of it. A member that was not met yet gets it with the exchange. Holders
    /// hear of every change from whoever made it, so what a member sent goes on to followers only.
    pub(super) fn spread(&mut self, delta: &Arc<State<Map>>, from: Option<Replica>) {
        let passes_on = !self.holds();
        let to: Vec<Replica> = self
            .neighbours
            .iter()
            .filter(|(replica, neighbour)| {
                let mine = from.is_none() || passes_on;
                let holds = self.holders.contains(*replica);
                // One that takes itself for a holder and is none here sees other members: only this copy may tell it.
                let hears = neighbour.follows
                    || if holds {
                        mine && neighbour.met
                    } else {
                        neighbour.claims
                    };
                Some(**replica) != from && hears
            })
            .map(|(replica, _)| *replica)
            .collect();
        for to in to {
            self.send_delta(to, delta);
        }
    }

    fn send_delta(&mut self, to: Replica, delta: &Arc<State<Map>>) {
        let id = self.next_id();
        let neighbour = self.neighbour(to);
        if neighbour.sent.len() >= SENT_MAX {
            neighbour.behind = true;
            return;
        }
        neighbour.sent.insert(id, delta.context.clone());
        let (state, hold) = (Arc::clone(delta), self.holders.contains(&to));
        self.send(to, Message::Delta { id, state, hold });
    }

    pub(super) fn neighbour(&mut self, replica: Replica) -> &mut super::Neighbour {
        self.neighbours.entry(replica).or_default()
    }

    fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}
