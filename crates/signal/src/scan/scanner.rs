//! A reader of JSON that builds no value: one pass without allocation.

use serde_json::value::RawValue;

/// Nested objects and arrays inside a value: one bit each in [`Scanner::value`]'s stack.
pub(super) const DEPTH_MAX: u32 = u64::BITS;

/// A position in the text. Each method reads on from it and returns `None` unless it finds what its
/// name says; the position is then invalid.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    has_escape: bool,
}

impl<'a> Scanner<'a> {
    /// Begins at the start of a text.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            has_escape: false,
        }
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    pub fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    pub fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    #[inline]
    pub fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    pub fn colon(&mut self) -> Option<()> {
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
    pub fn plain_text(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.find_special()? != b'"' {
            return None;
        }
        let text = self.text.get(start..self.at)?;
        self.at += 1;
        Some(text)
    }

    pub fn nullable_text(&mut self) -> Option<Option<&'a str>> {
        match self.next()? {
            b'"' => Some(Some(self.plain_text()?)),
            b'n' => self.literal("ull").map(|()| None),
            _ => None,
        }
    }

    /// Reads a JSON number that is an `i64`.
    pub fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        self.number()?;
        self.text.get(start..self.at)?.parse().ok()
    }

    /// Reads the name and the value of the next member as they are written, in an object whose
    /// opening brace is read; `None` within for its closing brace. The first member has no comma
    /// before it.
    #[inline]
    pub fn member(&mut self, is_first: bool) -> Option<Option<(&'a str, &'a str)>> {
        if self.closes(b'}', is_first)? {
            return Some(None);
        }
        self.take(b'"')?;
        let start = self.at;
        self.string()?;
        let name = self.text.get(start..self.at - 1)?;
        self.colon()?;
        Some(Some((name, self.raw()?)))
    }

    /// Reads the next item of a list as [`Self::member`] reads a member.
    pub fn item(&mut self, is_first: bool) -> Option<Option<&'a str>> {
        match self.closes(b']', is_first)? {
            true => Some(None),
            false => self.raw().map(Some),
        }
    }

    /// Reads the closing bracket of a container, or the comma before its next part.
    #[inline]
    fn closes(&mut self, bracket: u8, is_first: bool) -> Option<bool> {
        self.space();
        if self.peek()? == bracket {
            self.at += 1;
            return Some(true);
        }
        if !is_first {
            self.take(b',')?;
            self.space();
        }
        Some(false)
    }

    /// Reads any value as it is written.
    #[inline]
    fn raw(&mut self) -> Option<&'a str> {
        let start = self.at;
        match self.value() {
            Some(()) => self.text.get(start..self.at),
            None => self.deep(start),
        }
    }

    /// Reads an object or a list with more than [`DEPTH_MAX`] levels, as `parse` does.
    #[cold]
    fn deep(&mut self, start: usize) -> Option<&'a str> {
        let rest = self.text.get(start..)?;
        if !rest.starts_with(['{', '[']) {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value = values.next()?.ok()?.get();
        self.at = start + values.byte_offset();
        // It may have one.
        self.has_escape = true;
        Some(value)
    }

    /// Returns what was read since `start`.
    pub fn since(&self, start: usize) -> Option<&'a str> {
        self.text.get(start..self.at)
    }

    /// Reports whether a text that was skipped had an escape.
    pub fn has_escape(&self) -> bool {
        self.has_escape
    }

    /// Returns the position in the text, in bytes.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Makes sure that nothing but space follows.
    pub fn end(&mut self) -> Option<()> {
        self.space();
        (self.at == self.text.len()).then_some(())
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
        self.has_escape = true;
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
pub(super) fn special(bytes: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    // Flipping this bit moves the quote, 0x22, next to the control characters, at 0x20.
    let quote_or_control = (bytes ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (bytes ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !bytes & TOPS
}
