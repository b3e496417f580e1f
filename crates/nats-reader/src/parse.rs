//! The protocol of a NATS server, parsed in place: the bytes of an operation become offsets into
//! these bytes. Pure: no runtime, no I/O, no allocation. See
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use std::ops::Range;

/// Longest line. The lines of messages have 4 KiB by default (`max_control_line`); an `INFO` has
/// the addresses of a whole cluster.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Longest message that [`parse`] accepts, whatever its bound: offsets have 32 bits.
const MESSAGE_BYTES_LIMIT: usize = 1 << 30;

/// Operation of a server. Ranges are offsets into the parsed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A message (`MSG`, `HMSG`).
    Message(Frame),
    /// JSON of an `INFO`.
    Info(Range<usize>),
    /// Text of an `-ERR`, without its quotes.
    Error(Range<usize>),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
}

/// Places of a message's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Number of the subscription.
    pub sid: u64,
    subject: (u32, u32),
    /// Empty for none.
    reply: (u32, u32),
    head: u32,
    body: u32,
    end: u32,
    has_headers: bool,
}

impl Frame {
    /// Creates the frame of a message whose parts follow each other: a subject, headers and a body
    /// of so many bytes, less than 2^32 in all.
    pub(crate) fn of_parts(subject: usize, headers: Option<usize>, body: usize) -> Self {
        let subject = subject as u32;
        let at = subject + headers.unwrap_or_default() as u32;
        Self {
            sid: 0,
            subject: (0, subject),
            reply: (0, 0),
            head: subject,
            body: at,
            end: at + body as u32,
            has_headers: headers.is_some(),
        }
    }

    /// Returns the place of the subject.
    pub fn subject(&self) -> Range<usize> {
        self.subject.0 as usize..self.subject.1 as usize
    }

    /// Returns the place of the reply subject, if there is one.
    pub fn reply(&self) -> Option<Range<usize>> {
        let (start, end) = self.reply;
        (start < end).then_some(start as usize..end as usize)
    }

    /// Returns the place of the header block, if there is one.
    pub fn headers(&self) -> Option<Range<usize>> {
        self.has_headers
            .then_some(self.head as usize..self.body as usize)
    }

    /// Returns the place of the body.
    pub fn body(&self) -> Range<usize> {
        self.body as usize..self.end as usize
    }

    /// Returns the bytes of subject, reply, headers and body.
    pub fn length(&self) -> usize {
        let width = |(start, end): (u32, u32)| (end - start) as usize;
        width(self.subject) + width(self.reply) + (self.end - self.head) as usize
    }

    /// Returns the same frame in bytes that begin `by` bytes earlier.
    pub fn moved(mut self, by: u32) -> Self {
        for at in [
            &mut self.subject.0,
            &mut self.subject.1,
            &mut self.reply.0,
            &mut self.reply.1,
            &mut self.head,
            &mut self.body,
            &mut self.end,
        ] {
            *at += by;
        }
        self
    }
}

/// Result of parsing the beginning of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// An operation, and the number of its bytes.
    Whole(Operation, usize),
    /// The beginning of an operation, which has at least so many bytes.
    Partial(usize),
}

/// Reason for which bytes are no protocol of a NATS server. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No operation begins so.
    #[error("the server sent an unknown operation")]
    Unknown,
    /// A line does not end.
    #[error("the server sent a line of more than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// The line of a message does not have its fields.
    #[error("the server sent a malformed line of a message")]
    Fields,
    /// A message is larger than any that was asked for.
    #[error("the server sent a message of {bytes} bytes; at most {max} were asked for")]
    TooLarge {
        /// Bytes of headers and body.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A message does not end where it must.
    #[error("the server sent a message that is longer or shorter than its line says")]
    End,
}

/// Parses the operation at the beginning of `bytes`. Headers and body of a message may have
/// `message_max` bytes.
///
/// # Errors
/// Fails as soon as no further bytes could make it valid.
pub fn parse(bytes: &[u8], message_max: usize) -> Result<Parsed, ParseError> {
    let control = |name: &[u8], operation| control(bytes, name, operation);
    match bytes.first() {
        None => Ok(Parsed::Partial(1)),
        Some(b'M') => message(bytes, b"MSG ", message_max),
        Some(b'H') => message(bytes, b"HMSG ", message_max),
        Some(b'P') if bytes.get(1) == Some(&b'O') => control(b"PONG", Operation::Pong),
        Some(b'P') => control(b"PING", Operation::Ping),
        Some(b'+') => control(b"+OK", Operation::Ok),
        Some(b'-') => text(bytes, b"-ERR ").map(|parsed| quoted(bytes, parsed)),
        Some(b'I') => text(bytes, b"INFO "),
        Some(_) => Err(ParseError::Unknown),
    }
}

/// Finds the end of the line that begins with `name`: the offset of its line feed.
fn line(bytes: &[u8], name: &[u8]) -> Result<Option<usize>, ParseError> {
    let known = bytes.len().min(name.len());
    if bytes[..known] != name[..known] {
        return Err(ParseError::Unknown);
    }
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\n', seen) {
        Some(end) if end > known && seen[end - 1] == b'\r' => Ok(Some(end)),
        Some(_) => Err(ParseError::Unknown),
        None if seen.len() == LINE_BYTES_MAX => Err(ParseError::LineTooLong),
        None => Ok(None),
    }
}

/// Parses an operation that is nothing but its name.
fn control(bytes: &[u8], name: &[u8], operation: Operation) -> Result<Parsed, ParseError> {
    match line(bytes, name)? {
        None => Ok(Parsed::Partial(bytes.len().max(name.len() + 1) + 1)),
        Some(end) if bytes[name.len()..end - 1].iter().all(|byte| *byte == b' ') => {
            Ok(Parsed::Whole(operation, end + 1))
        }
        Some(_) => Err(ParseError::Unknown),
    }
}

/// Parses an operation that is a name and a text.
fn text(bytes: &[u8], name: &[u8]) -> Result<Parsed, ParseError> {
    Ok(match line(bytes, name)? {
        None => Parsed::Partial(bytes.len().max(name.len() + 1) + 1),
        Some(end) => Parsed::Whole(Operation::Info(name.len()..end - 1), end + 1),
    })
}

/// Makes a text that of an error.
fn quoted(bytes: &[u8], parsed: Parsed) -> Parsed {
    let Parsed::Whole(Operation::Info(mut at), length) = parsed else {
        return parsed;
    };
    let is_edge = |byte: &u8| *byte == b'\'' || *byte == b' ';
    while at.start < at.end && is_edge(&bytes[at.start]) {
        at.start += 1;
    }
    while at.start < at.end && is_edge(&bytes[at.end - 1]) {
        at.end -= 1;
    }
    Parsed::Whole(Operation::Error(at), length)
}

/// Parses `MSG <subject> <sid> [reply] <bytes>` or `HMSG <subject> <sid> [reply] <header bytes>
/// <bytes>`, and what follows.
fn message(bytes: &[u8], name: &[u8], message_max: usize) -> Result<Parsed, ParseError> {
    let Some(end) = line(bytes, name)? else {
        return Ok(Parsed::Partial(bytes.len().max(name.len() + 1) + 1));
    };
    let has_headers = name.len() == b"HMSG ".len();
    let (fields, count) = fields(bytes, name.len(), end - 1)?;
    let numbers = if has_headers { 2 } else { 1 };
    let has_reply = match count - numbers {
        2 => false,
        3 => true,
        _ => return Err(ParseError::Fields),
    };
    let field = |at: usize| &bytes[fields[at].0..fields[at].1];
    let sid = number(field(1)).ok_or(ParseError::Fields)?;
    let size = |at: usize| number(field(at)).and_then(|size| usize::try_from(size).ok());
    let size_of_all = size(count - 1).ok_or(ParseError::Fields)?;
    let size_of_head = match has_headers {
        true => size(count - 2).ok_or(ParseError::Fields)?,
        false => 0,
    };
    if size_of_head > size_of_all {
        return Err(ParseError::Fields);
    }
    let max = message_max.min(MESSAGE_BYTES_LIMIT);
    if size_of_all > max {
        let bytes = size_of_all;
        return Err(ParseError::TooLarge { bytes, max });
    }
    let head = end + 1;
    let end = head + size_of_all;
    for (at, byte) in [(end, b'\r'), (end + 1, b'\n')] {
        match bytes.get(at) {
            None => return Ok(Parsed::Partial(end + 2)),
            Some(found) if *found == byte => {}
            Some(_) => return Err(ParseError::End),
        }
    }
    // Below 2^31: a line and a message have their bounds.
    let place = |(start, end): (usize, usize)| (start as u32, end as u32);
    let frame = Frame {
        sid,
        subject: place(fields[0]),
        reply: if has_reply { place(fields[2]) } else { (0, 0) },
        head: head as u32,
        body: (head + size_of_head) as u32,
        end: end as u32,
        has_headers,
    };
    Ok(Parsed::Whole(Operation::Message(frame), end + 2))
}

/// Most fields that a message's line has.
const FIELDS_MAX: usize = 5;

type Fields = [(usize, usize); FIELDS_MAX];

/// Splits a line at its spaces; returns the places of the fields and their number. A subject may
/// contain any other byte.
fn fields(bytes: &[u8], start: usize, end: usize) -> Result<(Fields, usize), ParseError> {
    let mut fields = [(0, 0); FIELDS_MAX];
    let (mut count, mut from) = (0, start);
    let spaces = memchr::memchr_iter(b' ', &bytes[start..end]).map(|space| start + space);
    for to in spaces.chain([end]) {
        if count == FIELDS_MAX || from == to {
            return Err(ParseError::Fields);
        }
        fields[count] = (from, to);
        (count, from) = (count + 1, to + 1);
    }
    if count < 3 {
        return Err(ParseError::Fields);
    }
    Ok((fields, count))
}

/// Parses a decimal number.
fn number(digits: &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

#[cfg(test)]
mod tests;
