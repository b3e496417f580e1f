//! The rows of one batch, as ClickHouse takes them.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::row::{self, Origin, StoredRow, TRAILER_BYTES};
use crate::signal::Signal;

/// Encoded rows, each around a payload that stays in its message.
#[derive(Debug, Default)]
pub struct Rows {
    /// What stands before and behind each payload, row after row.
    pieces: Vec<u8>,
    rows: Vec<Row>,
    payload_bytes: usize,
}

/// One row: where its pieces end, and what comes between them.
#[derive(Debug, Clone)]
struct Row {
    head_end: usize,
    tail_end: usize,
    payload: Bytes,
}

impl Rows {
    /// No rows, with room for as many as `other` has.
    pub fn sized_like(other: &Self) -> Self {
        Self {
            pieces: Vec::with_capacity(other.pieces.len()),
            rows: Vec::with_capacity(other.rows.len()),
            payload_bytes: 0,
        }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that an insert sends for them, before compression.
    pub fn bytes(&self) -> usize {
        self.pieces.len() + self.payload_bytes + self.rows.len() * TRAILER_BYTES
    }

    /// Adds the row of a signal that was parsed from `body`.
    pub fn push(&mut self, signal: &Signal<'_>, body: &Bytes, origin: &Origin<'_>) {
        row::encode_head(&mut self.pieces, signal);
        let head_end = self.pieces.len();
        row::encode_tail(&mut self.pieces, signal, origin);
        // A signal borrows its payload from its body.
        let payload = body.slice_ref(signal.payload.as_bytes());
        self.add(head_end, payload);
    }

    /// Adds a copy of another's row.
    pub fn push_from(&mut self, other: &Self, index: usize) {
        let row = &other.rows[index];
        let start = other.start(index);
        self.pieces
            .extend_from_slice(&other.pieces[start..row.tail_end]);
        let tail_bytes = row.tail_end - row.head_end;
        self.add(self.pieces.len() - tail_bytes, row.payload.clone());
    }

    /// The rows as they were encoded, in their order.
    pub fn iter(&self) -> impl Iterator<Item = StoredRow<'_>> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(index, row)| {
            let head = &self.pieces[self.start(index)..row.head_end];
            let tail = &self.pieces[row.head_end..row.tail_end];
            StoredRow::read(head, &row.payload, tail)
        })
    }

    fn add(&mut self, head_end: usize, payload: Bytes) {
        self.payload_bytes += payload.len();
        self.rows.push(Row {
            head_end,
            tail_end: self.pieces.len(),
            payload,
        });
    }

    fn start(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(before) => self.rows[before].tail_end,
            None => 0,
        }
    }

    /// Appends the rows in `range`, as many as it takes to fill `buffer` up to `full` bytes,
    /// and returns the rest of the range.
    fn write(
        &self,
        mut range: Range<usize>,
        trailer: &[u8],
        full: usize,
        buffer: &mut BytesMut,
    ) -> Range<usize> {
        while buffer.len() < full
            && let Some(index) = range.next()
        {
            let row = &self.rows[index];
            buffer.extend_from_slice(&self.pieces[self.start(index)..row.head_end]);
            buffer.extend_from_slice(&row.payload);
            buffer.extend_from_slice(&self.pieces[row.head_end..row.tail_end]);
            buffer.extend_from_slice(trailer);
        }
        range
    }
}

/// The rows of one batch under their token, immutable.
#[derive(Debug)]
pub struct Block {
    token: Uuid,
    rows: Rows,
}

impl Block {
    /// Seals the rows of a claim under its nonce. ClickHouse drops a block whose token it has
    /// seen, so a token never belongs to other rows.
    pub fn new(token: Uuid, rows: Rows) -> Self {
        Self { token, rows }
    }

    /// What ClickHouse knows the block by.
    pub fn token(&self) -> Uuid {
        self.token
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The rows, when they need no token any more.
    pub fn into_rows(self) -> Rows {
        self.rows
    }

    /// The header and the rows as they are sent, in chunks of about `chunk_bytes`. `fence` is
    /// the last column of each row, in ClickHouse's seconds since the epoch.
    pub fn chunks(&self, fence: u32, chunk_bytes: usize) -> impl Iterator<Item = Bytes> {
        let trailer = row::encode_trailer(self.token, fence);
        let mut buffer = BytesMut::new();
        row::encode_header(&mut buffer);
        let mut rest = 0..self.rows.len();
        let chunk_bytes = chunk_bytes.max(1);
        std::iter::from_fn(move || {
            // The room of a chunk that has been sent is used again.
            buffer.reserve(chunk_bytes.min(self.rows.bytes()));
            rest = self
                .rows
                .write(rest.clone(), &trailer, chunk_bytes, &mut buffer);
            (!buffer.is_empty()).then(|| buffer.split().freeze())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(payloads: &[&str]) -> Rows {
        let mut rows = Rows::default();
        for (index, payload) in payloads.iter().enumerate() {
            let body = Bytes::from(format!(
                r#"{{"event_time":0,"source_id":"s","event_type":"t","payload":{payload},"severity":1,"trace_id":"3b32aef0-228a-5924-a25d-9362bb7bf65d"}}"#
            ));
            let limits = crate::settings::Settings::default().validation;
            let signal = Signal::parse(&body, "signals.t", &limits).unwrap();
            let origin = Origin {
                subject: "signals.t",
                stream_created_ns: 0,
                stream_seq: index as u64,
                published_ns: 0,
            };
            rows.push(&signal, &body, &origin);
        }
        rows
    }

    #[test]
    fn chunks_are_the_rows_whatever_their_size() {
        let block = Block::new(Uuid::nil(), rows(&["{}", r#"{"a":1}"#, r#"{"b":[1,2]}"#]));
        let whole: Vec<Bytes> = block.chunks(7, 1 << 20).collect();
        assert_eq!(whole.len(), 1);
        let small: Vec<Bytes> = block.chunks(7, 16).collect();
        assert!(small.len() > 1);
        assert_eq!(small.concat(), whole.concat());
        let mut header = BytesMut::new();
        row::encode_header(&mut header);
        assert_eq!(whole[0].len(), header.len() + block.rows().bytes());
        assert!(whole[0].ends_with(&7u32.to_le_bytes()));
    }

    #[test]
    fn a_copied_row_is_the_same_bytes() {
        let all = rows(&["{}", r#"{"a":1}"#, "{ }"]);
        let mut second = Rows::default();
        second.push_from(&all, 1);
        let mut expected = BytesMut::new();
        all.write(1..2, &[7; TRAILER_BYTES], usize::MAX, &mut expected);
        let mut found = BytesMut::new();
        second.write(0..1, &[7; TRAILER_BYTES], usize::MAX, &mut found);
        assert_eq!(found, expected);
        assert_eq!(found.len(), second.bytes());
    }
}
