use bytes::Bytes;
use pointsman_wire::{Codec, DEPTH_MAX, Dialect, Frame, Role};
use serde_json::{Value, json};

use super::{compare, put_frame};

fn line(dialect: &str, mut codec: Codec, frame: &Frame) -> Value {
    let error = codec.read(frame.clone()).unwrap_err();
    let mut line = json!({"dialect": dialect, "error": error.to_string(), "close_code": error.close_code()});
    put_frame(&mut line, frame);
    line
}

fn binary() -> Vec<Value> {
    let messages: [&[u8]; 25] = [
        b"",
        b"\x01",
        b"\x01\x80",
        b"\x01\x02",
        b"\x01\x02\x05ab",
        b"\x01\x02\x81\x08",
        b"\x01\x02\x01\xff",
        b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00",
        b"\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x00",
        b"\x02\x02",
        b"\x03\x00\x01e\x00",
        b"\x03\x02\x01e\x00",
        b"\x03\x01\x01e",
        b"\x03\x01\x01e\x01",
        b"\x03\x01\x01e\x81\x80\x04\x00",
        b"\x04\x00\x05\x00",
        b"\x04\x02\x05\x00a",
        b"\x05\x02",
        b"\x06\x00",
        b"\x06\x02a",
        b"\x07\x02\x00\x02a",
        b"\x08\x02",
        b"\x0b\x02\x00\x00\x00\x00",
        b"\x0c\x00\x01\x01",
        b"\x0e\x02\x03ab",
    ];
    let codec = || Codec::new(Dialect::Binary, Role::Server);
    let binary = messages.map(|bytes| Frame::Binary(Bytes::from_static(bytes)));
    let frames = binary.into_iter().chain([Frame::Text("{}".to_owned())]);
    frames.map(|frame| line("binary", codec(), &frame)).collect()
}

fn metacom() -> Vec<Value> {
    let deep = format!(
        r#"{{"type":"event","name":"a/b","data":{}}}"#,
        "[".repeat(DEPTH_MAX)
    );
    let texts = [
        "",
        "7",
        "null",
        r#"["call",1]"#,
        r#"{"type":"call""#,
        r#"{"type":"event","name":"a/b"} {}"#,
        r#"{"type":"call","id":1,"id":1,"method":"a/b"}"#,
        r#"{"call":1,"auth/signIn":{}}"#,
        r#"{"type":null,"id":1}"#,
        r#"{"type":1}"#,
        r#"{"type":"call","method":"a/b"}"#,
        r#"{"type":"call","id":0,"method":"a/b"}"#,
        r#"{"type":"call","id":1.5,"method":"a/b"}"#,
        r#"{"type":"call","id":9007199254740992,"method":"a/b"}"#,
        r#"{"type":"call","id":"","method":"a/b"}"#,
        r#"{"type":"call","id":1}"#,
        r#"{"type":"call","id":1,"method":7}"#,
        r#"{"type":"event","data":7}"#,
        r#"{"type":"stream","id":1,"name":"a"}"#,
        r#"{"type":"stream","id":1,"name":"a","size":-1}"#,
        r#"{"type":"stream","id":1,"name":"a","size":9007199254740992}"#,
        r#"{"type":"stream","id":4294967296,"name":"a","size":1}"#,
        r#"{"type":"stream","id":1,"status":"later"}"#,
        r#"{"type":"stream","id":"-1","name":"a","size":1}"#,
        deep.as_str(),
    ];
    let texts = texts.map(|text| line("metacom", Codec::metacom(), &Frame::Text(text.to_owned())));
    let chunk = |dialect, bytes: &'static [u8]| {
        let (name, codec) = match dialect {
            None => ("metacom", Codec::metacom()),
            Some(dialect @ Dialect::MetacomText) => ("metacom-text", Codec::new(dialect, Role::Server)),
            Some(dialect) => ("metacom-integer", Codec::new(dialect, Role::Server)),
        };
        line(name, codec, &Frame::Binary(Bytes::from_static(bytes)))
    };
    let chunks = [
        chunk(None, b"\0\0\0\x01a"),
        chunk(Some(Dialect::MetacomInteger), b"\0\0\x01"),
        chunk(Some(Dialect::MetacomInteger), b"\0\0\0\0a"),
        chunk(Some(Dialect::MetacomText), b""),
        chunk(Some(Dialect::MetacomText), b"\x02a"),
        chunk(Some(Dialect::MetacomText), b"\x01\xffa"),
    ];
    texts.into_iter().chain(chunks).collect()
}

#[test]
fn messages_of_the_file_are_refused_in_its_words() {
    compare("refused.jsonl", &[binary(), metacom()].concat());
}
