//! Headers of a message as bytes of the protocol. They are read without trust, since a publisher
//! may send headers that no client library would.

use std::str::FromStr;

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

const VERSION_LINE: &[u8] = b"NATS/1.0";

/// A header block, from its version line to its empty line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBlock(Bytes);

impl HeaderBlock {
    /// Wraps the block received over the wire.
    pub fn new(block: impl Into<Bytes>) -> Self {
        Self(block.into())
    }

    /// Encodes these headers.
    pub fn encode(headers: &HeaderMap) -> Self {
        let mut block = [VERSION_LINE, b"\r\n"].concat();
        for (name, values) in headers.iter() {
            for value in values {
                block.extend(format!("{name}: {value}\r\n").bytes());
            }
        }
        block.extend(b"\r\n");
        Self(block.into())
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the headers if a client library accepts every line.
    pub fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.fields() {
            let name = HeaderName::from_str(std::str::from_utf8(name).ok()?).ok()?;
            let value = HeaderValue::from_str(std::str::from_utf8(value?).ok()?).ok()?;
            headers.append(name, value);
        }
        Some(headers)
    }

    /// Returns the headers that a client library accepts.
    pub fn readable_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.fields() {
            let name = HeaderName::from_str(&String::from_utf8_lossy(name));
            let value = String::from_utf8_lossy(value.unwrap_or_default());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// Returns the values of a header, whose name has no case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let is_of = move |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
        let fields = self.fields().filter(move |(found, _)| is_of(found));
        fields.filter_map(|(_, value)| value)
    }

    /// Iterates over name and value of each line; no value for a line without a colon.
    fn fields(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let lines = self.0.split(|byte| *byte == b'\n');
        let lines = lines.skip(1).map(|line| line.trim_ascii_end());
        lines.filter(|line| !line.is_empty()).map(|line| {
            match line.iter().position(|byte| *byte == b':') {
                Some(colon) => (&line[..colon], Some(line[colon + 1..].trim_ascii())),
                None => (line, None),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", "00-abc");
        headers.append("tag", "a");
        headers.append("tag", "b: c");
        let block = HeaderBlock::encode(&headers);
        assert_eq!(block.headers(), Some(headers));
    }

    #[test]
    fn headers_that_no_client_accepts_are_left_out() {
        let block = HeaderBlock::new(
            &b"NATS/1.0\r\nok: 1\r\nn\xffme: 2\r\nno colon\r\nv: \xff\r\n\r\n"[..],
        );
        assert_eq!(block.headers(), None);
        let readable = block.readable_headers();
        assert_eq!(readable.get("ok").map(|value| value.as_str()), Some("1"));
        assert_eq!(
            readable.get("v").map(|value| value.as_str()),
            Some("\u{fffd}")
        );
        assert_eq!(readable.len(), 2);
    }
}
