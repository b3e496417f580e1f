//! The bytes that a connection has read, block by block, and the operations in them.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::message::Message;
use crate::parse::{Frame, Operation, ParseError, Parsed, parse};

/// Size of a block. A message keeps its block, so a larger one would let a small message that is
/// held for long pin more; a smaller one takes more reads.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// Least room of a read.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Operation of a server that is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// JSON of an `INFO`.
    Info(Bytes),
    /// Text of an `-ERR`.
    Error(String),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
}

/// Bytes that were read, and are parsed as far as they are whole.
#[derive(Debug)]
pub struct Incoming {
    buffer: BytesMut,
    /// Size of the allocation that the buffer is a part of.
    block: usize,
    /// Least size of the operation that the buffer begins with.
    needs: usize,
    message_max: usize,
    frames: Vec<Frame>,
}

impl Incoming {
    /// Creates an empty one for messages with at most `message_max` bytes of headers and body.
    pub fn new(message_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            block: 0,
            needs: 1,
            message_max,
            frames: Vec::new(),
        }
    }

    /// Reports whether bytes are left that are no whole operation.
    pub fn has_rest(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Returns the buffer to read into, behind what is there. It has room for the rest of the
    /// operation that has begun.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let held = self.buffer.len();
        let missing = self.needs.saturating_sub(held).max(READ_BYTES_MIN);
        if self.buffer.capacity() - held < missing {
            // The block of a large message is not used again: small ones would pin it.
            let is_ordinary = self.block == BLOCK_BYTES;
            if !is_ordinary || !self.buffer.try_reclaim(missing) {
                self.block = BLOCK_BYTES.max(held + missing);
                let mut next = BytesMut::with_capacity(self.block);
                next.extend_from_slice(&self.buffer);
                self.buffer = next;
            }
        }
        &mut self.buffer
    }

    /// Parses what has been read: adds whole messages, each with the number of its subscription, to
    /// `messages`, and what else came to `controls`.
    ///
    /// # Errors
    /// Fails when the bytes are no protocol. What came before the fault is added.
    pub fn parse(
        &mut self,
        messages: &mut Vec<(u64, Message)>,
        controls: &mut Vec<Control>,
    ) -> Result<(), ParseError> {
        let mut done = 0;
        let result = loop {
            match parse(&self.buffer[done..], self.message_max) {
                Ok(Parsed::Whole(operation, length)) => {
                    controls.extend(self.take(operation, done));
                    done += length;
                }
                Ok(Parsed::Partial(needs)) => {
                    self.needs = needs;
                    break Ok(());
                }
                Err(fault) => break Err(fault),
            }
        };
        let block = self.buffer.split_to(done).freeze();
        let frames = self.frames.drain(..);
        messages.extend(frames.map(|frame| (frame.sid, Message::new(block.clone(), frame))));
        result
    }

    /// Notes the frame of a message that begins at `start`; returns any other operation.
    fn take(&mut self, operation: Operation, start: usize) -> Option<Control> {
        let text = |at: Range<usize>| &self.buffer[start + at.start..start + at.end];
        match operation {
            Operation::Message(frame) => {
                // A block is smaller than 2^32 bytes.
                self.frames.push(frame.moved(start as u32));
                None
            }
            Operation::Info(at) => Some(Control::Info(Bytes::copy_from_slice(text(at)))),
            Operation::Error(at) => {
                let words = String::from_utf8_lossy(text(at)).into_owned();
                Some(Control::Error(words))
            }
            Operation::Ping => Some(Control::Ping),
            Operation::Pong => Some(Control::Pong),
            Operation::Ok => None,
        }
    }
}
