//! The parser against a slow one, for any bytes and any cuts.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

mod feed;
mod reference;

use bytes::BufMut;
use proptest::prelude::*;
use risksignal_nats_reader::{BLOCK_BYTES, Incoming};

use feed::{feed, messages_first};
use reference::{Op, read};

const MAX: usize = 300_000;

/// Bytes of an operation.
fn encode(op: &Op) -> Vec<u8> {
    match op {
        Op::Message {
            sid,
            subject,
            reply,
            headers,
            body,
        } => {
            let name = if headers.is_some() { "HMSG" } else { "MSG" };
            let mut line = name.as_bytes().to_vec();
            let mut field = |field: &[u8]| {
                line.push(b' ');
                line.extend_from_slice(field);
            };
            field(subject);
            field(sid.to_string().as_bytes());
            reply.iter().for_each(|reply| field(reply));
            let block = headers.as_deref().unwrap_or_default();
            if headers.is_some() {
                field(block.len().to_string().as_bytes());
            }
            field((block.len() + body.len()).to_string().as_bytes());
            [&line, &b"\r\n"[..], block, body, b"\r\n"].concat()
        }
        Op::Info(json) => [b"INFO ", json.as_slice(), b"\r\n"].concat(),
        Op::Error(words) => format!("-ERR '{words}'\r\n").into_bytes(),
        Op::Ping => b"PING\r\n".to_vec(),
        Op::Pong => b"PONG\r\n".to_vec(),
    }
}

fn token() -> impl Strategy<Value = Vec<u8>> {
    // Any byte that a server lets into a subject, UTF-8 or not.
    let byte = any::<u8>().prop_filter("a separator", |byte| !b" \t\r\n".contains(byte));
    prop::collection::vec(byte, 1..80)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..300),
        // Longer than a block.
        1 => (0..MAX / 2, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let headers = prop::option::of(prop::collection::vec(any::<u8>(), 0..100));
    let message = (
        any::<u64>(),
        token(),
        prop::option::of(token()),
        headers,
        body(),
    );
    prop_oneof![
        6 => message.prop_map(|(sid, subject, reply, headers, body)| Op::Message {
            sid, subject, reply, headers, body,
        }),
        1 => "\\{[a-z\": ]{0,50}\\}".prop_map(|json| Op::Info(json.into_bytes())),
        1 => "[A-Z]([a-z ]{0,50}[a-z])?".prop_map(Op::Error),
        1 => Just(Op::Ping),
        1 => Just(Op::Pong),
    ]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(0..2_000_usize, 0..40),
        prop::collection::vec(0..MAX, 0..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is sent is read, by both parsers, wherever the reads end.
    #[test]
    fn operations_are_read_as_they_were_sent(ops in prop::collection::vec(op(), 0..30), cuts in cuts()) {
        let bytes: Vec<u8> = ops.iter().flat_map(encode).collect();
        let expected = read(&bytes, MAX);
        prop_assert_eq!(&expected.ops, &ops);
        prop_assert!(!expected.is_broken);
        let found = feed(&bytes, &cuts, MAX);
        prop_assert_eq!(messages_first(found), messages_first(expected));
    }

    /// With bytes replaced, removed and added, both read the same and fail at the same place.
    #[test]
    fn garbage_is_refused_by_both(
        ops in prop::collection::vec(op(), 1..6),
        faults in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 1..4),
        cuts in cuts(),
    ) {
        let mut bytes: Vec<u8> = ops.iter().flat_map(encode).collect();
        for (at, kind, byte) in faults {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        let expected = messages_first(read(&bytes, MAX));
        prop_assert_eq!(messages_first(feed(&bytes, &cuts, MAX)), expected);
    }
}

fn sample() -> Vec<u8> {
    let mut sample = b"INFO {\"a\":1} \r\n+OK\r\nPING\r\nMSG a.b 1 5\r\nhello\r\n".to_vec();
    sample.extend(b"HMSG a 12 $JS.ACK.S.c.1.2.3.4.5 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    sample.extend(b"HMSG in 1 30 30\r\nNATS/1.0 408 Request Timeout\r\n\r\n".as_slice());
    // The block of that status has 32 bytes.
    let at = sample.windows(5).position(|part| part == b"30 30").unwrap();
    sample[at..at + 5].copy_from_slice(b"32 32");
    sample.extend(b"\r\n-ERR 'Stale Connection'\r\nPONG\r\nMSG x 2 r 0\r\n\r\n");
    sample
}

#[test]
fn every_two_cuts_give_the_same() {
    let sample = sample();
    let expected = messages_first(read(&sample, MAX));
    assert_eq!(expected.ops.len(), 8);
    for first in 0..sample.len() {
        for second in first..sample.len() {
            let found = messages_first(feed(&sample, &[first, second], MAX));
            assert_eq!(found, expected, "cut at {first} and {second}");
        }
    }
}

#[test]
fn every_beginning_of_a_stream_waits_for_the_rest() {
    let sample = sample();
    for end in 0..sample.len() {
        let part = &sample[..end];
        assert!(!read(part, MAX).is_broken, "{end}");
        assert_eq!(
            messages_first(feed(part, &[], MAX)),
            messages_first(read(part, MAX))
        );
    }
}

#[test]
fn what_no_further_bytes_can_mend_is_refused_at_once() {
    for bytes in [
        &b"X"[..],
        b"MS ",
        b"MSG  1 0\r\n\r\n",
        b"MSG a 1\r\n",
        b"MSG a b 0\r\n",
        b"MSG a 1 r 1 1\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 +1\r\n",
        b"MSG a 18446744073709551616 0\r\n",
        b"MSG a 1 99999999999999999999\r\n",
        b"MSG a 1 300001\r\n",
        b"MSG a 1 2\r\nabc",
        b"MSG a 1 2\r\nab\rc",
        b"HMSG a 1 3\r\n",
        b"HMSG a 1 4 3\r\nabc\r\n",
        b"MSG a 1 0\n",
        b"PINGS\r\n",
        b"PING\n",
        b"INFO\r\n",
        b"\r\n",
        b"msg a 1 0\r\n\r\n",
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert!(feed(bytes, &[], MAX).is_broken, "{text:?}");
        assert!(read(bytes, MAX).is_broken, "{text:?}");
    }
    let endless = [b"INFO ", vec![b'x'; 1 << 20].as_slice()].concat();
    assert!(feed(&endless, &[], MAX).is_broken);
}

#[test]
fn a_status_is_one_without_a_reply_alone() {
    let status = |text: &[u8]| {
        let mut incoming = Incoming::new(MAX);
        incoming.buffer().put_slice(text);
        let mut messages = Vec::new();
        incoming.parse(&mut messages, &mut Vec::new()).unwrap();
        messages
            .pop()
            .unwrap()
            .1
            .status()
            .map(|status| (status.code, status.description))
    };
    let timeout = status(b"HMSG in 1 32 32\r\nNATS/1.0 408 Request Timeout\r\n\r\n\r\n");
    assert_eq!(timeout, Some((408, "Request Timeout".to_owned())));
    assert_eq!(
        status(b"HMSG in 1 16 16\r\nNATS/1.0 100\r\n\r\n\r\n"),
        Some((100, String::new()))
    );
    let forged = status(b"HMSG in 1 $JS.ACK.x 32 32\r\nNATS/1.0 408 Request Timeout\r\n\r\n\r\n");
    assert_eq!(forged, None);
    assert_eq!(status(b"HMSG in 1 12 12\r\nNATS/1.0\r\n\r\n\r\n"), None);
    assert_eq!(status(b"MSG in 1 0\r\n\r\n"), None);
}

/// The only allocations are the blocks, with a count of who uses each.
#[test]
fn messages_are_read_without_an_allocation_each() {
    const COUNT: usize = 10_000;
    let message = b"MSG signals.a 1 $JS.ACK.SIGNALS.c.1.2.3.4.5 300\r\n";
    let message = [message.as_slice(), &[b'x'; 300], b"\r\n"].concat();
    let bytes = message.repeat(COUNT);
    let mut messages = Vec::with_capacity(COUNT);
    let mut incoming = Incoming::new(MAX);
    // Its own lists grow once.
    let mut read = |mut rest: &[u8], messages: &mut Vec<_>| {
        while !rest.is_empty() {
            let buffer = incoming.buffer();
            let room = (buffer.capacity() - buffer.len()).min(rest.len());
            buffer.put_slice(&rest[..room]);
            rest = &rest[room..];
            incoming.parse(messages, &mut Vec::new()).unwrap();
        }
    };
    read(
        &message.repeat(BLOCK_BYTES / message.len() * 2),
        &mut messages,
    );
    messages.clear();
    let counted = allocation_counter::measure(|| read(&bytes, &mut messages));
    assert_eq!(messages.len(), COUNT);
    let blocks = (bytes.len() / BLOCK_BYTES + 2) as u64;
    assert!(
        counted.count_total <= blocks * 3,
        "{counted:?} in {blocks} blocks"
    );
    let held = bytes.len() + bytes.len() / 8 + 2 * BLOCK_BYTES;
    assert!(counted.bytes_total <= held as u64, "{counted:?}");
}

/// A block for a large message is not used for the small ones behind it, which would pin it.
#[test]
fn a_small_message_pins_no_large_block() {
    let mut incoming = Incoming::new(8 << 20);
    let large = [
        b"MSG a 1 4000000\r\n".as_slice(),
        &vec![b'x'; 4_000_000],
        b"\r\n",
    ]
    .concat();
    let mut messages = Vec::new();
    let mut rest = large.as_slice();
    while !rest.is_empty() {
        let buffer = incoming.buffer();
        let room = (buffer.capacity() - buffer.len()).min(rest.len());
        buffer.put_slice(&rest[..room]);
        rest = &rest[room..];
        incoming.parse(&mut messages, &mut Vec::new()).unwrap();
    }
    assert_eq!(messages.len(), 1);
    messages.clear();
    assert!(incoming.buffer().capacity() <= BLOCK_BYTES);
}
