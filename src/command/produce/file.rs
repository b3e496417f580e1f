//! Lines of a file as a source.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::lines::{self, LineRead};
use super::source::{
    MessageId, MessageOrigin, MessageSource, Outgoing, OutgoingBatch, SourceError, keep,
};

/// Bytes at which a batch is full, with any number of messages.
const BATCH_BYTES: usize = 1024 * 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Lines of a file.
pub(super) struct Lines {
    reader: Box<dyn BufReadAhead>,
    path: PathBuf,
    prefix: String,
    line_bytes_max: usize,
    number: u64,
    left: Option<u64>,
    line: Vec<u8>,
    arena: BytesMut,
}

/// A reader that knows whether the next read may block.
pub(super) trait BufReadAhead: BufRead + Send {
    /// Reports whether data is buffered.
    fn has_buffered(&self) -> bool;
}

impl<R: io::Read + Send> BufReadAhead for BufReader<R> {
    fn has_buffered(&self) -> bool {
        !self.buffer().is_empty()
    }
}

impl Lines {
    /// Opens `path`, or standard input for `-`.
    pub(super) fn open(
        path: &Path,
        prefix: &str,
        line_bytes_max: usize,
        limit: Option<u64>,
    ) -> Result<Self, SourceError> {
        let reader: Box<dyn BufReadAhead> = if path == Path::new("-") {
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, io::stdin()))
        } else {
            let file = File::open(path).map_err(|source| SourceError::Read {
                path: path.to_owned(),
                source,
            })?;
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file))
        };
        Ok(Self {
            reader,
            path: path.to_owned(),
            prefix: prefix.to_owned(),
            line_bytes_max,
            number: 0,
            left: limit,
            line: Vec::new(),
            arena: BytesMut::new(),
        })
    }

    fn outgoing(&mut self) -> Outgoing {
        let glance = lines::glance(&self.line);
        let id = glance.trace_id.and_then(|id| id.parse().ok());
        Outgoing {
            subject: format!("{}.{}", self.prefix, glance.token).into(),
            id: id.map_or(MessageId::None, MessageId::Text),
            body: keep(&mut self.arena, &self.line),
            origin: MessageOrigin::Line(self.number),
            invalid: false,
        }
    }
}

impl MessageSource for Lines {
    fn fill(&mut self, batch: &mut OutgoingBatch, messages: usize) -> Result<bool, SourceError> {
        let mut bytes = 0;
        for _ in 0..messages {
            if self.left == Some(0) {
                return Ok(false);
            }
            let read = lines::next_line(&mut self.reader, self.line_bytes_max, &mut self.line)
                .map_err(|source| SourceError::Read {
                    path: self.path.clone(),
                    source,
                })?;
            self.number += 1;
            match read {
                LineRead::End => return Ok(false),
                LineRead::TooLong { bytes } => batch.rejected.push(format!(
                    "{}: {bytes} bytes are more than the server's max_payload of {}",
                    MessageOrigin::Line(self.number),
                    self.line_bytes_max
                )),
                LineRead::Line if self.line.trim_ascii().is_empty() => {
                    batch.blank_lines += 1;
                    continue;
                }
                LineRead::Line => {
                    bytes += self.line.len();
                    let outgoing = self.outgoing();
                    batch.messages.push(outgoing);
                }
            }
            self.left = self.left.map(|left| left - 1);
            // Buffered lines must not wait for input that may arrive much later.
            if bytes >= BATCH_BYTES || !self.reader.has_buffered() {
                break;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines_of(text: &str, limit: Option<u64>) -> OutgoingBatch {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut lines = Lines::open(file.path(), "signals", 60, limit).unwrap();
        let mut batch = OutgoingBatch::default();
        while lines.fill(&mut batch, 2).unwrap() {}
        batch
    }

    const TEXT: &str = concat!(
        "{\"event_type\":\"a\",\"trace_id\":\"one\"}\n",
        "\n",
        "not json at all \n",
        "{\"long\":\"......................................................\"}\n",
        "  \n",
        "{\"event_type\":\"b\",\"trace_id\":\"a\\nb\"}",
    );

    #[test]
    fn each_line_is_a_message_with_its_number() {
        let batch = lines_of(TEXT, None);
        let found: Vec<_> = batch
            .messages
            .iter()
            .map(|message| {
                let id = message.id.to_string();
                (message.origin.to_string(), message.subject.as_str(), id)
            })
            .collect();
        let none = || "none".to_owned();
        assert_eq!(
            found,
            [
                ("line 1".to_owned(), "signals.a", "one".to_owned()),
                ("line 3".to_owned(), "signals.unknown", none()),
                // An id that no header can hold.
                ("line 6".to_owned(), "signals.b", none()),
            ]
        );
        assert_eq!(batch.messages[1].body, "not json at all ");
        assert_eq!(batch.blank_lines, 2);
        assert_eq!(batch.rejected.len(), 1);
        assert!(
            batch.rejected[0].starts_with("line 4: 65 bytes"),
            "{:?}",
            batch.rejected
        );
    }

    #[test]
    fn the_count_bounds_the_lines() {
        let batch = lines_of(TEXT, Some(2));
        assert_eq!(batch.messages.len(), 2);
        assert!(Lines::open(Path::new("/nonexistent"), "signals", 60, None).is_err());
    }
}
