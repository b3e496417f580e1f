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
    let length = message.length();
    let borrowed = (message.subject().to_vec(), message.body().to_vec());
    let reply = message.shared_reply();
    assert_eq!(reply.as_deref(), message.reply());
    let parts = message.into_parts();
    let sizes = [
        Some(&parts.subject),
        reply.as_ref(),
        parts.headers.as_ref(),
        Some(&parts.body),
    ];
    assert_eq!(
        length,
        sizes
            .into_iter()
            .flatten()
            .map(|part| part.len())
            .sum::<usize>()
    );
    assert_eq!(borrowed, (parts.subject.to_vec(), parts.body.to_vec()));
    Op::Message {
        sid,
        subject: parts.subject.to_vec(),
        reply: reply.map(|reply| reply.to_vec()),
        headers: parts.headers.map(|headers| headers.to_vec()),
        body: parts.body.to_vec(),
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
