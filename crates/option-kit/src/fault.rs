//! Faults of a configuration.

use std::fmt;

use crate::field::Table;
use crate::written::Origin;

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting, or the file.
    pub key: String,
    /// The fault with its source.
    pub message: String,
}

impl Fault {
    /// Makes a fault of a value.
    pub fn new(key: &str, origin: &Origin, what: impl fmt::Display) -> Self {
        Self {
            key: key.to_owned(),
            message: format!("{key} ({origin}) {what}"),
        }
    }

    /// Makes a fault of a key that no section declares, with the nearest one as a suggestion.
    pub(crate) fn unknown(table: Table, key: &str, origin: &Origin) -> Self {
        let is_section = table.iter().any(|field| field.section() == key);
        let nearest = table
            .iter()
            .min_by_key(|field| strsim::damerau_levenshtein(field.key, key))
            .filter(|field| strsim::damerau_levenshtein(field.key, key) <= 4);
        let is_variable = matches!(origin, Origin::DotEnv(_) | Origin::Environment(_));
        let what = match nearest {
            _ if is_section => "is a section and has no value of its own".to_owned(),
            Some(field) if field.key == key => {
                let name = field.variable();
                format!("must be in capitals; did you mean {name}?")
            }
            Some(field) if is_variable => format!(
                "is no setting; did you mean {} ({})?",
                field.variable(),
                field.key
            ),
            Some(field) => format!("is no setting; did you mean {}?", field.key),
            None => "is no setting; .env.example lists them all".to_owned(),
        };
        Self::new(key, origin, what)
    }
}

/// Every fault of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Adds a fault of a value.
    pub fn add(&mut self, key: &str, origin: &Origin, what: impl fmt::Display) {
        self.0.push(Fault::new(key, origin, what));
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let line_break = if at > 0 { "\n" } else { "" };
            write!(f, "{line_break}  {}", fault.message)?;
        }
        Ok(())
    }
}
