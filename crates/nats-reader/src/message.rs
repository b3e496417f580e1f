//! A message as a part of the block that it was read into.

use bytes::Bytes;

use crate::parse::Frame;

/// First line of a header block.
const VERSION: &[u8] = b"NATS/1.0";

/// A message. It keeps the block that it was read into, of at most [`crate::BLOCK_BYTES`] or its
/// own size, until all of its parts are dropped.
#[derive(Debug, Clone)]
pub struct Message {
    block: Bytes,
    frame: Frame,
}

/// Status of a pull, sent by JetStream instead of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Code, such as 408.
    pub code: u16,
    /// Description; may be empty.
    pub description: String,
}

impl Message {
    /// Creates the message at `frame` in a block.
    pub fn new(block: Bytes, frame: Frame) -> Self {
        debug_assert!(frame.body().end <= block.len(), "a message is in its block");
        Self { block, frame }
    }

    /// Creates a message by itself, without a reply subject, as a copy of its parts.
    pub fn of_parts(subject: &[u8], headers: Option<&[u8]>, body: &[u8]) -> Self {
        let head = headers.unwrap_or_default();
        let frame = Frame::of_parts(subject.len(), headers.map(<[u8]>::len), body.len());
        Self::new([subject, head, body].concat().into(), frame)
    }

    /// Returns a copy by itself, for a message that outlives its neighbors in the block: a small
    /// one would keep the room of a hundred. The copy has no reply subject, so that it may look
    /// like a status.
    pub fn detached(&self) -> Self {
        Self::of_parts(self.subject(), self.headers(), self.body())
    }

    /// Returns the subject.
    pub fn subject(&self) -> &[u8] {
        &self.block[self.frame.subject()]
    }

    /// Returns the reply subject.
    pub fn reply(&self) -> Option<&[u8]> {
        self.frame.reply().map(|at| &self.block[at])
    }

    /// Returns the header block.
    pub fn headers(&self) -> Option<&[u8]> {
        self.frame.headers().map(|at| &self.block[at])
    }

    /// Returns the header block, as a part of the block.
    pub fn shared_headers(&self) -> Option<Bytes> {
        self.frame.headers().map(|at| self.block.slice(at))
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.block[self.frame.body()]
    }

    /// Returns the block that all of its parts are in.
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// Returns the bytes of subject, reply, headers and body.
    pub fn length(&self) -> usize {
        self.frame.length()
    }

    /// Returns the status of a pull, if this is one: it has no reply and no body. A delivery of
    /// JetStream has a reply, so a publisher cannot make one up.
    pub fn status(&self) -> Option<Status> {
        if self.frame.reply().is_some() || !self.body().is_empty() {
            return None;
        }
        let block = self.headers()?.strip_prefix(VERSION)?;
        let line = block.split(|byte| *byte == b'\r').next()?.trim_ascii();
        let (code, description) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => line.split_at(space),
            None => (line, &b""[..]),
        };
        Some(Status {
            code: std::str::from_utf8(code).ok()?.parse().ok()?,
            description: String::from_utf8_lossy(description.trim_ascii()).into_owned(),
        })
    }
}
