use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::{Category, EncodeError};

fn read(codec: &mut Codec, text: &str) -> Packet {
    codec.read(Frame::Text(text.to_owned())).unwrap().unwrap().packet
}

fn refused(text: &str) -> ReadError {
    Codec::metacom().read(Frame::Text(text.to_owned())).unwrap_err()
}

fn write(codec: &mut Codec, packet: &Packet) -> String {
    match codec.write(packet, None).unwrap() {
        Frame::Text(text) => text,
        Frame::Binary(bytes) => panic!("{bytes:?} is no text"),
    }
}

fn callback(id: i64, status: u64, payload: &'static str) -> Packet {
    let payload = Bytes::from_static(payload.as_bytes());
    Packet::Callback { id, status, payload }
}

const CALL: &str = r#"{"type":"call","id":1,"method":"chat/say","args":{"text":"a"}}"#;
const TEXT_CALL: &str = r#"{"type":"call","id":"6e83af09","method":"chat/say","args":[]}"#;
const TEXT_STREAM: &str = r#"{"type":"stream","id":"6e83af09","name":"a","size":5}"#;

#[test]
fn a_session_with_numbers_reads_and_writes_what_the_published_client_does() {
    let mut server = Codec::metacom();
    let call = Packet::Call {
        id: 1,
        method: "chat/say".to_owned(),
        payload: Bytes::from_static(br#"{"text":"a"}"#),
    };
    assert_eq!(read(&mut server, CALL), call);
    assert_eq!(server.dialect(), Some(Dialect::MetacomInteger));
    let text = write(&mut server, &callback(1, 0, "\"ok\""));
    assert_eq!(text, r#"{"type":"callback","id":1,"result":"ok"}"#);
    let text = write(&mut server, &callback(2, 400, r#"{"error":"say something"}"#));
    assert_eq!(
        text,
        r#"{"type":"callback","id":2,"error":{"code":400,"message":"say something"}}"#
    );
    let event = Packet::Event {
        sequence: 9,
        name: "chat/message".to_owned(),
        origin: None,
        payload: Bytes::from_static(br#"{"text":"a"}"#),
    };
    let text = write(&mut server, &event);
    assert_eq!(
        text,
        r#"{"type":"event","name":"chat/message","data":{"text":"a"}}"#
    );
    let (size, name) = (5, "x".to_owned());
    let text = write(&mut server, &Packet::StreamInit { id: -1, size, name });
    assert_eq!(text, r#"{"type":"stream","id":-1,"name":"x","size":5}"#);
    let payload = Bytes::from_static(b"hello");
    let chunk = server.write(&Packet::StreamChunk { id: -1, payload }, None);
    assert_eq!(
        chunk,
        Ok(Frame::Binary(Bytes::from_static(b"\xff\xff\xff\xffhello")))
    );
    let text = write(&mut server, &Packet::StreamEnd { id: -1 });
    assert_eq!(text, r#"{"type":"stream","id":-1,"status":"end"}"#);
    assert_eq!(read(&mut server, "{}"), Packet::Ping { seen: 0 });
    assert_eq!(write(&mut server, &Packet::Pong { seen: 7 }), "{}");
}

#[test]
fn the_first_id_tells_the_dialect_and_the_others_follow() {
    let mut server = Codec::metacom();
    let end = Packet::StreamEnd { id: -1 };
    let packet = "STREAM_END";
    assert_eq!(server.write(&end, None), Err(WriteError::Undetermined { packet }));
    assert!(matches!(read(&mut server, TEXT_CALL), Packet::Call { id: 1, .. }));
    assert_eq!(server.dialect(), Some(Dialect::MetacomText));
    let error = server.read(Frame::Text(CALL.to_owned())).unwrap_err();
    assert!(error.to_string().starts_with("id must be of the same type"));
    assert_eq!(error.close_code(), Some(1002));
}

#[test]
fn text_ids_have_a_number_until_they_are_answered() {
    let mut server = Codec::metacom();
    assert!(matches!(read(&mut server, TEXT_CALL), Packet::Call { id: 1, .. }));
    let again = server.read(Frame::Text(TEXT_CALL.to_owned())).unwrap_err();
    assert_eq!(again.to_string(), "id must be one that is not in use");
    // What cannot be written leaves the call unanswered.
    assert!(server.write(&callback(1, 0, "{"), None).is_err());
    let text = write(&mut server, &callback(1, 0, "1"));
    assert_eq!(text, r#"{"type":"callback","id":"6e83af09","result":1}"#);
    assert_eq!(
        server.write(&callback(1, 0, "1"), None),
        Err(WriteError::Over { id: 1 })
    );
    assert!(matches!(read(&mut server, TEXT_CALL), Packet::Call { id: 2, .. }));
}

#[test]
fn streams_with_text_ids_carry_the_text_in_each_chunk() {
    let mut server = Codec::metacom();
    assert!(matches!(
        read(&mut server, TEXT_STREAM),
        Packet::StreamInit { id: 1, size: 5, .. }
    ));
    assert_eq!(server.stream_id(&"6e83af09".into()), Some(1));
    let chunk = |text: &'static [u8]| Frame::Binary(Bytes::from_static(text));
    let packet = server.read(chunk(b"\x086e83af09hello")).unwrap().unwrap().packet;
    let payload = Bytes::from_static(b"hello");
    assert_eq!(
        packet,
        Packet::StreamChunk {
            id: 1,
            payload: payload.clone()
        }
    );
    // Nobody knows that one; it may be over.
    assert_eq!(server.read(chunk(b"\x01ahello")), Ok(None));
    assert!(server.read(chunk(b"\x09short")).is_err());
    let end = r#"{"type":"stream","id":"6e83af09","status":"end"}"#;
    assert_eq!(read(&mut server, end), Packet::StreamEnd { id: 1 });
    // A stream that is whole can still be named, and answered.
    assert_eq!(server.stream_id(&"6e83af09".into()), Some(1));
    let (status, reason) = (400, String::new());
    let text = write(
        &mut server,
        &Packet::StreamAbort {
            id: 1,
            status,
            reason,
        },
    );
    assert_eq!(text, r#"{"type":"stream","id":"6e83af09","status":"terminate"}"#);
    // Our own.
    assert_eq!(server.stream_value(-1), Some("-1".into()));
    let written = server.write(&Packet::StreamChunk { id: -1, payload }, None);
    assert_eq!(written, Ok(chunk(b"\x02-1hello")));
    let terminate = r#"{"type":"stream","id":"-1","status":"terminate"}"#;
    assert!(matches!(
        read(&mut server, terminate),
        Packet::StreamAbort { id: -1, .. }
    ));
}

#[test]
fn what_a_later_version_may_know_is_passed_over_and_meta_is_carried() {
    let mut server = Codec::metacom();
    let later = r#"{"type":"later","id":{"a":1}}"#;
    assert_eq!(server.read(Frame::Text(later.to_owned())), Ok(None));
    let text = r#" {"type":"call","id":7,"method":"a/b","meta":{"trace":null},"extra":[1],"args":null}"#;
    let received = server.read(Frame::Text(text.to_owned())).unwrap().unwrap();
    assert_eq!(received.meta.as_deref(), Some(&br#"{"trace":null}"#[..]));
    assert!(matches!(received.packet, Packet::Call { payload, .. } if payload == "null"));
    let written = server.write(&callback(7, 0, ""), Some(b"{}")).unwrap();
    let text = r#"{"type":"callback","id":7,"meta":{}}"#;
    assert_eq!(written, Frame::Text(text.to_owned()));
}

#[test]
fn errors_of_any_shape_are_read() {
    let mut client = Codec::new(Dialect::MetacomInteger, Role::Client);
    for (error, status, message) in [
        (
            r#"{"code":404,"message":"no \"such\" method"}"#,
            404,
            r#"no "such" method"#,
        ),
        (r#"{"message":"late","code":"ETIMEOUT","more":[]}"#, 500, "late"),
        (r#"{"code":0,"message":null}"#, 500, ""),
        ("{}", 500, ""),
    ] {
        let text = format!(r#"{{"type":"callback","id":1,"error":{error},"result":7}}"#);
        let payload = error_payload(message);
        assert_eq!(error_message(&payload), message);
        assert_eq!(
            read(&mut client, &text),
            Packet::Callback {
                id: 1,
                status,
                payload
            }
        );
    }
    let text = r#"{"type":"callback","id":1,"error":"late"}"#.to_owned();
    let error = client.read(Frame::Text(text)).unwrap_err();
    assert_eq!(error.to_string(), "error must be an object with code and message");
    for (payload, message) in [
        (&b"plain words"[..], "plain words"),
        (b"\"a text\"", "a text"),
        (b"[1]", "[1]"),
        (b"\xff", "\u{fffd}"),
    ] {
        assert_eq!(error_message(payload), message);
    }
}

#[test]
fn refusals_name_the_field() {
    let deep = format!(r#"{{"type":"call","id":1,"args":{}}}"#, "[".repeat(DEPTH_MAX));
    for (text, words) in [
        ("", "packet is not a JSON object"),
        ("[\"call\",1]", "packet is not a JSON object"),
        ("{\"type\":\"call\",", "packet is not a JSON object"),
        (r#"{"call":1,"auth/signIn":{}}"#, "type must be one of"),
        (r#"{"type":1}"#, "type must be a text"),
        (r#"{"type":"call","method":"a/b"}"#, "id must be"),
        (r#"{"type":"call","id":0,"method":"a/b"}"#, "id must be"),
        (r#"{"type":"call","id":1.5,"method":"a/b"}"#, "id must be"),
        (
            r#"{"type":"call","id":9007199254740992,"method":"a/b"}"#,
            "id must be",
        ),
        (r#"{"type":"call","id":"","method":"a/b"}"#, "id must be"),
        (
            r#"{"type":"call","id":1,"id":2,"method":"a/b"}"#,
            "packet is not a JSON object: duplicate field `id`",
        ),
        (r#"{"type":"call","id":1,"method":7}"#, "method must be a text"),
        (r#"{"type":"event","data":7}"#, "name must be a text"),
        (r#"{"type":"stream","id":1,"name":"a"}"#, "size must be a number"),
        (
            r#"{"type":"stream","id":1,"name":"a","size":-1}"#,
            "size must be a number",
        ),
        (
            r#"{"type":"stream","id":4294967296,"status":"end"}"#,
            "id of a stream must be",
        ),
        (
            r#"{"type":"stream","id":1,"status":"later"}"#,
            "status must be end or terminate",
        ),
        (&deep, "packet is nested deeper than 64"),
    ] {
        let error = refused(text);
        assert!(error.to_string().starts_with(words), "{text}: {error}");
        assert_eq!(error.close_code(), Some(1002), "{text}");
    }
    let large = refused(&" ".repeat(PACKET_BYTES_MAX + 1));
    assert_eq!(large.close_code(), Some(1009));
    let mut binary = Codec::new(Dialect::Binary, Role::Server);
    let text = binary.read(Frame::Text("{}".to_owned())).unwrap_err();
    assert_eq!(text.close_code(), Some(1003));
    let early = Codec::metacom().read(Frame::Binary(Bytes::from_static(b"\0\0\0\x01a")));
    assert!(
        early
            .unwrap_err()
            .to_string()
            .starts_with("a chunk must be after")
    );
}

#[test]
fn brackets_in_texts_are_not_depth() {
    let many = "[".repeat(2 * DEPTH_MAX);
    let text = format!(r#"{{"type":"event","name":"a\\","data":"\"{many}"}}"#);
    assert!(matches!(read(&mut Codec::metacom(), &text), Packet::Event { .. }));
    let text = format!(r#"{{"type":"event","name":"\\","data":{many}"#);
    assert_eq!(refused(&text), ReadError::Depth);
}

#[test]
fn unknown_kinds_do_not_end_a_binary_session() {
    let mut binary = Codec::new(Dialect::Binary, Role::Server);
    assert_eq!(
        binary.read(Frame::Binary(Bytes::from_static(b"\x63\x02"))),
        Ok(None)
    );
    let ping = Packet::Ping { seen: 3 };
    let frame = binary.write(&ping, None).unwrap();
    assert_eq!(binary.read(frame), Ok(Some(ping.into())));
}

#[test]
fn calls_without_end_are_answered_503_and_hold_no_memory() {
    let mut server = Codec::metacom();
    let call = |id: usize| format!(r#"{{"type":"call","id":"c{id}","method":"a/b"}}"#);
    for id in 0..CALLS_MAX {
        read(&mut server, &call(id));
    }
    let error = server.read(Frame::Text(call(CALLS_MAX))).unwrap_err();
    assert_eq!(error.category(), Category::Limit);
    assert_eq!(error.close_code(), None);
    let answer = error.answer().unwrap();
    let mut client = serde_json::from_str::<serde_json::Value>(&answer).unwrap();
    assert_eq!(client["error"].take()["code"], 503);
    assert_eq!(client["id"], format!("c{CALLS_MAX}"));
    write(&mut server, &callback(1, 0, "1"));
    read(&mut server, &call(CALLS_MAX));
}

#[test]
fn what_the_dialect_cannot_say_is_an_error() {
    let mut server = Codec::new(Dialect::MetacomInteger, Role::Server);
    let error = server
        .write(&Packet::Credit { id: 1, bytes: 1 }, None)
        .unwrap_err();
    assert_eq!(error.to_string(), "CREDIT has no form in MetacomInteger");
    let name = String::new();
    let error = server
        .write(
            &Packet::StreamInit {
                id: -1,
                size: 1,
                name,
            },
            None,
        )
        .unwrap_err();
    assert_eq!(error.to_string(), "name must be of at least one byte");
    let payload = Bytes::from(format!("\"{}\"", "a".repeat(PACKET_BYTES_MAX)));
    let error = server
        .write(
            &Packet::Callback {
                id: 1,
                status: 0,
                payload,
            },
            None,
        )
        .unwrap_err();
    assert!(matches!(error, WriteError::Packet(EncodeError::Oversize { .. })));
    let most = Bytes::from(vec![0; METACOM_CHUNK_BYTES_MAX - 4]);
    assert!(
        server
            .write(&Packet::StreamChunk { id: 1, payload: most }, None)
            .is_ok()
    );
    let more = Bytes::from(vec![0; METACOM_CHUNK_BYTES_MAX - 3]);
    assert!(
        server
            .write(&Packet::StreamChunk { id: 1, payload: more }, None)
            .is_err()
    );
}

fn any_json() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::btree_map(".{0,6}", inner, 0..3)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    });
    prop_oneof![
        Just(Bytes::new()),
        tree.prop_map(|value| Bytes::from(value.to_string()))
    ]
}

/// What a client sends of itself, and the server's answers.
fn any_exchange() -> impl Strategy<Value = (Packet, Option<Packet>)> {
    let call =
        (".{0,20}", any_json(), any::<bool>(), any_json()).prop_map(|(method, payload, well, answer)| {
            let answer = match well {
                true => (0, answer),
                false => (400, error_payload("no such room")),
            };
            let (status, answer) = answer;
            let callback = Packet::Callback {
                id: 1,
                status,
                payload: answer,
            };
            (
                Packet::Call {
                    id: 1,
                    method,
                    payload,
                },
                Some(callback),
            )
        });
    let stream = (".{1,20}", 0..1_u64 << 53).prop_map(|(name, size)| {
        let abort = Packet::StreamAbort {
            id: 1,
            status: 499,
            reason: "terminated".to_owned(),
        };
        (Packet::StreamInit { id: 1, size, name }, Some(abort))
    });
    let event = (".{0,20}", any_json()).prop_map(|(name, payload)| {
        let (sequence, origin) = (1, None);
        (
            Packet::Event {
                sequence,
                name,
                origin,
                payload,
            },
            None,
        )
    });
    prop_oneof![call, stream, event]
}

proptest! {
    #[test]
    fn what_one_end_writes_the_other_reads((packet, answer) in any_exchange(), text in any::<bool>()) {
        let dialect = if text { Dialect::MetacomText } else { Dialect::MetacomInteger };
        let mut client = Codec::new(dialect, Role::Client);
        let mut server = Codec::metacom();
        let frame = client.write(&packet, None).unwrap();
        prop_assert_eq!(server.read(frame), Ok(Some(packet.into())));
        if let Some(answer) = answer {
            let frame = server.write(&answer, None).unwrap();
            prop_assert_eq!(client.read(frame), Ok(Some(answer.into())));
        }
    }

    #[test]
    fn any_messages_are_read_or_refused(
        texts in prop::collection::vec(r#"\{"type":"(call|callback|event|stream)",("id":("a|b|-1"|-?[0-9]{1,3}),)?("(name|method|status)":"[ab]",?)?("size":[0-9],)?"args":[\[{][^"]{0,8}"#, 0..8),
        bytes in prop::collection::vec(any::<u8>(), 0..32),
    ) {
        let mut server = Codec::metacom();
        for text in texts {
            let _ = server.read(Frame::Text(text.clone()));
            let _ = server.read(Frame::Text(text + "}"));
            let _ = server.read(Frame::Binary(Bytes::from(bytes.clone())));
        }
    }
}
