//! Any signal from anywhere: its row, read back by a reader of its own, holds every field, and
//! the header names every column with its type, in chunks of whatever size.

#![no_main]

use std::borrow::Cow;

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use signal::Signal;
use signal::contract::{PayloadFault, PayloadFaults};
use store::row::RowOrigin;
use store::{Block, Rows};
use uuid::Uuid;

/// Columns of the table, written down once more: (name, type) in the order of the row.
const COLUMNS: [(&str, &str); 17] = [
    ("event_time", "DateTime64(3, 'UTC')"),
    ("source_id", "LowCardinality(String)"),
    ("event_type", "LowCardinality(String)"),
    ("payload", "String"),
    ("severity", "UInt8"),
    ("trace_id", "UUID"),
    ("user_id", "String"),
    ("wallet_address", "String"),
    ("extra", "String"),
    ("payload_faults", "String"),
    ("subject", "LowCardinality(String)"),
    ("stream_created_at", "DateTime64(9, 'UTC')"),
    ("stream_seq", "UInt64"),
    ("published_at", "DateTime64(3, 'UTC')"),
    ("published_sub_ms", "UInt32"),
    ("claim", "UUID"),
    ("fence", "DateTime('UTC')"),
];

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    event_time_ms: i64,
    source_id: &'a str,
    event_type: &'a str,
    payload: &'a str,
    /// Makes a payload long enough for three bytes of length.
    payload_repeats: u8,
    severity: u8,
    trace_id: u128,
    user_id: &'a str,
    wallet_address: &'a str,
    extra: String,
    subject: &'a str,
    stream_created_ns: i64,
    stream_seq: u64,
    published_ns: i64,
    claim: u128,
    fence: u32,
    chunk_bytes: u16,
    fault: Option<(String, String)>,
}

fuzz_target!(|input: Input<'_>| {
    // A signal borrows its payload from the message.
    let body = Bytes::from(input.payload.repeat(input.payload_repeats.into()));
    let payload = std::str::from_utf8(&body).expect("it was text");
    let fault = input.fault.clone().into_iter();
    let faults = fault
        .map(|(path, rule)| PayloadFault::new(path, rule))
        .collect();
    let signal = Signal {
        event_time_ms: input.event_time_ms,
        source_id: Cow::Borrowed(input.source_id),
        event_type: Cow::Borrowed(input.event_type),
        payload,
        severity: input.severity.into(),
        trace_id: Uuid::from_u128(input.trace_id),
        user_id: Cow::Borrowed(input.user_id),
        wallet_address: Cow::Borrowed(input.wallet_address),
        extra: input.extra.clone(),
        payload_faults: PayloadFaults(faults),
    };
    let origin = RowOrigin {
        subject: input.subject,
        stream_created_ns: input.stream_created_ns,
        stream_seq: input.stream_seq,
        published_ns: input.published_ns,
    };
    // Twice, since a row must end where the next one begins; the second as a copy.
    let mut first = Rows::default();
    first.push(&signal, &body, &origin);
    let mut rows = Rows::default();
    rows.push(&signal, &body, &origin);
    rows.push_from(&first, 0);
    let bytes = rows.bytes();
    let chunks: Vec<Bytes> = Block::new(Uuid::from_u128(input.claim), rows)
        .chunks(input.fence, input.chunk_bytes.into())
        .collect();
    let block = chunks.concat();

    let mut reader = Reader(&block);
    assert_eq!(reader.length(), COLUMNS.len());
    for (name, _) in COLUMNS {
        assert_eq!(reader.text(), name);
    }
    for (_, data_type) in COLUMNS {
        assert_eq!(reader.text(), data_type);
    }
    assert_eq!(reader.0.len(), bytes);
    for _ in 0..2 {
        assert_reads_back(&mut reader, &input, payload);
    }
    assert!(reader.0.is_empty());
});

fn assert_reads_back(reader: &mut Reader<'_>, input: &Input<'_>, payload: &str) {
    assert_eq!(i64::from_le_bytes(reader.bytes()), input.event_time_ms);
    assert_eq!(reader.text(), input.source_id);
    assert_eq!(reader.text(), input.event_type);
    assert!(reader.text() == payload);
    assert_eq!(reader.bytes(), [input.severity]);
    assert_eq!(reader.uuid(), input.trace_id);
    assert_eq!(reader.text(), input.user_id);
    assert_eq!(reader.text(), input.wallet_address);
    assert_eq!(reader.text(), input.extra);
    let faults = input.fault.as_ref();
    let faults = faults.map_or_else(String::new, |(path, rule)| format!("{path}: {rule}"));
    assert_eq!(reader.text(), faults);
    assert_eq!(reader.text(), input.subject);
    assert_eq!(i64::from_le_bytes(reader.bytes()), input.stream_created_ns);
    assert_eq!(u64::from_le_bytes(reader.bytes()), input.stream_seq);
    let ms = i64::from_le_bytes(reader.bytes());
    let below = u32::from_le_bytes(reader.bytes());
    assert_eq!(
        i128::from(ms) * 1_000_000 + i128::from(below),
        input.published_ns.into()
    );
    assert_eq!(reader.uuid(), input.claim);
    assert_eq!(u32::from_le_bytes(reader.bytes()), input.fence);
}

/// Reads RowBinary from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk().expect("the row ends early");
        self.0 = rest;
        *bytes
    }

    /// Two halves, the high one first, each with its lowest byte first.
    fn uuid(&mut self) -> u128 {
        let high = u64::from_le_bytes(self.bytes());
        let low = u64::from_le_bytes(self.bytes());
        u128::from(high) << 64 | u128::from(low)
    }

    fn length(&mut self) -> usize {
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let [byte] = self.bytes();
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        length
    }

    fn text(&mut self) -> &'a str {
        let length = self.length();
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(text).expect("not text")
    }
}
