//! Splits a delta into parts that fit into packets.

use pointsman_crdt::{Map, State};

/// Parts whose join is the state, each of at most `bytes_max` bytes unless one atom alone is larger. A state that fits
/// costs one encoding.
#[must_use]
pub fn parts(state: State<Map>, bytes_max: usize) -> Vec<State<Map>> {
    if state.encode().len() <= bytes_max {
        return vec![state];
    }
    let mut parts: Vec<State<Map>> = Vec::new();
    let mut room = 0_usize;
    for atom in state.decompose() {
        let bytes = atom.encode().len();
        // Joined atoms share names and contexts, so they take no more than one by one.
        let fits = bytes <= room && parts.last_mut().is_some_and(|part| part.join(&atom).is_ok());
        if fits {
            room -= bytes;
        } else {
            parts.push(atom);
            room = bytes_max.saturating_sub(bytes);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use pointsman_crdt::{MapOperation, Operation, Replica, SetOperation, Value};

    use super::*;

    #[test]
    fn parts_fit_and_their_join_is_the_whole() {
        let replica = Replica::new(3, 1).unwrap();
        let mut whole = State::<Map>::new();
        for number in 0..500 {
            let operation = MapOperation::Update {
                name: format!("set {}", number % 7).into(),
                operation: Box::new(Operation::OrSet(SetOperation::Add(Value::text(&format!(
                    "element {number}"
                ))))),
            };
            whole.update(replica, &operation).unwrap();
        }
        let split = parts(whole.clone(), 1_000);
        assert!(split.len() > 5, "{}", split.len());
        let mut joined = State::new();
        for part in split.iter().rev() {
            assert!(part.encode().len() <= 1_000, "{}", part.encode().len());
            joined.join(part).unwrap();
        }
        assert_eq!(joined, whole);
        assert_eq!(parts(whole.clone(), 1_000_000), [whole]);
    }
}
