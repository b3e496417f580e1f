//! One signal as a row of the table, in ClickHouse's RowBinary.
//!
//! This module encodes the bytes itself, because the clickhouse crate's serializer sends a batch
//! and keeps nothing, while a retry must send the same rows. As in the crate's validated inserts, a
//! `RowBinaryWithNamesAndTypes` header precedes them, with which the server checks every column's
//! name and type: <https://clickhouse.com/docs/interfaces/formats/RowBinaryWithNamesAndTypes>.
//!
//! Most of a row is its payload, which is in the message already. So a row is encoded in two pieces
//! around the payload, and joined when it is sent.

use bytes::BufMut;
use signal::Signal;
use uuid::Uuid;

/// A column of the table: its name and ClickHouse type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name of the column.
    pub name: &'static str,
    /// Type, in ClickHouse's spelling.
    pub data_type: &'static str,
}

const fn column(name: &'static str, data_type: &'static str) -> Column {
    Column { name, data_type }
}

/// Columns that an insert fills, in the order of a row.
pub const COLUMNS: [Column; 17] = [
    column("event_time", "DateTime64(3, 'UTC')"),
    column("source_id", "LowCardinality(String)"),
    column("event_type", "LowCardinality(String)"),
    column("payload", "String"),
    column("severity", "UInt8"),
    column("trace_id", "UUID"),
    column("user_id", "String"),
    column("wallet_address", "String"),
    column("extra", "String"),
    column("payload_faults", "String"),
    column("subject", "LowCardinality(String)"),
    column("stream_created_at", "DateTime64(9, 'UTC')"),
    column("stream_seq", "UInt64"),
    column("published_at", "DateTime64(3, 'UTC')"),
    column("published_sub_ms", "UInt32"),
    column("claim", "UUID"),
    column("fence", "DateTime('UTC')"),
];

/// Nanoseconds in a millisecond.
const NS_A_MS: i64 = 1_000_000;

/// Bytes of the last columns of a row, equal in all rows of a block: the claim and its fence.
pub const TRAILER_BYTES: usize = size_of::<u128>() + size_of::<u32>();

/// Encodes the last columns of each row of a block. ClickHouse rejects the block from second
/// `fence` on.
pub fn encode_trailer(claim: Uuid, fence: u32) -> [u8; TRAILER_BYTES] {
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    uuid(&mut trailer, claim);
    trailer.put_u32_le(fence);
    let mut bytes = [0; TRAILER_BYTES];
    bytes.copy_from_slice(&trailer);
    bytes
}

/// Origin of a signal: the columns besides the signal itself.
#[derive(Debug, Clone, Copy)]
pub struct RowOrigin<'a> {
    /// Subject that it was published on.
    pub subject: &'a str,
    /// Creation time of its stream: nanoseconds since the epoch. Distinguishes the sequences of a
    /// recreated stream from those of its predecessor.
    pub stream_created_ns: i64,
    /// Sequence in the stream.
    pub stream_seq: u64,
    /// Time at which JetStream stored it: nanoseconds since the epoch.
    pub published_ns: i64,
}

/// Appends the header with every column's name and type.
pub fn encode_header(buffer: &mut impl BufMut) {
    leb128(buffer, COLUMNS.len());
    for column in COLUMNS {
        string(buffer, column.name);
    }
    for column in COLUMNS {
        string(buffer, column.data_type);
    }
}

/// Appends the columns before a payload, and its length.
pub fn encode_head(buffer: &mut Vec<u8>, signal: &Signal<'_>) {
    buffer.put_i64_le(signal.event_time_ms);
    string(buffer, &signal.source_id);
    string(buffer, &signal.event_type);
    leb128(buffer, signal.payload.len());
}

/// Appends the columns after the payload, up to the claim.
pub fn encode_tail(buffer: &mut Vec<u8>, signal: &Signal<'_>, origin: &RowOrigin<'_>) {
    // Within 0..=255 by the limit's own type, which the rules apply to the signal.
    buffer.put_u8(signal.severity as u8);
    uuid(buffer, signal.trace_id);
    string(buffer, &signal.user_id);
    string(buffer, &signal.wallet_address);
    string(buffer, &signal.extra);
    match signal.payload_faults.is_empty() {
        true => string(buffer, ""),
        false => string(buffer, &signal.payload_faults.to_string()),
    }
    string(buffer, origin.subject);
    buffer.put_i64_le(origin.stream_created_ns);
    buffer.put_u64_le(origin.stream_seq);
    buffer.put_i64_le(origin.published_ns.div_euclid(NS_A_MS));
    // Below a million.
    buffer.put_u32_le(origin.published_ns.rem_euclid(NS_A_MS) as u32);
}

fn string(buffer: &mut impl BufMut, text: &str) {
    leb128(buffer, text.len());
    buffer.put_slice(text.as_bytes());
}

/// Encodes a UUID as two little-endian halves, as ClickHouse does.
fn uuid(buffer: &mut Vec<u8>, uuid: Uuid) {
    let (high, low) = uuid.as_u64_pair();
    buffer.put_u64_le(high);
    buffer.put_u64_le(low);
}

/// Encodes unsigned LEB128: seven bits a byte, the lowest first.
fn leb128(buffer: &mut impl BufMut, mut value: usize) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// An encoded row, read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The columns.
pub struct StoredRow<'a> {
    pub event_time_ms: i64,
    pub source_id: &'a str,
    pub event_type: &'a str,
    pub payload: &'a str,
    pub severity: u8,
    pub trace_id: Uuid,
    pub user_id: &'a str,
    pub wallet_address: &'a str,
    pub extra: &'a str,
    pub payload_faults: &'a str,
    pub stream_created_ns: i64,
    pub stream_seq: u64,
    pub published_at_ms: i64,
}

impl<'a> StoredRow<'a> {
    /// Reads the pieces that [`encode_head`] and [`encode_tail`] wrote around a payload; `None` for
    /// other bytes.
    pub fn read(head: &'a [u8], payload: &'a [u8], tail: &'a [u8]) -> Option<Self> {
        let (mut head, mut tail) = (Reader(head), Reader(tail));
        let row = Self {
            event_time_ms: i64::from_le_bytes(head.array()?),
            source_id: head.string()?,
            event_type: head.string()?,
            payload: str::from_utf8(payload).ok()?,
            severity: u8::from_le_bytes(tail.array()?),
            trace_id: Uuid::from_u64_pair(
                u64::from_le_bytes(tail.array()?),
                u64::from_le_bytes(tail.array()?),
            ),
            user_id: tail.string()?,
            wallet_address: tail.string()?,
            extra: tail.string()?,
            payload_faults: tail.string()?,
            stream_created_ns: {
                // After the subject.
                tail.string()?;
                i64::from_le_bytes(tail.array()?)
            },
            stream_seq: u64::from_le_bytes(tail.array()?),
            published_at_ms: i64::from_le_bytes(tail.array()?),
        };
        // Time below the millisecond.
        tail.array::<4>()?;
        Some(row)
    }
}

/// Remaining encoded bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn string(&mut self) -> Option<&'a str> {
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let [byte] = self.array()?;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leb128_has_seven_bits_a_byte() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (1 << 21, &[0x80, 0x80, 0x80, 1]),
        ] {
            let mut buffer = Vec::new();
            leb128(&mut buffer, value);
            assert_eq!(buffer, bytes, "{value}");
        }
    }

    #[test]
    fn a_uuid_is_two_little_endian_halves() {
        let mut buffer = Vec::new();
        uuid(
            &mut buffer,
            Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        );
        let expected = [
            0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, //
            0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88,
        ];
        assert_eq!(buffer, expected);
    }

    #[test]
    fn a_row_reads_as_it_was_written() {
        let body = r#"{"event_time":"2026-11-26T05:04:03.002Z","source_id":"s \"q\"","event_type":"risk_event","payload":{ "a":1 },"severity":4,"trace_id":"3b32aef0-228a-5924-a25d-9362bb7bf65d","user_id":"usr_1","wallet_address":"0xÄ","more":[1]}"#;
        let limits = signal::Limits::default();
        let signal = Signal::parse(body.as_bytes(), "signals.t", &limits).unwrap();
        let origin = RowOrigin {
            subject: &"s".repeat(200),
            stream_created_ns: 1_764_140_645_123_456_789,
            stream_seq: u64::MAX,
            published_ns: 7_000_001,
        };
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        encode_head(&mut head, &signal);
        encode_tail(&mut tail, &signal, &origin);
        let read = StoredRow::read(&head, signal.payload.as_bytes(), &tail).unwrap();
        let faults = signal.payload_faults.to_string();
        assert!(!faults.is_empty());
        let expected = StoredRow {
            event_time_ms: 1_795_669_443_002,
            source_id: "s \"q\"",
            event_type: "risk_event",
            payload: r#"{ "a":1 }"#,
            severity: 4,
            trace_id: signal.trace_id,
            user_id: "usr_1",
            wallet_address: "0xÄ",
            extra: r#"{"more":[1]}"#,
            payload_faults: &faults,
            stream_created_ns: origin.stream_created_ns,
            stream_seq: u64::MAX,
            published_at_ms: 7,
        };
        assert_eq!(read, expected);
        for cut in 0..tail.len() {
            assert_eq!(StoredRow::read(&head, b"{}", &tail[..cut]), None);
        }
    }

    #[test]
    fn the_header_names_each_column_and_then_each_type() {
        let mut buffer = Vec::new();
        encode_header(&mut buffer);
        assert_eq!(buffer[..12], *b"\x11\x0aevent_time");
        assert!(buffer.ends_with(b"\x0fDateTime('UTC')"));
    }
}
