//! The headers of a message as bytes of the protocol: read without trusting them, since a
//! publisher may send what no client library would.

use std::str::FromStr;

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

const VERSION_LINE: &[u8] = b"NATS/1.0";

/// A header block, from its version line to its empty line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBlock(Bytes);

impl HeaderBlock {
    /// The block as it came over the wire.
    pub fn new(block: impl Into<Bytes>) -> Self {
        Self(block.into())
    }

    /// The block that holds these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut block = [VERSION_LINE, b"\r\n"].concat();
        for (name, values) in headers.iter() {
            for value in values {
                block.extend(format!("{name}: {value}\r\n").bytes());
            }
        }
        block.extend(b"\r\n");
        Self(block.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The headers, when every line is one that a client library takes.
    pub fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.fields() {
            let name = HeaderName::from_str(std::str::from_utf8(name).ok()?).ok()?;
            let value = HeaderValue::from_str(std::str::from_utf8(value?).ok()?).ok()?;
            headers.append(name, value);
        }
        Some(headers)
    }

    /// Those headers that a client library takes.
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

    /// Name and value of each line; no value where a line has no colon.
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
        let block = HeaderBlock::of(&headers);
        assert_eq!(block.headers(), Some(headers));
    }

    #[test]
    fn what_no_client_takes_is_left_out() {
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
