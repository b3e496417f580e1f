//! The members of a payload, kept as the scan of the signal finds them.

use arrayvec::ArrayVec;

use super::scanner::Scanner;

/// Members that are kept. The largest built-in contract names 17; a payload with more than these is
/// read again.
const MEMBERS_MAX: usize = 24;

/// A payload, and its members where they are known.
#[derive(Debug, Default)]
pub(crate) struct Members<'a> {
    text: &'a str,
    found: ArrayVec<(&'a str, &'a str), MEMBERS_MAX>,
    /// All members are in `found`.
    are_all: bool,
    /// Surely no text in it has an escape.
    is_plain: bool,
}

impl<'a> Members<'a> {
    /// Takes a payload, a valid JSON object, whose members are not known.
    pub fn unread(text: &'a str) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }

    /// Reads an object, and returns it as it is written; `None` for any other text.
    pub(crate) fn scan(&mut self, scanner: &mut Scanner<'a>) -> Option<&'a str> {
        let start = scanner.position();
        scanner.take(b'{')?;
        let mut is_first = true;
        self.are_all = true;
        while let Some(member) = scanner.member(is_first)? {
            is_first = false;
            self.are_all &= self.found.try_push(member).is_ok();
        }
        // Of what comes before the payload, a text with an escape is declined.
        self.is_plain = !scanner.has_escape();
        self.text = scanner.since(start)?;
        Some(self.text)
    }

    /// Returns the payload as it is written.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Reports whether surely no text in it has an escape.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Returns the name and the value of each member as they are written, the names without their
    /// quotes; `None` where they are not known.
    pub fn known(&self) -> Option<&[(&'a str, &'a str)]> {
        self.are_all.then_some(&self.found)
    }
}
