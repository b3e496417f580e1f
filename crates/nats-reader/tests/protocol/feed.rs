//! The parser, fed piece by piece as a socket would.

use bytes::BufMut;
use risksignal_nats_reader::{Control, Incoming, Message};

use super::reference::{Op, Read};

/// Feeds `bytes` in pieces that end at `cuts` and wherever a buffer is full. The order between
/// messages and other operations is kept within a piece only, so messages come first.
pub fn feed(bytes: &[u8], cuts: &[usize], max: usize) -> Read {
    let mut incoming = Incoming::new(max);
    let mut read = Read::default();
    let (mut messages, mut controls) = (Vec::new(), Vec::new());
    let mut from = 0;
    while from < bytes.len() {
        let cut = cuts.iter().copied().filter(|cut| *cut > from).min();
        let buffer = incoming.buffer();
        let room = buffer.capacity() - buffer.len();
        let to = cut.unwrap_or(bytes.len()).min(bytes.len()).min(from + room);
        buffer.put_slice(&bytes[from..to]);
        from = to;
        let parsed = incoming.parse(&mut messages, &mut controls);
        read.ops
            .extend(messages.drain(..).map(|(sid, message)| op(sid, message)));
        read.ops.extend(controls.drain(..).map(op_of));
        if parsed.is_err() {
            read.is_broken = true;
            return read;
        }
    }
    read
}

fn op(sid: u64, message: Message) -> Op {
    let parts = [
        Some(message.subject()),
        message.reply(),
        message.headers(),
        Some(message.body()),
    ];
    let length: usize = parts.into_iter().flatten().map(<[u8]>::len).sum();
    assert_eq!(message.length(), length);
    assert_eq!(message.shared_headers().as_deref(), message.headers());
    let alone = message.detached();
    assert_eq!(alone.reply(), None);
    assert_eq!(
        alone.block().len() + message.reply().map_or(0, <[u8]>::len),
        length
    );
    let of = |one: &Message| {
        let headers = one.headers().map(<[u8]>::to_vec);
        (one.subject().to_vec(), headers, one.body().to_vec())
    };
    assert_eq!(of(&alone), of(&message));
    let (subject, headers, body) = of(&message);
    Op::Message {
        sid,
        subject,
        reply: message.reply().map(<[u8]>::to_vec),
        headers,
        body,
    }
}

fn op_of(control: Control) -> Op {
    match control {
        Control::Info(json) => Op::Info(json.to_vec()),
        Control::Error(words) => Op::Error(words),
        Control::Ping => Op::Ping,
        Control::Pong => Op::Pong,
    }
}

/// Puts messages before all else, each in their own order.
pub fn messages_first(mut read: Read) -> Read {
    read.ops.sort_by_key(|op| !matches!(op, Op::Message { .. }));
    read
}
