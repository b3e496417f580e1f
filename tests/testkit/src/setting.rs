//! Environment variables of settings, by the settings' own table: a key that does not exist there
//! does not compile.

use option_kit::{FILE_SUFFIX, Field, PREFIX};
use risksignal::settings::TABLE;

/// Longest name of a variable.
const BYTES_MAX: usize = 96;

/// Name of a variable, made while a test compiles.
pub struct Variable {
    bytes: [u8; BYTES_MAX],
    length: usize,
}

impl Variable {
    /// Looks up a setting, or the file of a secret, by `section.key`. The conventional name goes
    /// first where a setting has two, as [`crate::Stack::environment`] uses it.
    ///
    /// # Panics
    /// No setting has the key.
    pub const fn named(key: &str) -> Self {
        if let Some(field) = find(key) {
            return Self::of(field);
        }
        let secret = match strip_file(key) {
            Some(secret) => find(secret),
            None => None,
        };
        match secret {
            Some(field) if field.secret => Self::of(field).with(FILE_SUFFIX),
            _ => panic!("no setting has this key"),
        }
    }

    const fn of(field: &Field) -> Self {
        let empty = Self {
            bytes: [0; BYTES_MAX],
            length: 0,
        };
        match field.alias {
            Some(alias) => empty.with(alias),
            None => empty.with(PREFIX).with(field.key).in_capitals(),
        }
    }

    const fn with(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            // A dot separates section and key, and is two underscores in a variable.
            if text[at] == b'.' {
                self.bytes[self.length] = b'_';
                self.bytes[self.length + 1] = b'_';
                self.length += 2;
            } else {
                self.bytes[self.length] = text[at];
                self.length += 1;
            }
            at += 1;
        }
        self
    }

    const fn in_capitals(mut self) -> Self {
        self.bytes.make_ascii_uppercase();
        self
    }

    /// Name of the variable.
    pub const fn name(&self) -> &str {
        match str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(name) => name,
            Err(_) => panic!("a name is ASCII"),
        }
    }
}

const fn find(key: &str) -> Option<&'static Field> {
    let sections = TABLE.0;
    let mut section = 0;
    while section < sections.len() {
        let fields = sections[section];
        let mut at = 0;
        while at < fields.len() {
            if is_same(fields[at].key.as_bytes(), key.as_bytes()) {
                return Some(&fields[at]);
            }
            at += 1;
        }
        section += 1;
    }
    None
}

const fn strip_file(key: &str) -> Option<&str> {
    let Some(length) = key.len().checked_sub(FILE_SUFFIX.len()) else {
        return None;
    };
    let (secret, suffix) = key.split_at(length);
    if suffix.eq_ignore_ascii_case(FILE_SUFFIX) {
        Some(secret)
    } else {
        None
    }
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Returns the name of a setting's environment variable: `variable!(batch.max_rows)`.
#[macro_export]
macro_rules! variable {
    ($section:ident . $key:ident) => {{
        const VARIABLE: &$crate::Variable =
            &$crate::Variable::named(concat!(stringify!($section), ".", stringify!($key)));
        const NAME: &str = VARIABLE.name();
        NAME
    }};
}

/// Returns a setting's environment variable with a value: `setting!(batch.max_rows = "5")`.
///
/// ```
/// use risksignal_testkit::setting;
///
/// assert_eq!(setting!(batch.max_rows = "5"), ("RISKSIGNAL__BATCH__MAX_ROWS", "5"));
/// assert_eq!(setting!(nats.url = "nats://h"), ("NATS_URL", "nats://h"));
/// assert_eq!(setting!(ops.token_file = "/a"), ("RISKSIGNAL__OPS__TOKEN_FILE", "/a"));
/// ```
///
/// ```compile_fail
/// risksignal_testkit::setting!(batch.max_row = "5");
/// ```
#[macro_export]
macro_rules! setting {
    ($section:ident . $key:ident = $value:expr) => {
        ($crate::variable!($section.$key), $value)
    };
}
