//! A value as an operator wrote it, and its origin.

use std::collections::BTreeMap;
use std::fmt;

use crate::field::Field;
use crate::redact::redacted_url;

/// Source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The declared default.
    Default,
    /// A TOML file, by its path.
    File(String),
    /// A variable of the `.env` file.
    DotEnv(String),
    /// An environment variable.
    Environment(String),
    /// A file of systemd's `$CREDENTIALS_DIRECTORY`, by its name.
    Credential(String),
    /// A file with a secret, and the origin of its path.
    SecretFile(String, Box<Origin>),
    /// The settings that the daemon started with.
    InForce,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "in {path}"),
            Self::DotEnv(variable) => write!(f, "{variable} in .env"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
            Self::SecretFile(path, named) => write!(f, "{path}, named by {named}"),
            Self::InForce => f.write_str("in force until a restart"),
        }
    }
}

/// Every written value by its key.
pub type Values = BTreeMap<&'static str, Written>;

/// A written value and its origin.
#[derive(Clone)]
pub struct Written {
    /// The text.
    pub text: String,
    /// Source of the text.
    pub origin: Origin,
    /// True for a number or a boolean of a TOML file, whose text can differ from the written one:
    /// `0x10` becomes 16.
    pub bare: bool,
}

impl Written {
    /// Returns the text in a form that may be printed, as a value of this setting.
    pub fn shown(&self, field: &Field) -> String {
        if field.secret && !self.text.is_empty() {
            return "***".to_owned();
        }
        // Any text may be a URL set at the wrong key.
        if field.name() == "url" || self.text.contains("://") {
            return redacted_url(&self.text);
        }
        self.text.clone()
    }
}

/// Compares the texts only.
impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Prints the origin only: the text may be a secret.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}
