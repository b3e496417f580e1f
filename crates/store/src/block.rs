//! Encoded rows of one batch.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use signal::Signal;
use uuid::Uuid;

use super::row::{self, RowOrigin, StoredRow, TRAILER_BYTES};

/// Encoded rows, each around a payload that stays in its message.
#[derive(Debug, Default)]
pub struct Rows {
    /// Bytes before and after each payload, row after row.
    pieces: Vec<u8>,
    rows: Vec<Row>,
    payload_bytes: usize,
}

/// End of a row's pieces, and the payload between them.
#[derive(Debug, Clone)]
struct Row {
    head_end: usize,
    tail_end: usize,
    payload: Bytes,
}

impl Rows {
    /// Returns no rows, with room for as many as `other` has.
    pub fn sized_like(other: &Self) -> Self {
        Self {
            pieces: Vec::with_capacity(other.pieces.len()),
            rows: Vec::with_capacity(other.rows.len()),
            payload_bytes: 0,
        }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the bytes that an insert sends for them, before compression.
    pub fn bytes(&self) -> usize {
        self.pieces.len() + self.payload_bytes + self.rows.len() * TRAILER_BYTES
    }

    /// Adds the row of a signal parsed from a part of `block`.
    pub fn push(&mut self, signal: &Signal<'_>, block: &Bytes, origin: &RowOrigin<'_>) {
        row::encode_head(&mut self.pieces, signal);
        let head_end = self.pieces.len();
        row::encode_tail(&mut self.pieces, signal, origin);
        // The payload of a signal is a slice of its body.
        let payload = block.slice_ref(signal.payload.as_bytes());
        self.add(head_end, payload);
    }

    /// Adds a copy of a row of `other`.
    pub fn push_from(&mut self, other: &Self, index: usize) {
        let row = &other.rows[index];
        let start = other.start(index);
        self.pieces
            .extend_from_slice(&other.pieces[start..row.tail_end]);
        let tail_bytes = row.tail_end - row.head_end;
        self.add(self.pieces.len() - tail_bytes, row.payload.clone());
    }

    /// Iterates over the encoded rows, in order.
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

    /// Appends rows of `range` until `buffer` holds about `full` bytes, and returns the rest of the
    /// range.
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

/// Rows of one batch under their token, immutable.
#[derive(Debug)]
pub struct Block {
    token: Uuid,
    rows: Rows,
}

impl Block {
    /// Seals the rows of a claim under its nonce. ClickHouse drops a block whose token it knows, so
    /// a token never belongs to other rows.
    pub fn new(token: Uuid, rows: Rows) -> Self {
        Self { token, rows }
    }

    /// Returns the token by which ClickHouse knows the block.
    pub fn token(&self) -> Uuid {
        self.token
    }

    /// Returns the rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Returns the rows without their token.
    pub fn into_rows(self) -> Rows {
        self.rows
    }

    /// Returns the header and the rows in chunks of about `chunk_bytes`. `fence` is the last column
    /// of each row, in ClickHouse's seconds since the epoch.
    pub fn chunks(&self, fence: u32, chunk_bytes: usize) -> impl Iterator<Item = Bytes> {
        let trailer = row::encode_trailer(self.token, fence);
        let mut buffer = BytesMut::new();
        row::encode_header(&mut buffer);
        let mut rest = 0..self.rows.len();
        let chunk_bytes = chunk_bytes.max(1);
        std::iter::from_fn(move || {
            // Reuses the buffer of a chunk that has been sent.
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
            let limits = signal::Limits::default();
            let signal = Signal::parse(&body, "signals.t", &limits).unwrap();
            let origin = RowOrigin {
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
