use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialect::METACOM_CHUNK_BYTES_MAX;

const SIZE_MAX: u64 = 1 << 40;

fn pair(dialect: Dialect) -> (Streams, Streams) {
    (
        Streams::new(dialect, Role::Client, SIZE_MAX),
        Streams::new(dialect, Role::Server, SIZE_MAX),
    )
}

fn chunk(id: i64, bytes: usize) -> Packet {
    let payload = Bytes::from(vec![1; bytes]);
    Packet::StreamChunk { id, payload }
}

fn opened(streams: &mut Streams, id: i64, size: u64) {
    let name = "a".to_owned();
    let taken = streams.take(Packet::StreamInit {
        id,
        size,
        name: name.clone(),
    });
    assert_eq!(taken, Ok(Taken::Opened { id, size, name }));
}

fn refusal(taken: Result<Taken, StreamError>) -> (u64, String) {
    match taken {
        Ok(Taken::Refused {
            answer: Packet::StreamAbort { status, reason, .. },
            ..
        }) => (status, reason),
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn sizes_are_enforced_and_what_is_late_is_passed_over() {
    let (_, mut server) = pair(Dialect::Binary);
    opened(&mut server, 1, 5);
    assert!(matches!(server.take(chunk(1, 3)), Ok(Taken::Chunk { .. })));
    let (status, reason) = refusal(server.take(chunk(1, 3)));
    assert_eq!(
        (status, reason.as_str()),
        (400, "more bytes than the 5 of its size")
    );
    assert_eq!(server.take(chunk(1, 3)), Ok(Taken::Nothing));
    assert_eq!(server.take(Packet::StreamEnd { id: 1 }), Ok(Taken::Nothing));
    opened(&mut server, 2, 5);
    server.take(chunk(2, 4)).unwrap();
    let (status, reason) = refusal(server.take(Packet::StreamEnd { id: 2 }));
    assert_eq!((status, reason.as_str()), (400, "ended after 4 of 5 bytes"));
    opened(&mut server, 3, 0);
    assert_eq!(
        server.take(Packet::StreamEnd { id: 3 }),
        Ok(Taken::Ended { id: 3 })
    );
    let (status, _) = refusal(server.take(chunk(4, 1)));
    assert_eq!(status, 400);
    let (id, size, name) = (9, SIZE_MAX + 1, String::new());
    assert_eq!(refusal(server.take(Packet::StreamInit { id, size, name })).0, 413);
}

#[test]
fn more_than_the_credit_is_refused_and_credit_follows_what_is_consumed() {
    let (_, mut server) = pair(Dialect::Binary);
    let window = usize::try_from(WINDOW_BYTES).unwrap();
    opened(&mut server, 1, 3 * WINDOW_BYTES);
    server.take(chunk(1, window)).unwrap();
    assert_eq!(server.consumed(1, WINDOW_BYTES / 2 - 1), None);
    let bytes = WINDOW_BYTES / 2;
    assert_eq!(server.consumed(1, 1), Some(Packet::Credit { id: 1, bytes }));
    server.take(chunk(1, window / 2)).unwrap();
    let (status, reason) = refusal(server.take(chunk(1, 1)));
    assert_eq!(
        (status, reason.as_str()),
        (400, "more bytes than the credit; wait for CREDIT")
    );
    assert_eq!(server.consumed(1, 1), None);
}

#[test]
fn a_sender_waits_for_credit_and_ends_with_end() {
    let (mut client, _) = pair(Dialect::Binary);
    let size = WINDOW_BYTES + 1;
    let stream = client.open("a", size).unwrap();
    assert_eq!(
        stream.init,
        Packet::StreamInit {
            id: 1,
            size,
            name: "a".to_owned()
        }
    );
    for _ in 0..4 {
        assert_eq!(client.room(1), Ok(CHUNK_BYTES));
        let pushed = client.push(1, Bytes::from(vec![1; CHUNK_BYTES])).unwrap();
        assert_eq!(pushed.end, None);
    }
    assert_eq!(client.room(1), Ok(0));
    let error = client.push(1, Bytes::from_static(b"a")).unwrap_err();
    assert_eq!(
        error,
        StreamError::Room {
            id: 1,
            bytes: 1,
            room: 0
        }
    );
    assert_eq!(error.retry(), Retry::Later);
    let credit = Packet::Credit {
        id: 1,
        bytes: u64::MAX,
    };
    assert_eq!(client.take(credit.clone()), Ok(Taken::Room { id: 1 }));
    assert_eq!(client.room(1), Ok(1));
    assert_eq!(client.push(1, Bytes::new()), Err(StreamError::Empty));
    let pushed = client.push(1, Bytes::from_static(b"a")).unwrap();
    assert_eq!(pushed.end, Some(Packet::StreamEnd { id: 1 }));
    assert_eq!(client.room(1), Err(StreamError::Over { id: 1 }));
    assert_eq!(client.take(credit), Ok(Taken::Nothing));
    assert_eq!(
        client.open("b", 0).unwrap().end,
        Some(Packet::StreamEnd { id: 2 })
    );
}

#[test]
fn at_most_sixteen_each_way_and_bytes_that_wait_count() {
    let (mut client, mut server) = pair(Dialect::Binary);
    for _ in 0..STREAMS_MAX {
        let stream = client.open("a", 1).unwrap();
        server.take(stream.init).unwrap();
        server.take(chunk(stream.id, 1)).unwrap();
        assert!(matches!(
            server.take(Packet::StreamEnd { id: stream.id }),
            Ok(Taken::Ended { .. })
        ));
    }
    assert_eq!(client.open("a", 1), Err(StreamError::Many));
    assert!(server.open("a", 1).is_ok());
    let init = |id| Packet::StreamInit {
        id,
        size: 1,
        name: String::new(),
    };
    assert_eq!(refusal(server.take(init(17))).0, 503);
    server.consumed(1, 1);
    assert!(matches!(server.take(init(18)), Ok(Taken::Opened { .. })));
    client.abort(1, 499, "not wanted").unwrap();
    assert_eq!(client.open("a", 1).unwrap().id, 17);
}

#[test]
fn either_end_aborts_and_both_forget() {
    let (mut client, mut server) = pair(Dialect::MetacomInteger);
    let stream = client.open("a", 9).unwrap();
    server.take(stream.init).unwrap();
    let abort = server.abort(1, 403, "may not write").unwrap();
    let (id, status, reason) = (1, 403, "may not write".to_owned());
    assert_eq!(client.take(abort), Ok(Taken::Aborted { id, status, reason }));
    assert_eq!(client.room(1), Err(StreamError::Over { id }));
    assert_eq!(server.take(chunk(1, 1)), Ok(Taken::Nothing));
    assert_eq!(server.abort(1, 1, ""), Err(StreamError::Over { id }));
    let stream = client.open("b", 9).unwrap();
    server.take(stream.init).unwrap();
    server.take(client.abort(2, 499, "").unwrap()).unwrap();
    assert_eq!(server.abort(2, 1, ""), Err(StreamError::Over { id: 2 }));
}

#[test]
fn ids_of_the_wrong_end_and_ids_that_were_used_end_the_session() {
    let (_, mut server) = pair(Dialect::Binary);
    server.open("a", 1).unwrap();
    let init = |id| Packet::StreamInit {
        id,
        size: 1,
        name: String::new(),
    };
    opened(&mut server, 2, 1);
    for packet in [
        init(-5),
        init(2),
        init(1),
        chunk(-1, 1),
        Packet::StreamEnd { id: -1 },
        Packet::Credit { id: 2, bytes: 1 },
        Packet::Credit { id: -2, bytes: 1 },
    ] {
        let error = server.take(packet.clone()).unwrap_err();
        assert_eq!(error.close_code(), Some(1002), "{packet:?}");
    }
    let ping = Packet::Ping { seen: 1 };
    assert_eq!(server.take(ping.clone()), Ok(Taken::Other(ping)));
}

#[test]
fn a_download_of_metacom_has_at_most_32_chunks_before_it_waits() {
    let most = u64::try_from(METACOM_CHUNK_BYTES_MAX).unwrap();
    for (size, chunk_bytes) in [
        (1, 1),
        (2 << 20, 64 << 10),
        (3_000_000, 93_750),
        (64 << 20, 2 << 20),
        (1 << 30, most - 256),
    ] {
        let (_, mut server) = pair(Dialect::MetacomInteger);
        let id = server.open("a", size).unwrap().id;
        assert_eq!(
            server.room(id),
            Ok(usize::try_from(chunk_bytes).unwrap()),
            "{size}"
        );
        let (mut chunks, mut sent) = (0, 0);
        while let Ok(room @ 1..) = server.room(id) {
            chunks += 1;
            sent += u64::try_from(room).unwrap();
            server.push(id, Bytes::from(vec![0; room])).unwrap();
        }
        assert!(chunks <= METACOM_CHUNKS_MAX);
        if size < most * 32 - 32 * 256 {
            assert_eq!(sent, size);
        } else {
            server.resume(id).unwrap();
            assert!(server.room(id).unwrap() > 0);
        }
    }
}

proptest! {
    /// Whatever the receiver's speed, all bytes come, never more than the window waits, and nobody waits for ever.
    #[test]
    fn every_stream_gets_through(
        sizes in prop::collection::vec(0_u64..1 << 20, 1..4),
        pieces in prop::collection::vec(1_usize..100_000, 1..8),
        gulps in prop::collection::vec(1_u64..300_000, 1..8),
    ) {
        let (mut client, mut server) = pair(Dialect::Binary);
        let mut pieces = pieces.iter().cycle();
        let mut gulps = gulps.iter().cycle();
        let mut waiting = BTreeMap::new();
        let mut ended = 0;
        let mut open = Vec::new();
        for size in &sizes {
            let stream = client.open("a", *size).unwrap();
            server.take(stream.init).unwrap();
            match stream.end {
                Some(end) => {
                    server.take(end).unwrap();
                    ended += 1;
                }
                None => open.push(stream.id),
            }
        }
        while ended < sizes.len() || waiting.values().any(|bytes| *bytes > 0) {
            let mut moved = false;
            for id in &open {
                let Ok(room @ 1..) = client.room(*id) else { continue };
                moved = true;
                let pushed = client.push(*id, Bytes::from(vec![0; room.min(*pieces.next().unwrap())])).unwrap();
                for packet in [Some(pushed.chunk), pushed.end].into_iter().flatten() {
                    match server.take(packet).unwrap() {
                        Taken::Chunk { id, payload } => *waiting.entry(id).or_insert(0) += payload.len() as u64,
                        Taken::Ended { .. } => ended += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
            for (id, bytes) in &mut waiting {
                prop_assert!(*bytes <= WINDOW_BYTES);
                let gulp = (*bytes).min(*gulps.next().unwrap());
                moved |= gulp > 0;
                *bytes -= gulp;
                if let Some(credit) = server.consumed(*id, gulp) {
                    client.take(credit).unwrap();
                }
            }
            prop_assert!(moved, "everybody waits");
        }
        prop_assert!(client.sending.is_empty() && server.receiving.is_empty());
    }
}
