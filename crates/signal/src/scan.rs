//! Fast path from text to a signal: one pass without allocation, for the form of nearly every
//! signal.
//!
//! It never rejects a signal. For a text that it accepts, `parse` returns the same result. It
//! declines anything unusual with `None`; then `parse` decides and words every error.

use std::borrow::Cow;

use uuid::Uuid;

use super::Signal;
use super::event_time::from_plain_rfc3339;
use super::parse::{subject_type, uuid};

/// Nested objects and arrays inside a value: one bit each in [`Scanner::value`]'s stack.
const DEPTH_MAX: u32 = u64::BITS;

/// Returns the signal, its rules not yet checked, or `None` to leave it to `parse`: text that is no
/// JSON, a field of the wrong shape, unknown or repeated, an escape in a key or in a text field, a
/// time in a rarer form, or nesting beyond [`DEPTH_MAX`].
pub(super) fn signal<'a>(text: &'a str, subject: &'a str) -> Option<Signal<'a>> {
    let mut scanner = Scanner { text, at: 0 };
    let mut fields = Fields::default();
    scanner.space();
    scanner.take(b'{')?;
    loop {
        scanner.space();
        scanner.take(b'"')?;
        let name = scanner.plain_text()?;
        scanner.colon()?;
        fields.read(name, &mut scanner)?;
        scanner.space();
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scanner.space();
    if scanner.at != text.len() {
        return None;
    }
    fields.signal(subject)
}

/// Fields found so far. A `null` text counts as absent, which is valid for the optional ones only.
#[derive(Default)]
struct Fields<'a> {
    event_time_ms: Option<i64>,
    source_id: Option<&'a str>,
    event_type: Option<Option<&'a str>>,
    payload: Option<&'a str>,
    severity: Option<i64>,
    trace_id: Option<Uuid>,
    user_id: Option<Option<&'a str>>,
    wallet_address: Option<Option<&'a str>>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, name: &str, scanner: &mut Scanner<'a>) -> Option<()> {
        match name {
            "event_time" => once(&mut self.event_time_ms, scanner.event_time()?),
            "source_id" => once(&mut self.source_id, scanner.nullable_text()??),
            "event_type" => once(&mut self.event_type, scanner.nullable_text()?),
            "payload" => once(&mut self.payload, scanner.object()?),
            "severity" => once(&mut self.severity, scanner.integer()?),
            "trace_id" => once(&mut self.trace_id, uuid(scanner.nullable_text()??)?),
            "user_id" => once(&mut self.user_id, scanner.nullable_text()?),
            "wallet_address" => once(&mut self.wallet_address, scanner.nullable_text()?),
            _ => None,
        }
    }

    fn signal(self, subject: &'a str) -> Option<Signal<'a>> {
        let event_type = match self.event_type.flatten() {
            Some(text) => text,
            None => subject_type(subject)?,
        };
        Some(Signal {
            event_time_ms: self.event_time_ms?,
            source_id: Cow::Borrowed(self.source_id?),
            event_type: Cow::Borrowed(event_type),
            payload: self.payload?,
            severity: self.severity?,
            trace_id: self.trace_id?,
            user_id: Cow::Borrowed(self.user_id.flatten().unwrap_or("")),
            wallet_address: Cow::Borrowed(self.wallet_address.flatten().unwrap_or("")),
            extra: String::new(),
            payload_faults: Default::default(),
        })
    }
}

/// Fills the slot, which must be empty.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// A position in the text. Each method reads on from it and returns `None` unless it finds what its
/// name says; the position is then invalid.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn colon(&mut self) -> Option<()> {
        self.space();
        self.take(b':')?;
        self.space();
        Some(())
    }

    fn literal(&mut self, rest: &str) -> Option<()> {
        let end = self.at + rest.len();
        let found = self.text.as_bytes().get(self.at..end)?;
        self.at = end;
        (found == rest.as_bytes()).then_some(())
    }

    /// Advances to the first quote, backslash or control character.
    #[inline]
    fn find_special(&mut self) -> Option<u8> {
        let mut rest = self.text.as_bytes().get(self.at..)?;
        while let Some(chunk) = rest.first_chunk::<8>() {
            let special = special(u64::from_le_bytes(*chunk));
            if special != 0 {
                self.at += (special.trailing_zeros() / 8) as usize;
                return self.peek();
            }
            self.at += 8;
            rest = &rest[8..];
        }
        loop {
            match self.peek()? {
                byte @ (b'"' | b'\\' | 0..b' ') => return Some(byte),
                _ => self.at += 1,
            }
        }
    }

    /// Returns the text up to the closing quote, without an escape. The opening quote is already
    /// read.
    #[inline]
    fn plain_text(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.find_special()? != b'"' {
            return None;
        }
        let text = self.text.get(start..self.at)?;
        self.at += 1;
        Some(text)
    }

    fn nullable_text(&mut self) -> Option<Option<&'a str>> {
        match self.next()? {
            b'"' => Some(Some(self.plain_text()?)),
            b'n' => self.literal("ull").map(|()| None),
            _ => None,
        }
    }

    fn event_time(&mut self) -> Option<i64> {
        if self.peek()? == b'"' {
            self.at += 1;
            from_plain_rfc3339(self.plain_text()?)
        } else {
            self.integer()
        }
    }

    /// Reads a JSON number that is an `i64`.
    fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        self.number()?;
        self.text.get(start..self.at)?.parse().ok()
    }

    fn object(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.peek()? != b'{' {
            return None;
        }
        self.value()?;
        self.text.get(start..self.at)
    }

    /// Skips any value. The stack has one bit for each open container, the innermost lowest: 1 for
    /// an object, 0 for an array.
    fn value(&mut self) -> Option<()> {
        let mut objects = 0_u64;
        let mut depth = 0;
        loop {
            let mut closed = true;
            match self.next()? {
                b'"' => self.string()?,
                open @ (b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    depth += 1;
                    objects = objects << 1 | u64::from(open == b'{');
                    self.space();
                    // In ASCII, the closing bracket of an object or array comes two after the
                    // opening one.
                    closed = self.peek()? == open + 2;
                    if closed {
                        self.at += 1;
                        depth -= 1;
                        objects >>= 1;
                    } else if open == b'{' {
                        self.key()?;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    self.at -= 1;
                    self.number()?;
                }
                b't' => self.literal("rue")?,
                b'f' => self.literal("alse")?,
                b'n' => self.literal("ull")?,
                _ => return None,
            }
            while closed {
                if depth == 0 {
                    return Some(());
                }
                self.space();
                match (self.next()?, objects & 1) {
                    (b',', in_object) => {
                        closed = false;
                        self.space();
                        if in_object == 1 {
                            self.key()?;
                        }
                    }
                    (b'}', 1) | (b']', 0) => {
                        depth -= 1;
                        objects >>= 1;
                    }
                    _ => return None,
                }
            }
        }
    }

    #[inline]
    fn key(&mut self) -> Option<()> {
        self.take(b'"')?;
        self.string()?;
        self.colon()
    }

    /// Skips a string whose opening quote is already read. Surrogates need no partner here, as
    /// serde requires none when it skips a value.
    #[inline]
    fn string(&mut self) -> Option<()> {
        loop {
            match self.find_special()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            b'u' => {
                for _ in 0..4 {
                    if !self.next()?.is_ascii_hexdigit() {
                        return None;
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// Skips one or more digits.
    #[inline]
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// Sets the top bit of each byte that is a quote, a backslash or a control character. Bits above
/// the lowest set one may be wrong, since a subtraction borrows from the next byte.
#[inline]
fn special(bytes: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    // Flipping this bit moves the quote, 0x22, next to the control characters, at 0x20.
    let quote_or_control = (bytes ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (bytes ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !bytes & TOPS
}

#[cfg(test)]
mod tests;
