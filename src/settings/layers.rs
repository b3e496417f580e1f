//! Where values come from: defaults, a TOML file, a `.env` file and the environment, each
//! over the one before, and for every value its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use config::{ConfigError, File, FileFormat, Source, Value, ValueKind};

use super::fields::{FIELDS, Field, PREFIX};
use super::{Fault, Faults, dot_env};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody set it.
    Default,
    /// A TOML file, by its path.
    File(String),
    /// A variable of the `.env` file.
    DotEnv(String),
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "in {path}"),
            Self::DotEnv(variable) => write!(f, "{variable} in .env"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
        }
    }
}

/// A value as it was written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
    /// Whether it is a number, true or false of a TOML file, whose text need not be as it was
    /// written: `0x10` is 16.
    pub bare: bool,
}

/// Everything that was written, one layer over the other.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, Written>,
    /// What is wrong with the layers themselves.
    pub faults: Faults,
    /// Whether a file could not be understood, so that not all that was written is known.
    pub incomplete: bool,
}

impl Layers {
    /// The defaults alone.
    pub fn defaults() -> Self {
        let written = |field: &Field| Written {
            text: field.default.to_owned(),
            origin: Origin::Default,
            bare: false,
        };
        Self {
            values: FIELDS
                .iter()
                .map(|field| (field.key, written(field)))
                .collect(),
            ..Self::default()
        }
    }

    /// The value of a setting. Every key of the table has one.
    pub fn get(&self, key: &str) -> Option<&Written> {
        self.values.get(key)
    }

    /// Notes that a file could not be understood, or not all of it.
    pub fn add_unreadable(&mut self, path: &str, what: impl fmt::Display) {
        self.incomplete = true;
        self.faults.0.push(Fault {
            key: path.to_owned(),
            message: format!("{path} {what}"),
        });
    }

    /// Lays a TOML file over what is there; `path` is for messages.
    pub fn add_file(&mut self, path: &str, text: &str) {
        let origin = Origin::File(path.to_owned());
        let text = text.trim_start_matches('\u{feff}');
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => self.add_table("", table, &origin),
            Err(error) => self.add_unreadable(path, malformed_toml(&error)),
        }
    }

    fn add_table(&mut self, prefix: &str, table: config::Map<String, Value>, origin: &Origin) {
        // In the order of the names, so that faults do not change places.
        for (name, value) in table.into_iter().collect::<BTreeMap<_, _>>() {
            let key = format!("{prefix}{name}");
            match value.kind {
                ValueKind::Table(inner) if prefix.is_empty() => {
                    self.add_table(&format!("{key}."), inner, origin);
                }
                ValueKind::Table(_) | ValueKind::Array(_) => {
                    self.faults.add(&key, origin, "must be a single value");
                }
                ref kind => {
                    let written = Written {
                        bare: !matches!(kind, ValueKind::String(_)),
                        text: kind.to_string(),
                        origin: origin.clone(),
                    };
                    self.add(&key, written);
                }
            }
        }
    }

    /// Lays a `.env` file over what is there; `path` is for messages.
    pub fn add_dot_env(&mut self, path: &str, text: &str) {
        let (variables, faults) = dot_env::variables(text);
        for fault in faults {
            self.add_unreadable(path, fault);
        }
        let variables = variables.into_iter();
        self.add_variables(
            variables.map(|(name, text)| (name, text.into())),
            Origin::DotEnv,
        );
    }

    /// Lays environment variables, or those of a `.env` file, over what is there.
    pub fn add_variables(
        &mut self,
        variables: impl Iterator<Item = (String, OsString)>,
        origin: fn(String) -> Origin,
    ) {
        // Of a name that comes twice the last counts, as in a shell.
        let mut variables: BTreeMap<_, _> = variables.collect();
        for field in FIELDS {
            let own = take(&mut variables, &field.variable());
            let alias = field.alias.and_then(|name| take(&mut variables, name));
            let Some((name, value)) = own.or(alias) else {
                continue;
            };
            let origin = origin(name);
            match value.into_string() {
                Ok(text) => {
                    let written = Written {
                        text,
                        origin,
                        bare: false,
                    };
                    self.values.insert(field.key, written);
                }
                Err(_) => self.faults.add(field.key, &origin, "is not UTF-8"),
            }
        }
        for (name, _) in variables {
            let upper = name.to_ascii_uppercase();
            if let Some(rest) = upper.strip_prefix(PREFIX) {
                let key = rest.to_ascii_lowercase().replacen("__", ".", 1);
                self.faults.0.push(Fault::unknown(&key, &origin(name)));
            }
        }
    }

    fn add(&mut self, key: &str, written: Written) {
        match FIELDS.iter().find(|field| field.key == key) {
            Some(field) => {
                self.values.insert(field.key, written);
            }
            None => self.faults.0.push(Fault::unknown(key, &written.origin)),
        }
    }
}

/// Takes a variable out. An empty one counts as unset: `docker compose` passes on what is not
/// set so.
fn take(variables: &mut BTreeMap<String, OsString>, name: &str) -> Option<(String, OsString)> {
    variables
        .remove_entry(name)
        .filter(|(_, value)| !value.is_empty())
}

/// The parser's reason and place. Its own words quote the line, and with it perhaps a secret.
fn malformed_toml(error: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = error else {
        return "is not TOML".to_owned();
    };
    let told = cause.to_string();
    // The first line is the place, the last the reason; a reason without a place stands alone.
    let mut lines = told.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    let place = first.strip_prefix("TOML parse error at ");
    match (place, lines.next_back()) {
        (Some(place), Some(reason)) => format!("is not TOML at {place}: {reason}"),
        (None, None) => format!("is not TOML: {first}"),
        _ => "is not TOML".to_owned(),
    }
}

impl Fault {
    fn unknown(key: &str, origin: &Origin) -> Self {
        let is_section = FIELDS.iter().any(|field| field.section() == key);
        let nearest = FIELDS
            .iter()
            .min_by_key(|field| strsim::damerau_levenshtein(field.key, key))
            .filter(|field| strsim::damerau_levenshtein(field.key, key) <= 4);
        let is_variable = matches!(origin, Origin::DotEnv(_) | Origin::Environment(_));
        let what = match nearest {
            _ if is_section => "is a section and takes no value of its own".to_owned(),
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::super::typed;
    use super::*;

    fn told(file: &str, variables: &[(&str, &[u8])]) -> Vec<String> {
        let mut layers = Layers::defaults();
        layers.add_file("r.toml", file);
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), OsString::from_vec(value.to_vec())));
        layers.add_variables(variables, Origin::Environment);
        let faults = typed::settings(layers).map_or_else(|faults| faults.0, |_| Vec::new());
        faults.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn malformed_toml_is_told_with_its_place_and_without_the_line() {
        for (file, message) in [
            (
                "[nats]\npassword = \"hunter2",
                "r.toml is not TOML at line 2, column 20: invalid basic string, expected `\"`",
            ),
            (
                "[nats]\npassword = hunter2",
                "r.toml is not TOML at line 2, column 12: string values must be quoted, expected literal string",
            ),
            (
                "[nats]\nhunter2",
                "r.toml is not TOML at line 2, column 8: key with no value, expected `=`",
            ),
            (
                "[nats]\npassword = 99999999999999999999",
                "r.toml is not TOML: number too large to fit in target type",
            ),
        ] {
            assert_eq!(told(file, &[]), [message], "{file}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_understood_contradicts_nothing() {
        // The user may stand in the file.
        let variables: &[(&str, &[u8])] = &[
            ("RISKSIGNAL__NATS__PASSWORD", b"hunter2"),
            ("RISKSIGNAL__BATCH__MAX_ROWS", b"0"),
        ];
        let told = told("[nats]\nuser = app", variables);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("r.toml is not TOML at line 2"),
            "{told:?}"
        );
        assert!(told[1].starts_with("batch.max_rows "), "{told:?}");
    }

    #[test]
    fn a_file_may_begin_with_a_byte_order_mark() {
        assert_eq!(told("\u{feff}[batch]\nmax_rows = 5", &[]), [""; 0]);
    }

    #[test]
    fn a_text_must_be_a_string_and_a_number_need_not() {
        let file = "[nats]\nuser = true\npassword = 0x10\n[stream]\nname = 2024\n[batch]\nmax_rows = 0x10\nmax_bytes = 1_048_576";
        assert_eq!(
            told(file, &[]),
            [
                "nats.user (in r.toml) must be a string, in quotes",
                "nats.password (in r.toml) must be a string, in quotes",
                "stream.name (in r.toml) must be a string, in quotes",
            ]
        );
    }

    #[test]
    fn our_variables_must_be_utf_8_and_those_of_others_need_not() {
        let variables: &[(&str, &[u8])] = &[
            ("CLICKHOUSE_PASSWORD", b"hunter\xff"),
            ("RISKSIGNAL__NATS__URL", b"\xff"),
            ("LS_COLORS", b"\xff"),
            // The full name wins over this one, which is then not judged.
            ("NATS_URL", b"\xff"),
        ];
        assert_eq!(
            told("", variables),
            [
                "nats.url (environment variable RISKSIGNAL__NATS__URL) is not UTF-8",
                "clickhouse.password (environment variable CLICKHOUSE_PASSWORD) is not UTF-8",
            ]
        );
    }

    #[test]
    fn names_of_variables_that_are_not_known_are_told() {
        for (name, value, message) in [
            (
                "RISKSIGNAL__BATCH__MAXROWS",
                "",
                "batch.maxrows (environment variable RISKSIGNAL__BATCH__MAXROWS) is no setting; did you mean RISKSIGNAL__BATCH__MAX_ROWS (batch.max_rows)?",
            ),
            (
                "RISKSIGNAL__batch__max_rows",
                "5",
                "batch.max_rows (environment variable RISKSIGNAL__batch__max_rows) must be in capitals; did you mean RISKSIGNAL__BATCH__MAX_ROWS?",
            ),
            (
                "risksignal__batch__max_rows",
                "5",
                "batch.max_rows (environment variable risksignal__batch__max_rows) must be in capitals; did you mean RISKSIGNAL__BATCH__MAX_ROWS?",
            ),
        ] {
            assert_eq!(told("", &[(name, value.as_bytes())]), [message]);
        }
    }
}
