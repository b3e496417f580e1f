//! Decoding a signal and encoding its row allocate nothing, once there is room for the rows.
//!
//! A program of its own, since allocation-counter replaces the allocator of the whole program.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use risksignal::settings::Settings;
use signal::contract::Mode;
use signal::{Limits, Signal};
use store::Rows;
use store::row::RowOrigin;
use synthetic::{Generator, GeneratorOptions};

const SIGNALS: usize = 10_000;

/// A message as a pull hands it on.
struct Message {
    subject: String,
    body: Bytes,
}

/// Bodies of `risksignal produce --seed 42`. As with async-nats, the bodies are parts of one
/// buffer that was read into, so a slice of one counts a reference up and allocates nothing.
fn messages() -> Vec<Message> {
    let mut generator =
        Generator::new(&GeneratorOptions::new(42, 1_764_000_000_000, limits())).unwrap();
    let mut read = BytesMut::new();
    let mut messages = Vec::new();
    for _ in 0..SIGNALS {
        let produced = generator.produce().unwrap();
        read.extend_from_slice(produced.body);
        messages.push(Message {
            subject: format!("signals.{}", produced.kind.event_type()),
            body: read.split().freeze(),
        });
    }
    messages
}

fn limits() -> Limits {
    Settings::default().validation
}

/// Decodes and encodes as the decode stage does with each message.
fn encode(messages: &[Message], limits: &Limits, rows: &mut Rows) {
    for (stream_seq, message) in (1..).zip(messages) {
        let signal = Signal::parse(&message.body, &message.subject, limits).unwrap();
        let origin = RowOrigin {
            subject: &message.subject,
            stream_created_ns: 1_764_000_000_000_000_000,
            stream_seq,
            published_ns: 1_764_000_000_000_000_000,
        };
        rows.push(&signal, &message.body, &origin);
    }
}

#[test]
fn a_signal_allocates_nothing_in_the_steady_state() {
    // Payloads are looked at, as by default.
    let (messages, limits) = (messages(), limits());
    let all_warn = limits
        .contracts()
        .iter()
        .all(|(_, mode)| mode == Mode::Warn);
    assert!(all_warn && limits.contracts().iter().count() == 3);
    // The batch before, whose size says how much room the next one needs.
    let mut before = Rows::default();
    let growth = measure(|| encode(&messages, &limits, &mut before));
    assert!(growth.count_total > 0, "the counter does not count");

    let mut rows = Rows::sized_like(&before);
    let allocated = measure(|| encode(&messages, &limits, &mut rows));
    assert_eq!(rows.len(), SIGNALS);
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
