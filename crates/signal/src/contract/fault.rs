//! Faults of a payload that breaks its contract.

use std::fmt;

use serde::Serialize;

/// One fault of a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PayloadFault {
    /// Path of the fault: `payload`, followed by a JSON Pointer (RFC 6901).
    pub path: String,
    /// Broken rule. It quotes no value, only names of fields.
    pub rule: String,
    /// Path and rule as `path: rule` for logs and pages, where `*` replaces a name that the
    /// contract lacks.
    #[serde(skip)]
    pub(super) public: String,
}

impl PayloadFault {
    /// Creates a fault with a path that anyone may see.
    pub fn new(path: String, rule: String) -> Self {
        Self {
            public: format!("{path}: {rule}"),
            path,
            rule,
        }
    }

    /// Creates a fault of the whole payload.
    pub(super) fn whole_payload(rule: String) -> Self {
        Self::new("payload".to_owned(), rule)
    }
}

/// Faults of one payload; none if it satisfies its contract or is not checked. Displayed as `path:
/// rule; path: rule`, with the sender's names of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PayloadFaults(pub Vec<PayloadFault>);

impl PayloadFaults {
    /// Returns true when there are no faults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Formats the faults for logs and pages without names that a sender made up: `payload/*`
    /// replaces each of those, and equal faults are counted.
    pub fn public(&self) -> String {
        let mut counted: Vec<(&str, usize)> = Vec::new();
        for PayloadFault { public, .. } in &self.0 {
            match counted.iter_mut().find(|(known, _)| known == public) {
                Some((_, count)) => *count += 1,
                None => counted.push((public, 1)),
            }
        }
        let each = counted.into_iter().map(|(public, count)| match count {
            1 => public.to_owned(),
            count => format!("{public} ({count} times)"),
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for PayloadFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, PayloadFault { path, rule, .. }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{path}: {rule}")?;
        }
        Ok(())
    }
}
