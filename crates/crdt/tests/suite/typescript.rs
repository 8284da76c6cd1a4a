//! Scripts that the TypeScript client has written: operations, deltas, states and readings are the same here.

use pointsman_crdt::{Clock, Context, Document, Map, Reader, Replica, Schema, State};
use serde_json::Value as Json;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

struct Site {
    replica: Replica,
    document: Document,
    clock: Clock,
}

fn sites(schema: &Json) -> Vec<Site> {
    let schema = Schema::from_json(schema).unwrap();
    let site = |slot| Site {
        replica: Replica::new(slot, 1).unwrap(),
        document: Document::new(schema.clone()),
        clock: Clock::new(500),
    };
    [0, 7, 14].map(site).into_iter().collect()
}

/// Plays one line; `false` when both refuse it.
fn play(site: &mut Site, line: &Json) -> bool {
    if let Some(delta) = line.get("join") {
        let delta = State::<Map>::decode(&unhex(delta.as_str().unwrap())).unwrap();
        let joined = site.document.join(&delta).unwrap();
        let changed: Vec<String> = joined.changed.iter().map(ToString::to_string).collect();
        assert_eq!(Json::from(changed), line["changed"]);
        return true;
    }
    let (text, now_ms) = (line["operation"].to_string(), line["now_ms"].as_u64().unwrap());
    let applied = site
        .document
        .apply_json(site.replica, &text, &mut site.clock, now_ms);
    let Ok(delta) = applied else {
        assert!(line.get("error").is_some(), "{line}");
        return false;
    };
    assert_eq!(line.get("error"), None);
    assert_eq!(
        delta.map(|delta| hex(&delta.encode())).as_deref(),
        line["delta"].as_str()
    );
    true
}

#[test]
fn scripts_of_typescript_give_the_same_here() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/typescript/crdt.jsonl"
    );
    let (mut all, mut played) = (Vec::new(), 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        if let Some(schema) = line.get("schema") {
            all = sites(schema);
            continue;
        }
        let slot: u16 = line["replica"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let site = &mut all[usize::from(slot) / 7];
        if play(site, &line) {
            assert_eq!(
                hex(&site.document.state().encode()),
                line["state"].as_str().unwrap(),
                "{line}"
            );
            assert_eq!(site.document.to_json(), line["value"], "{line}");
        }
        played += 1;
    }
    assert!(played > 300, "{played} steps");
}

/// An incarnation of 25 bits has no counter of 64.
#[test]
fn incarnations_beyond_their_bound_are_refused() {
    let bytes = unhex("010580808008020102");
    assert!(Context::decode(&mut Reader::new(&bytes)).is_err());
}
