//! Lines of a file, one signal each: read in bounded memory, parsed leniently.

use std::borrow::Cow;
use std::io::{self, BufRead};

use jetstream::subject;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Result of [`next_line`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineRead {
    /// The buffer holds a line.
    Line,
    /// The line was too long and is skipped; the buffer holds its beginning.
    TooLong {
        /// Length of the line in bytes.
        bytes: u64,
    },
    /// There are no more lines.
    End,
}

/// Reads the next line into `line`, without its newline and never more than `max` bytes.
pub(super) fn next_line(
    reader: &mut impl BufRead,
    max: usize,
    line: &mut Vec<u8>,
) -> io::Result<LineRead> {
    line.clear();
    let (mut bytes, mut any) = (0_u64, false);
    loop {
        let chunk = match reader.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        any |= !chunk.is_empty();
        bytes += part.len() as u64;
        line.extend_from_slice(&part[..part.len().min(max - line.len())]);
        let at_end = chunk.is_empty() || end.is_some();
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if at_end {
            return Ok(match any {
                false => LineRead::End,
                true if bytes > max as u64 => LineRead::TooLong { bytes },
                true => LineRead::Line,
            });
        }
    }
}

/// Properties of a line that its publish requires.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Glance {
    /// Last token of the subject.
    pub token: String,
    /// `trace_id`, if it is a text.
    pub trace_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    trace_id: Option<&'a RawValue>,
}

/// Parses a line that may hold anything.
pub(super) fn glance(line: &[u8]) -> Glance {
    // Serde would accept an array in place of the fields.
    let object = line.trim_ascii_start().starts_with(b"{");
    let fields: Fields<'_> = object
        .then(|| serde_json::from_slice(line).ok())
        .flatten()
        .unwrap_or_default();
    let event_type = fields.event_type.and_then(text);
    Glance {
        token: subject::token_of(event_type.as_deref().unwrap_or_default()),
        trace_id: fields
            .trace_id
            .and_then(text)
            .filter(|id| !id.is_empty())
            .map(Cow::into_owned),
    }
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value.get())
        .ok()
        .map(|text| text.0)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn read_all(text: &[u8], max: usize) -> Vec<(LineRead, Vec<u8>)> {
        // A tiny buffer, so that lines span several reads.
        let mut reader = BufReader::with_capacity(3, text);
        let mut found = Vec::new();
        let mut line = Vec::new();
        loop {
            match next_line(&mut reader, max, &mut line).unwrap() {
                LineRead::End => return found,
                read => found.push((read, line.clone())),
            }
        }
    }

    #[test]
    fn lines_come_byte_for_byte_and_long_ones_are_skipped() {
        let found = read_all(b"one\n\n\xff\r\nlonger\nexact\nlast", 5);
        let long = LineRead::TooLong { bytes: 6 };
        assert_eq!(
            found,
            [
                (LineRead::Line, b"one".to_vec()),
                (LineRead::Line, b"".to_vec()),
                (LineRead::Line, b"\xff\r".to_vec()),
                (long, b"longe".to_vec()),
                (LineRead::Line, b"exact".to_vec()),
                (LineRead::Line, b"last".to_vec()),
            ]
        );
        assert_eq!(read_all(b"", 5), []);
        assert_eq!(read_all(b"a\n", 5), [(LineRead::Line, b"a".to_vec())]);
    }

    #[test]
    fn a_glance_takes_what_there_is() {
        for (line, token, trace_id) in [
            (r#"{"event_type":"a","trace_id":"t"}"#, "a", Some("t")),
            (r#"{"event_type":"a\u002eb c>*","x":[1]}"#, "a_b_c__", None),
            (r#"{"event_type":7,"trace_id":7}"#, "unknown", None),
            (r#"{"event_type":"","trace_id":""}"#, "unknown", None),
            (r#"{"event_type":"zahlung\u00e4\n"}"#, "zahlungä_", None),
            (r#"{"event_type":"a"#, "unknown", None),
            (r#"["event_type"]"#, "unknown", None),
            ("\u{1}", "unknown", None),
        ] {
            let found = glance(line.as_bytes());
            assert_eq!(found.token, token, "{line}");
            assert_eq!(found.trace_id.as_deref(), trace_id, "{line}");
        }
        assert_eq!(glance(b"\xff{}").token, "unknown");
    }
}
