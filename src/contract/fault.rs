//! What of a payload breaks its contract.

use std::fmt;

use serde::Serialize;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: `payload`, and behind it a JSON Pointer (RFC 6901).
    pub path: String,
    /// What is wrong there. No value is told, only names of fields.
    pub rule: String,
}

/// The faults of one payload; none when it keeps its contract or is not looked at. Displayed as
/// `path: rule; path: rule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Fault { path, rule }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{path}: {rule}")?;
        }
        Ok(())
    }
}
