//! Each file is one session in order, as the server sees it.

use bytes::Bytes;
use pointsman_wire::{Codec, Frame, Origin, Packet, Received, error_payload};
use serde_json::{Value, json};

use super::{compare, described, put_frame};

struct Session {
    server: Codec,
    lines: Vec<Value>,
}

impl Session {
    fn new() -> Self {
        let (server, lines) = (Codec::metacom(), Vec::new());
        Self { server, lines }
    }

    /// The client sends a text.
    fn says(&mut self, name: &str, text: &str) {
        self.sends(name, Frame::Text(text.to_owned()));
    }

    /// The client sends a binary message.
    fn chunk(&mut self, name: &str, bytes: &'static [u8]) {
        self.sends(name, Frame::Binary(Bytes::from_static(bytes)));
    }

    fn sends(&mut self, name: &str, frame: Frame) {
        let received = self.server.read(frame.clone()).unwrap();
        self.line(name, "client", &frame, received);
    }

    fn answers(&mut self, name: &str, packet: Packet, meta: Option<&'static str>) {
        let meta = meta.map(|meta| Bytes::from_static(meta.as_bytes()));
        let frame = self.server.write(&packet, meta.as_deref()).unwrap();
        self.line(name, "server", &frame, Some(Received { packet, meta }));
    }

    fn line(&mut self, name: &str, from: &str, frame: &Frame, says: Option<Received>) {
        let packet = says.as_ref().map(|says| described(&says.packet));
        let mut line = json!({"name": name, "from": from, "packet": packet});
        if let Some(meta) = says.and_then(|says| says.meta) {
            line["meta"] = serde_json::from_slice(&meta).unwrap();
        }
        put_frame(&mut line, frame);
        self.lines.push(line);
    }

    /// What has no id is the same in both.
    fn without_ids(&mut self) {
        let (name, payload) = ("chat/message".to_owned(), Bytes::from_static(br#"{"text":"a"}"#));
        let (sequence, origin) = (1, Some(Origin { slot: 1, position: 2 }));
        let event = Packet::Event {
            sequence,
            name,
            origin,
            payload,
        };
        self.answers("event; its sequence and its origin are not told", event, None);
        let (name, payload, sequence) = ("chat/cleared".to_owned(), Bytes::new(), 2);
        let event = Packet::Event {
            sequence,
            name,
            origin: None,
            payload,
        };
        self.answers("event without data", event, None);
        self.says(
            "event of a client; they are counted",
            r#"{"type":"event","name":"a/b","data":null}"#,
        );
        self.says(
            "a type that is not known is passed over",
            r#"{"type":"later","id":[1]}"#,
        );
    }

    fn answered(&mut self, id: i64) {
        let payload = Bytes::from_static(br#"{"files":{"upload":["streamId"]}}"#);
        let callback = Packet::Callback {
            id,
            status: 0,
            payload,
        };
        self.answers("callback", callback, None);
        let payload = error_payload("say something");
        let callback = Packet::Callback {
            id: id + 1,
            status: 400,
            payload,
        };
        self.answers("callback with an error", callback, Some(r#"{"trace":"00-1"}"#));
        let payload = Bytes::new();
        let callback = Packet::Callback {
            id: id + 2,
            status: 0,
            payload,
        };
        self.answers("callback without a result", callback, None);
    }

    fn download(&mut self) {
        let (id, size, name) = (-1, 5, "x".to_owned());
        self.answers(
            "stream of the server begins",
            Packet::StreamInit { id, size, name },
            None,
        );
        let payload = Bytes::from_static(b"hello");
        self.answers("chunk of the server", Packet::StreamChunk { id, payload }, None);
        self.answers("stream of the server ends", Packet::StreamEnd { id }, None);
    }

    fn refuses_upload(&mut self, id: i64) {
        let (status, reason) = (400, "ended after 4 of 5 bytes".to_owned());
        let abort = Packet::StreamAbort { id, status, reason };
        self.answers(
            "the server gives the client's stream up; status and reason are not told",
            abort,
            None,
        );
    }
}

#[test]
fn sessions_with_numbers_are_as_in_the_file() {
    let mut session = Session::new();
    session.says("ping", "{}");
    session.answers("pong", Packet::Pong { seen: 0 }, None);
    session.says(
        "call",
        r#"{"type":"call","id":1,"method":"system/introspect","args":["files"]}"#,
    );
    session.says(
        "call with meta",
        r#"{"type":"call","id":2,"method":"chat.2/say","args":{"text":"é\n"},"meta":{"trace":"00-1"}}"#,
    );
    session.says(
        "call without arguments",
        r#"{ "id": 3, "method": "a/b", "type": "call", "extra": {"id": 4} }"#,
    );
    session.answered(1);
    session.without_ids();
    session.says(
        "stream begins",
        r#"{"type":"stream","id":1,"name":"blob","size":5}"#,
    );
    session.chunk("chunk", b"\0\0\0\x01hell");
    session.chunk("chunk with nothing in it is passed over", b"\0\0\0\x01");
    session.says("stream ends", r#"{"type":"stream","id":1,"status":"end"}"#);
    session.refuses_upload(1);
    session.download();
    session.says(
        "the client gives a stream up",
        r#"{"type":"stream","id":-1,"status":"terminate"}"#,
    );
    compare("metacom-integer.jsonl", &session.lines);
}

#[test]
fn sessions_with_texts_are_as_in_the_file() {
    let mut session = Session::new();
    session.says(
        "call",
        r#"{"type":"call","id":"6e83af09-1","method":"system/introspect","args":["files"]}"#,
    );
    session.says(
        "call with meta",
        r#"{"type":"call","id":"6e83af09-2","method":"chat/say","args":{},"meta":{"trace":"00-1"}}"#,
    );
    session.says(
        "call without arguments",
        r#"{"type":"call","id":"é","method":"a/b"}"#,
    );
    session.answered(1);
    session.without_ids();
    session.says(
        "ids that were answered may come again",
        r#"{"type":"call","id":"é","method":"a/b"}"#,
    );
    session.says(
        "stream begins",
        r#"{"type":"stream","id":"6e83af09-1","name":"blob","size":5}"#,
    );
    session.chunk("chunk", b"\x0a6e83af09-1hell");
    session.chunk("chunk of a stream that nobody knows is passed over", b"\x01ahell");
    session.says(
        "stream ends",
        r#"{"type":"stream","id":"6e83af09-1","status":"end"}"#,
    );
    session.refuses_upload(1);
    session.download();
    session.says(
        "the client gives a stream up",
        r#"{"type":"stream","id":"-1","status":"terminate"}"#,
    );
    session.says("this dialect has no ping", "{}");
    compare("metacom-text.jsonl", &session.lines);
}
