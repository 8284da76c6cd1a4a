//! JSON forms: vectors that other languages play too, and errors that name what is wrong.

use std::fmt::Write as _;

use pointsman_crdt::{
    Clock, Digest, Document, FieldType, JsonError, Operation, Reader, Replica, Schema, State, Value, Writer,
};
use serde_json::json;

use crate::vectors::{compare, hex};

const SCHEMA: &str = r#"{"acl":{"type":"2p2p-graph"},"banned":{"type":"2p-set"},"body":{"type":"text"},"draft":{"type":"enable-wins-flag"},"items":{"type":"list"},"likes":{"type":"g-counter"},"links":{"type":"or-graph"},"open":{"type":"disable-wins-flag"},"profile":{"type":"map"},"seen":{"type":"g-set"},"stock":{"type":"pn-counter"},"tags":{"type":"or-set"},"title":{"type":"lww-register"},"votes":{"type":"mv-register"}}"#;

/// Which replica does what; the others join it.
const SCRIPT: &[(usize, &str)] = &[
    (0, r#"{"field":"likes","increment":1}"#),
    (
        1,
        r#"{"field":"likes","increment":{"$integer":"9007199254740993"}}"#,
    ),
    (0, r#"{"field":"likes","increment":0}"#),
    (2, r#"{"field":"stock","increment":-3}"#),
    (0, r#"{"field":"stock","increment":10}"#),
    (0, r#"{"field":"seen","add":"a"}"#),
    (1, r#"{"field":"seen","add":[1,0.5,null,{"x":true}]}"#),
    (0, r#"{"field":"banned","add":"eve"}"#),
    (1, r#"{"field":"banned","remove":"eve"}"#),
    (0, r#"{"field":"banned","add":"eve"}"#),
    (0, r#"{"field":"tags","add":"red"}"#),
    (1, r#"{"field":"tags","add":"red"}"#),
    (2, r#"{"field":"tags","remove":"red"}"#),
    (0, r#"{"field":"tags","add":{"$bytes":"00ff"}}"#),
    (0, r#"{"field":"title","assign":"grün 🚂"}"#),
    (
        1,
        r#"{"field":"title","assign":{"b":1,"a":{"$float":"3ff0000000000000"}}}"#,
    ),
    (
        1,
        r#"{"field":"title","assign":"told","stamp":"111411200019660801"}"#,
    ),
    (2, r#"{"field":"title","assign":"after that"}"#),
    (
        1,
        r#"{"field":"title","assign":"too old","stamp":"111411200000000777"}"#,
    ),
    (
        0,
        r#"{"field":"title","assign":"too far","stamp":"211411200000000777"}"#,
    ),
    (0, r#"{"field":"votes","assign":1}"#),
    (
        1,
        r#"{"field":"votes","assign":{"$integer":"-9223372036854775808"}}"#,
    ),
    (0, r#"{"field":"draft","set":true}"#),
    (1, r#"{"field":"open","set":false}"#),
    (
        0,
        r#"{"field":"profile","update":"name","type":"lww-register","operation":{"assign":"Ada"}}"#,
    ),
    (
        1,
        r#"{"field":"profile","update":"name","type":"or-set","operation":{"add":"Grace"}}"#,
    ),
    (
        0,
        r#"{"field":"profile","update":"deep","type":"map","operation":{"update":"n","type":"pn-counter","operation":{"increment":7}}}"#,
    ),
    (2, r#"{"field":"profile","remove":"name"}"#),
    (0, r#"{"field":"acl","vertex":{"add":"a"}}"#),
    (0, r#"{"field":"acl","vertex":{"add":"b"}}"#),
    (0, r#"{"field":"acl","edge":{"add":{"from":"a","to":"b"}}}"#),
    (0, r#"{"field":"acl","vertex":{"remove":"b"}}"#),
    (0, r#"{"field":"links","vertex":{"add":1}}"#),
    (0, r#"{"field":"links","edge":{"add":{"from":1,"to":1}}}"#),
    (0, r#"{"field":"links","edge":{"remove":{"from":1,"to":1}}}"#),
    (0, r#"{"field":"items","insert":[1,"two",[3]],"index":0}"#),
    (1, r#"{"field":"items","insert":[{"four":4}],"index":2}"#),
    (1, r#"{"field":"items","delete":2,"index":0}"#),
    (0, r#"{"field":"body","insert":"Hello 🚂","index":0}"#),
    (1, r#"{"field":"body","insert":", world","index":5}"#),
    (2, r#"{"field":"body","delete":1,"index":13}"#),
    (2, r#"{"field":"body","delete":5,"index":99}"#),
    (0, r#"{"field":"likes","reset":true}"#),
    (0, r#"{"field":"likes","reset":true}"#),
    // Refused by their form.
    (0, r#"{"field":"likes","increment":-1}"#),
    (0, r#"{"field":"likes","increment":1.5}"#),
    (0, r#"{"field":"likes","increment":9007199254740993}"#),
    (0, r#"{"field":"likes","add":1}"#),
    (0, r#"{"field":"likes","increment":1,"by":2}"#),
    (0, r#"{"field":"nope","increment":1}"#),
    (0, r#"{"increment":1}"#),
    (0, r#"{"field":"likes"}"#),
    (0, r#"{"field":"tags","add":1,"remove":1}"#),
    (0, r#"{"field":"tags","add":{"$nope":1}}"#),
    (0, r#"{"field":"tags","add":{"$bytes":"0G"}}"#),
    (0, r#"{"field":"open","set":1}"#),
    (0, r#"{"field":"items","insert":"text","index":0}"#),
    (0, r#"{"field":"items","insert":[1]}"#),
    (
        0,
        r#"{"field":"items","insert":[1,{"a":[9007199254740992]}],"index":0}"#,
    ),
    (0, r#"{"field":"body","delete":-1,"index":0}"#),
    (0, r#"{"field":"acl","edge":{"add":{"from":"a"}}}"#),
    (
        0,
        r#"{"field":"profile","update":"x","type":"nope","operation":{}}"#,
    ),
    (0, r#"{"field":"profile","update":"x","type":"text"}"#),
    (0, r#"{"field":"title","assign":1,"stamp":5}"#),
    (0, r#"{"field":"likes","reset":false}"#),
    (0, r#"[1]"#),
    (
        0,
        r#"{"field":"profile","update":"x","type":"or-set","operation":{"field":"x","add":1}}"#,
    ),
    (0, r#"{"field":"acl","vertex":{"field":"a","add":"a"}}"#),
];

struct Player {
    documents: Vec<Document>,
    clocks: Vec<Clock>,
    lines: String,
}

impl Player {
    fn new() -> Self {
        let schema = Schema::parse_json(SCHEMA).unwrap();
        Self {
            documents: vec![Document::new(schema); 3],
            clocks: vec![Clock::new(500); 3],
            lines: format!("{{\"schema\":{SCHEMA}}}\n"),
        }
    }

    fn replica(at: usize) -> Replica {
        Replica::new(at as u16 * 7, 1).unwrap()
    }

    /// Applies at one replica, then joins at the others; gives the error, if any.
    fn operate(&mut self, at: usize, operation: &str, now_ms: u64) -> Option<String> {
        let head = format!("\"replica\":\"{}/1\"", at * 7);
        let result =
            self.documents[at].apply_json(Self::replica(at), operation, &mut self.clocks[at], now_ms);
        let delta = match result {
            Ok(delta) => delta,
            Err(error) => {
                writeln!(
                    self.lines,
                    "{{{head},\"now_ms\":{now_ms},\"operation\":{operation},\"error\":{}}}",
                    json!(error.to_string())
                )
                .unwrap();
                return Some(error.to_string());
            }
        };
        let bytes = delta.as_ref().map(State::encode);
        let shown = bytes
            .as_ref()
            .map_or("null".into(), |bytes| format!("\"{}\"", hex(bytes)));
        let value = self.documents[at].to_json();
        writeln!(
            self.lines,
            "{{{head},\"now_ms\":{now_ms},\"operation\":{operation},\"delta\":{shown},\"value\":{value}}}"
        )
        .unwrap();
        for other in (0..3).filter(|other| *other != at) {
            let Some(bytes) = &bytes else { continue };
            let delta = State::decode(bytes).unwrap();
            let before = self.documents[other].to_json();
            let joined = self.documents[other].join(&delta).unwrap();
            let value = self.documents[other].to_json();
            for (name, reading) in before.as_object().unwrap() {
                assert!(
                    reading == &value[name] || joined.changed.contains(name.as_str()),
                    "{name}"
                );
            }
            let changed: Vec<&str> = joined.changed.iter().map(AsRef::as_ref).collect();
            writeln!(
                self.lines,
                "{{\"replica\":\"{}/1\",\"join\":\"{}\",\"changed\":{},\"value\":{value}}}",
                other * 7,
                hex(bytes),
                json!(changed)
            )
            .unwrap();
        }
        None
    }
}

#[test]
fn documents() {
    let mut player = Player::new();
    let refused = SCRIPT.iter().position(|step| step.1.contains("-1}")).unwrap();
    for (step, (at, operation)) in SCRIPT.iter().enumerate() {
        let error = player.operate(*at, operation, 1_700_000_000_000 + step as u64);
        assert!(error.is_some() || step < refused, "refused: {operation}");
    }
    for document in &player.documents {
        assert_eq!(document.to_json(), player.documents[0].to_json());
        assert_eq!(
            Document::with_state(document.schema().clone(), document.state().clone()),
            *document
        );
    }
    compare("json", &player.lines);
}

const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "9007199254740991",
    "-9007199254740991",
    "0.1",
    "-2.5e-7",
    "5e-324",
    "1.7976931348623157",
    r#"{"$integer":"9007199254740992"}"#,
    r#"{"$integer":"-9223372036854775808"}"#,
    r#"{"$float":"3ff0000000000000"}"#,
    r#"{"$float":"8000000000000000"}"#,
    r#"{"$float":"7ff8000000000000"}"#,
    r#"{"$float":"fff0000000000000"}"#,
    r#"{"$float":"4340000000000000"}"#,
    r#""""#,
    r#""\u0000\"\\ü🚂""#,
    "[]",
    r#"[1,[2,"x"]]"#,
    "{}",
    r#"{"a":{"b":null},"ä":1}"#,
    r#"{"$bytes":""}"#,
    r#"{"$bytes":"00ff10"}"#,
    r#"{"$record":[["$a",1],["b",{"$record":[["$",2]]}]]}"#,
    r#"{"$unknown":{"bytes":"07","tag":16}}"#,
    r#"{"$unknown":{"bytes":"","tag":{"$integer":"18446744073709551615"}}}"#,
];

/// Read, but written otherwise.
const OTHER_FORMS: &[(&str, &str)] = &[
    ("1.0", "1"),
    ("1e2", "100"),
    ("-0", "0"),
    ("-0.0", "0"),
    (r#"{"$integer":"7"}"#, "7"),
    (r#"{"$float":"3fb999999999999a"}"#, "0.1"),
    (r#"{"$record":[["b",1],["a",2],["b",3]]}"#, r#"{"a":2,"b":3}"#),
];

const NO_VALUES: &[&str] = &[
    "9007199254740992",
    "-9007199254740992",
    "1e300",
    "18446744073709551615",
    r#"{"$integer":"+1"}"#,
    r#"{"$integer":"01"}"#,
    r#"{"$integer":"9223372036854775808"}"#,
    r#"{"$integer":1}"#,
    r#"{"$float":"7ff8000000000001"}"#,
    r#"{"$float":"3FF0000000000000"}"#,
    r#"{"$float":"1"}"#,
    r#"{"$bytes":"0"}"#,
    r#"{"$bytes":"0G"}"#,
    r#"{"$bytes":1}"#,
    r#"{"$a":1}"#,
    r#"{"$bytes":"","x":1}"#,
    r#"{"$record":[["a"]]}"#,
    r#"{"$record":{}}"#,
    r#"{"$unknown":{"bytes":"07","tag":8}}"#,
    r#"{"$unknown":{"bytes":"07"}}"#,
];

fn json_of(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let mut to = Writer::new();
    value.encode(&mut to);
    to.into_bytes()
}

#[test]
fn values() {
    let mut lines = String::new();
    for text in VALUES {
        let value = Value::from_json(&json_of(text), "value").unwrap();
        assert_eq!(value.to_json(), json_of(text), "{text}: one form");
        let bytes = bytes_of(&value);
        assert_eq!(Value::decode(&mut Reader::new(&bytes)).unwrap(), value);
        writeln!(lines, "{{\"json\":{text},\"bytes\":\"{}\"}}", hex(&bytes)).unwrap();
    }
    for (text, written) in OTHER_FORMS {
        let value = Value::from_json(&json_of(text), "value").unwrap();
        assert_eq!(value.to_json().to_string(), *written);
        let bytes = hex(&bytes_of(&value));
        writeln!(
            lines,
            "{{\"json\":{text},\"bytes\":\"{bytes}\",\"written\":{written}}}"
        )
        .unwrap();
    }
    let deep = format!("{}{}", "[".repeat(34), "]".repeat(34));
    for text in NO_VALUES.iter().copied().chain([deep.as_str()]) {
        let error = Value::from_json(&json_of(text), "value").unwrap_err();
        assert!(error.to_string().contains("`value"), "{error}");
        let error = json!(error.to_string());
        writeln!(lines, "{{\"json\":{text},\"error\":{error}}}").unwrap();
    }
    compare("json-values", &lines);
}

#[test]
fn the_deepest_value_that_json_gives_is_readable_as_bytes() {
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let value = Value::from_json(&serde_json::from_str(&deep).unwrap(), "value").unwrap();
    let mut to = Writer::new();
    value.encode(&mut to);
    assert_eq!(Value::decode(&mut Reader::new(&to.into_bytes())).unwrap(), value);
}

#[test]
fn schemas() {
    let schema = Schema::parse_json(SCHEMA).unwrap();
    assert_eq!(schema.to_json().to_string(), SCHEMA);
    assert_eq!(schema.fields().count(), FieldType::names().count(), "every type");
    for (text, part) in [
        ("[]", "`schema`: expected an object"),
        (r#"{"likes":"g-counter"}"#, "`schema.likes`: expected an object"),
        (
            r#"{"likes":{}}"#,
            "`schema.likes.type`: expected one of g-counter",
        ),
        (r#"{"likes":{"type":"counter"}}"#, "found the text \"counter\""),
        (
            r#"{"likes":{"type":"g-counter","x":1}}"#,
            "`schema.likes.x` is not known here; allowed: `type`",
        ),
        (r#"{"":{"type":"g-counter"}}"#, "allowed: names of 1 byte"),
        ("{", "not JSON"),
    ] {
        let error = Schema::parse_json(text).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    let long = format!(r#"{{"{}":{{"type":"text"}}}}"#, "x".repeat(257));
    assert!(matches!(
        Schema::parse_json(&long),
        Err(JsonError::Limit { limit: 256, .. })
    ));
}

#[test]
fn a_register_goes_on_when_the_clock_went_back() {
    let schema = Schema::new([("title", "lww-register")]).unwrap();
    let (mut document, replica) = (Document::new(schema), Replica::new(1, 1).unwrap());
    let assign = r#"{"field":"title","assign":1}"#;
    document
        .apply_json(replica, assign, &mut Clock::new(500), 1_700_000_300_000)
        .unwrap();
    // Another process, its clock five minutes behind.
    document
        .apply_json(replica, assign, &mut Clock::new(500), 1_700_000_000_000)
        .unwrap();
}

#[test]
fn who_resumes_by_context_gets_what_it_lacks_and_loses_what_went() {
    let schema = Schema::new([("likes", "g-counter"), ("tags", "or-set")]).unwrap();
    let replica = Replica::new(1, 1).unwrap();
    let mut server = Document::new(schema);
    let tag = |tag: &str| Operation::OrSet(pointsman_crdt::SetOperation::Add(tag.into()));
    server.update(replica, "tags", tag("old")).unwrap();
    server.update(replica, "tags", tag("kept")).unwrap();
    let mut client = server.clone();
    let remove = Operation::OrSet(pointsman_crdt::SetOperation::Remove("old".into()));
    server.update(replica, "tags", remove).unwrap();
    server.update(replica, "likes", Operation::GCounter(2)).unwrap();
    assert!(!client.covers(server.context()));
    let missing = server.missing(&Digest::of_context(client.context().clone()));
    let joined = client.join(&missing).unwrap();
    assert_eq!(client, server);
    let changed: Vec<&str> = joined.changed.iter().map(AsRef::as_ref).collect();
    assert_eq!(changed, ["likes", "tags"]);
    assert!(client.covers(server.context()));
    let digest = client.digest();
    assert_eq!(Digest::decode(&digest.encode()).unwrap(), digest);
    assert!(server.missing(&digest).is_bottom(), "nothing twice");
}

#[test]
fn a_field_that_only_lost_something_counts_as_changed_and_its_neighbour_does_not() {
    let schema = Schema::new([("a", "or-set"), ("b", "or-set")]).unwrap();
    let replica = Replica::new(1, 1).unwrap();
    let mut origin = Document::new(schema);
    for field in ["a", "b"] {
        let add = Operation::OrSet(pointsman_crdt::SetOperation::Add(1.into()));
        origin.update(replica, field, add).unwrap();
    }
    let mut other = origin.clone();
    let remove = Operation::OrSet(pointsman_crdt::SetOperation::Remove(1.into()));
    let delta = origin.update(replica, "b", remove).unwrap().unwrap();
    let joined = other.join(&delta).unwrap();
    assert_eq!(
        joined.changed.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
        ["b"]
    );
    assert_eq!(
        other.join(&delta).unwrap(),
        Default::default(),
        "the same again is no news"
    );
}
