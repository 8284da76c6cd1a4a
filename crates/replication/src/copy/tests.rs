use pointsman_crdt::{Document, MapOperation, Operation, SetOperation, Value};

use super::*;
use crate::view::Member;
use crate::view::tests::{replica, view};

fn settings(me: u16) -> Settings {
    Settings {
        name: "a".into(),
        me: replica(me),
        schema: Schema::default(),
        copies: Copies::Everywhere,
        part_bytes_max: 10_000,
        skew_max_ms: 1_000,
        last_sequence: 0,
    }
}

fn add(text: &str) -> MapOperation {
    MapOperation::Update {
        name: "set".into(),
        operation: Box::new(Operation::OrSet(SetOperation::Add(Value::text(text)))),
    }
}

/// Two copies that know each other, and what is between them.
struct Pair {
    copies: [DocumentCopy; 2],
    done: Vec<u64>,
    storing: [Option<u64>; 2],
    /// Storage does nothing by itself.
    slow: bool,
}

impl Pair {
    fn open(absent: usize) -> Self {
        let view = view(&[0, 1]).with_absent(absent);
        let open = |me| DocumentCopy::open(settings(me), None, view.clone(), true);
        Self {
            copies: [open(0), open(1)],
            done: Vec::new(),
            storing: [None, None],
            slow: false,
        }
    }

    /// Does all there is to do; messages to `cut` get lost.
    fn run(&mut self, cut: Option<usize>) {
        loop {
            let mut idle = true;
            for here in [0, 1] {
                for effect in self.copies[here].take_effects() {
                    idle = false;
                    match effect {
                        Effect::Send { message, .. } => {
                            let there = 1 - here;
                            if cut != Some(there) {
                                self.copies[there].receive(replica(here as u16), message, 0);
                            }
                        }
                        Effect::Append { version, .. } | Effect::Snapshot { version, .. } => {
                            if self.slow {
                                self.storing[here] = Some(version);
                            } else {
                                self.copies[here].stored(version);
                            }
                        }
                        Effect::Done(ticket) => self.done.push(ticket),
                        _ => {}
                    }
                }
            }
            if idle {
                return;
            }
        }
    }
}

#[test]
fn a_write_is_acknowledged_once_both_have_stored_it() {
    let mut pair = Pair::open(0);
    pair.run(None);
    assert!(pair.copies[0].is_ready() && pair.copies[1].is_ready());
    pair.slow = true;
    pair.copies[0].operate(7, &add("x")).unwrap();
    pair.run(None);
    let [Some(first), Some(second)] = pair.storing else {
        panic!("{:?}", pair.storing)
    };
    assert!(pair.done.is_empty());
    pair.copies[0].stored(first);
    pair.run(None);
    assert!(pair.done.is_empty());
    pair.copies[1].stored(second);
    pair.run(None);
    assert_eq!(pair.done, [7]);
    assert_eq!(pair.copies[0].state(), pair.copies[1].state());
    // The other way round: stored there first.
    pair.copies[0].operate(8, &add("y")).unwrap();
    pair.run(None);
    let [Some(first), Some(second)] = pair.storing else {
        panic!("{:?}", pair.storing)
    };
    pair.copies[1].stored(second);
    pair.run(None);
    assert_eq!(pair.done, [7]);
    pair.copies[0].stored(first);
    assert_eq!(pair.copies[0].take_effects(), [Effect::Done(8)]);
}

/// What a gone replica made is closed once everybody, asked twice, has no more of it.
#[test]
fn the_range_of_a_gone_replica_is_closed_after_two_rounds() {
    let gone = Replica::new(7, 1).unwrap();
    let mut left = State::<Map>::new();
    let known = left.update(gone, &add("x")).unwrap().unwrap();
    let hidden = left.update(gone, &add("y")).unwrap().unwrap();
    let settings = Settings {
        copies: Copies::Placed(1),
        ..settings(0)
    };
    let members = view(&[0, 1]);
    let alone = View::new(members.members().iter().copied(), [gone]);
    let mut copy = DocumentCopy::open(settings, None, alone, true);
    assert!(copy.holds());
    let message = |state: &State<Map>| Message::Delta {
        id: 1,
        state: Arc::new(state.clone()),
        hold: true,
    };
    let round = |copy: &mut DocumentCopy, theirs: &State<Map>| {
        copy.tick();
        for effect in copy.take_effects() {
            match effect {
                Effect::Send {
                    message: Message::Digest { id, .. },
                    ..
                } => {
                    let (digest, stored) = (theirs.digest(), false);
                    copy.receive(replica(1), Message::Filled { id, digest, stored }, 0);
                }
                Effect::Append { version, .. } | Effect::Snapshot { version, .. } => copy.stored(version),
                _ => {}
            }
        }
        copy.state().context.is_retired(gone)
    };
    round(&mut copy, &State::new());
    copy.receive(replica(1), message(&known), 0);
    // A follower has something of it that is not here.
    for _ in 0..5 {
        assert!(!round(&mut copy, &left));
    }
    copy.receive(replica(1), message(&hidden), 0);
    let rounds = (0..6).take_while(|_| !round(&mut copy, &left)).count();
    assert!((2..6).contains(&rounds), "{rounds}");
    assert_eq!(copy.state().store, left.store);
}

#[test]
fn what_a_connection_loses_is_made_good() {
    let mut pair = Pair::open(0);
    pair.run(None);
    pair.copies[0].operate(7, &add("x")).unwrap();
    pair.run(Some(1));
    assert!(pair.done.is_empty());
    pair.copies[0].lost(replica(1));
    pair.copies[1].lost(replica(0));
    pair.run(None);
    assert_eq!(pair.done, [7]);
    assert_eq!(pair.copies[0].state(), pair.copies[1].state());
}

#[test]
fn who_is_left_alone_acknowledges_alone_once_nobody_is_missing() {
    let mut pair = Pair::open(0);
    pair.run(None);
    pair.copies[0].operate(7, &add("x")).unwrap();
    pair.run(Some(1));
    pair.copies[0].set_view(view(&[0]).with_absent(1));
    pair.run(Some(1));
    assert!(pair.done.is_empty());
    pair.copies[0].set_view(view(&[0]));
    pair.run(Some(1));
    assert_eq!(pair.done, [7]);
}

#[test]
fn a_client_may_only_name_its_own_dots_and_known_ones() {
    let mut copy = DocumentCopy::open(settings(0), None, view(&[0]), true);
    let writer = Replica::new(9, 3).unwrap();
    let mut client = State::<Map>::new();
    let first = client.update(writer, &add("x")).unwrap().unwrap();
    let second = client.update(writer, &add("y")).unwrap().unwrap();
    let foreign = Replica::new(9, 4).unwrap();
    for other in [foreign, Replica::new(8, 3).unwrap()] {
        let refused = copy.join_client(1, other, first.clone(), 0);
        assert_eq!(refused, Err(WriteError::Foreign));
    }
    // It may come with a gap; and what covers a dot that is not known here is refused.
    copy.join_client(1, writer, second, 0).unwrap();
    let mut other = client.clone();
    let removal = MapOperation::Remove { name: "set".into() };
    let covers = other.update(foreign, &removal).unwrap().unwrap();
    assert_eq!(
        copy.join_client(2, foreign, covers.clone(), 0),
        Err(WriteError::Foreign)
    );
    copy.join_client(3, writer, first, 0).unwrap();
    copy.join_client(4, foreign, covers, 0).unwrap();
    assert!(copy.state().store.is_empty());
}

#[test]
fn a_stamp_from_the_future_is_refused_and_changes_nothing() {
    let mut copy = DocumentCopy::open(settings(0), None, view(&[0]), true);
    let writer = Replica::new(9, 3).unwrap();
    let mut client = State::<Map>::new();
    let assign = MapOperation::Update {
        name: "title".into(),
        operation: Box::new(Operation::LwwRegister((
            pointsman_crdt::Stamp::at(5_000),
            Value::text("x"),
        ))),
    };
    let delta = client.update(writer, &assign).unwrap().unwrap();
    let refused = copy.join_client(1, writer, delta.clone(), 3_999);
    assert_eq!(refused, Err(WriteError::Skew { ahead_ms: 1_001 }));
    assert!(copy.state().is_bottom());
    copy.join_client(1, writer, delta, 4_000).unwrap();
}

#[test]
fn a_copy_that_is_opened_again_makes_new_dots() {
    let open = |last_sequence| {
        let settings = Settings {
            last_sequence,
            ..settings(0)
        };
        DocumentCopy::open(settings, None, view(&[0]), true)
    };
    let mut copy = open(0);
    let first = copy.operate(1, &add("x")).unwrap().unwrap();
    assert_eq!(copy.last_sequence(), 1);
    let mut again = open(copy.last_sequence());
    let second = again.operate(1, &add("y")).unwrap().unwrap();
    assert!(first.context.intersection(&second.context).is_empty());
    assert_eq!(again.last_sequence(), 3);
    // Nothing is marked when nothing is made.
    let mut again = open(9);
    let removal = MapOperation::Remove { name: "other".into() };
    assert!(again.operate(2, &removal).is_err());
    assert!(again.state().is_bottom());
}

/// A share of a counter goes on from where it was, so the copy has to have it.
#[test]
fn a_copy_that_is_opened_again_writes_once_it_has_back_what_it_wrote() {
    let increment = MapOperation::Update {
        name: "count".into(),
        operation: Box::new(Operation::GCounter(1)),
    };
    let mut pair = Pair::open(0);
    pair.run(None);
    pair.copies[0].operate(1, &increment).unwrap();
    pair.run(None);
    let settings = Settings {
        last_sequence: pair.copies[0].last_sequence(),
        ..settings(0)
    };
    pair.copies[1].lost(replica(0));
    pair.copies[0] = DocumentCopy::open(settings, None, view(&[0, 1]), true);
    pair.copies[0].open_anyway();
    assert_eq!(pair.copies[0].operate(2, &increment), Err(WriteError::NotBack));
    pair.run(None);
    pair.copies[0].operate(3, &increment).unwrap();
    pair.run(None);
    let schema = Schema::new([("count", "g-counter")]).unwrap();
    let document = Document::with_state(schema, pair.copies[1].state().clone());
    assert_eq!(document.to_json()["count"], 2);
}

#[test]
fn who_is_no_holder_passes_on_what_it_is_entrusted_with_and_answers_when_it_is_held() {
    let settings = Settings {
        copies: Copies::Placed(1),
        ..settings(0)
    };
    // Of these two the document is 1's; the sender sees 0 alone.
    let holder = crate::holders("a", Copies::Placed(1), &view(&[0, 1]))[0].replica;
    let (me, from) = (replica(1 - holder.slot()), replica(7));
    let members = view(&[0, 1, 7]);
    let mut copy = DocumentCopy::open(Settings { me, ..settings }, None, members, false);
    let holder = copy.holders[0];
    let mut writer = State::<Map>::new();
    let state = Arc::new(writer.update(from, &add("x")).unwrap().unwrap());
    copy.receive(
        from,
        Message::Delta {
            id: 5,
            state: state.clone(),
            hold: true,
        },
        0,
    );
    let asked = copy.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Send {
            to,
            message: Message::Digest { id, .. },
        } if to == holder => Some(id),
        Effect::Send {
            message: Message::Held { .. },
            ..
        } => panic!("nobody holds it"),
        _ => None,
    });
    let (id, digest) = (asked.unwrap(), pointsman_crdt::Digest::default());
    copy.receive(
        holder,
        Message::Filled {
            id,
            digest,
            stored: true,
        },
        0,
    );
    let sent = copy.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Send {
            to,
            message: Message::Delta { id, .. },
        } if to == holder => Some(id),
        _ => None,
    });
    copy.receive(
        holder,
        Message::Held {
            id: sent.unwrap(),
            stored: true,
        },
        0,
    );
    let effects = copy.take_effects();
    let held = Message::Held { id: 5, stored: true };
    assert!(
        effects.contains(&Effect::Send {
            to: from,
            message: held
        }),
        "{effects:?}"
    );
    assert!(copy.is_closed());
}

/// A holder is asked for a document before there is one; then it is given it, and has to keep it and pass it on.
#[test]
fn a_copy_that_was_empty_and_closed_is_open_once_it_is_given_something() {
    let settings = Settings {
        copies: Copies::Placed(2),
        ..settings(0)
    };
    let mut copy = DocumentCopy::open(settings, None, view(&[0, 1]), false);
    copy.open_anyway();
    copy.tick();
    assert!(copy.is_closed());
    let state = Arc::new(State::new().update(replica(1), &add("x")).unwrap().unwrap());
    let message = Message::Delta {
        id: 1,
        state,
        hold: true,
    };
    copy.receive(replica(1), message, 0);
    assert!(!copy.is_closed());
}

/// Generations of a slot leave one interval, not one each; but not while somebody is lost who may know more.
#[test]
fn the_numbers_between_two_generations_are_closed_with_the_earlier_one() {
    let (gone, next) = (Replica::new(7, 64).unwrap(), Replica::new(7, 128).unwrap());
    let state = Arc::new(State::new().update(gone, &add("x")).unwrap().unwrap());
    for lost in [0, 1] {
        let members = [replica(0), next].map(|replica| Member {
            replica,
            draining: false,
        });
        let view = View::new(members, [gone]).with_lost(lost);
        let settings = Settings {
            copies: Copies::Placed(1),
            ..settings(0)
        };
        let mut copy = DocumentCopy::open(settings, Some(State::clone(&state)), view, true);
        copy.open_anyway();
        let holds = copy.holds();
        for _ in 0..4 {
            copy.tick();
            for effect in copy.take_effects() {
                match effect {
                    Effect::Send {
                        message: Message::Digest { id, .. },
                        ..
                    } => {
                        let (digest, stored) = (state.digest(), false);
                        copy.receive(next, Message::Filled { id, digest, stored }, 0);
                    }
                    Effect::Append { version, .. } | Effect::Snapshot { version, .. } => copy.stored(version),
                    _ => {}
                }
            }
        }
        assert!(holds && copy.state().context.is_retired(gone));
        let before = Replica::new(7, 127).unwrap();
        assert_eq!(copy.state().context.is_retired(before), lost == 0);
    }
}
