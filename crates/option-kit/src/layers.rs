//! Sources of values: defaults, a TOML file, a `.env` file, systemd's credentials and the
//! environment. Each overrides the one before, and every value has its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use config::{ConfigError, File, FileFormat, Source, Value, ValueKind};

use crate::dot_env;
use crate::fault::{Fault, Faults};
use crate::field::{FILE_SUFFIX, Field, PREFIX, Table};
use crate::secret_file;
use crate::written::{Origin, Values, Written};

/// Every written value, one layer over the other.
#[derive(Debug)]
pub struct Layers {
    /// Every declared setting.
    pub table: Table,
    /// Texts by key.
    pub values: Values,
    /// Faults of the layers themselves.
    pub faults: Faults,
    /// True if a file could not be understood, so that some values may be missing.
    pub incomplete: bool,
}

impl Layers {
    /// Starts with the defaults.
    pub fn defaults(table: Table) -> Self {
        let written = |field: &Field| Written {
            text: field.default.to_owned(),
            origin: Origin::Default,
            bare: false,
        };
        let values = table.iter().map(|field| (field.key, written(field)));
        Self::with_values(table, values.collect())
    }

    /// Starts with these values.
    pub fn with_values(table: Table, values: Values) -> Self {
        Self {
            table,
            values,
            faults: Faults::default(),
            incomplete: false,
        }
    }

    /// Returns the value of a setting. Every key of the table has one.
    pub fn get(&self, key: &str) -> Option<&Written> {
        self.values.get(key)
    }

    /// Notes that all or part of a file could not be understood.
    pub fn add_unreadable(&mut self, path: &str, what: impl fmt::Display) {
        self.incomplete = true;
        self.faults.0.push(Fault {
            key: path.to_owned(),
            message: format!("{path} {what}"),
        });
    }

    /// Lays a TOML file over the present values; `path` is for messages.
    pub fn add_file(&mut self, path: &str, text: &str) {
        let origin = Origin::File(path.to_owned());
        let text = text.trim_start_matches('\u{feff}');
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => self.add_table("", table, &origin),
            Err(error) => self.add_unreadable(path, malformed_toml(&error)),
        }
    }

    fn add_table(&mut self, prefix: &str, table: config::Map<String, Value>, origin: &Origin) {
        // In the order of the names, so that faults keep their order.
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

    /// Lays a `.env` file over the present values; `path` is for messages.
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

    /// Lays environment variables, or those of a `.env` file, over the present values.
    pub fn add_variables(
        &mut self,
        variables: impl Iterator<Item = (String, OsString)>,
        origin: fn(String) -> Origin,
    ) {
        // The last of two equal names counts, as in a shell.
        let mut variables: BTreeMap<_, _> = variables.collect();
        for field in self.table.iter() {
            let mut of_field = |suffix| self.take_variable(&mut variables, field, suffix, origin);
            let value = of_field("");
            let file = field.secret.then(|| of_field(FILE_SUFFIX)).flatten();
            match (value, file) {
                (Some(value), Some(file)) => self.faults.0.push(both(field, &value, &file)),
                (Some(value), None) => {
                    self.values.insert(field.key, value);
                }
                (None, Some(file)) => self.add_secret_file(field, file),
                (None, None) => {}
            }
        }
        for (name, _) in variables {
            let upper = name.to_ascii_uppercase();
            if let Some(rest) = upper.strip_prefix(PREFIX) {
                let key = rest.to_ascii_lowercase().replacen("__", ".", 1);
                self.faults
                    .0
                    .push(Fault::unknown(self.table, &key, &origin(name)));
            } else if let Some((field, meant)) = self.table.misspelled(&upper) {
                let what = format!("is not read; did you mean {meant}?");
                self.faults.add(field.key, &origin(name), what);
            }
        }
    }

    /// Removes and returns a setting's variable, under its own name or else the conventional one.
    fn take_variable(
        &mut self,
        variables: &mut BTreeMap<String, OsString>,
        field: &Field,
        suffix: &str,
        origin: fn(String) -> Origin,
    ) -> Option<Written> {
        let own = take(variables, &(field.variable() + suffix));
        let alias = field
            .alias
            .and_then(|name| take(variables, &format!("{name}{suffix}")));
        let (name, value) = own.or(alias)?;
        let origin = origin(name);
        match value.into_string() {
            Ok(text) => Some(Written {
                text,
                origin,
                bare: false,
            }),
            Err(_) => {
                self.faults.add(field.key, &origin, "is not UTF-8");
                None
            }
        }
    }

    /// Lays the secrets among systemd's credentials over the present values. The folder may hold
    /// other files too.
    pub fn add_credentials(&mut self, folder: &Path) {
        for field in self.table.secrets() {
            let name = field.credential();
            let path = folder.join(&name);
            if !path.exists() {
                continue;
            }
            let origin = Origin::Credential(name);
            match secret_file::read(&path) {
                Ok(text) => {
                    let written = Written {
                        text,
                        origin,
                        bare: false,
                    };
                    self.values.insert(field.key, written);
                }
                Err(what) => self.faults.add(field.key, &origin, what),
            }
        }
    }

    /// Lays the secret in the named file over the present values.
    fn add_secret_file(&mut self, field: &Field, path: Written) {
        match secret_file::read(Path::new(&path.text)) {
            Ok(text) => {
                let written = Written {
                    text,
                    origin: Origin::SecretFile(path.text, Box::new(path.origin)),
                    bare: false,
                };
                self.values.insert(field.key, written);
            }
            Err(what) => self.faults.0.push(Fault {
                key: field.key.to_owned(),
                message: format!(
                    "{} ({}) is {:?}, which {what}",
                    field.file_key(),
                    path.origin,
                    path.text
                ),
            }),
        }
    }

    /// Adds a value of a TOML file, whose keys arrive in order: a secret before its file.
    fn add(&mut self, key: &str, written: Written) {
        if let Some(field) = self.table.find(key) {
            self.values.insert(field.key, written);
            return;
        }
        let mut secrets = self.table.secrets();
        let Some(field) = secrets.find(|field| field.file_key() == key) else {
            self.faults
                .0
                .push(Fault::unknown(self.table, key, &written.origin));
            return;
        };
        let value = self.values.get(field.key);
        match value.filter(|value| value.origin == written.origin && !value.text.is_empty()) {
            _ if written.text.is_empty() => {}
            _ if written.bare => {
                let what = "must be a string, in quotes";
                self.faults.add(key, &written.origin, what);
            }
            Some(value) => self.faults.0.push(both(field, value, &written)),
            None => self.add_secret_file(field, written),
        }
    }
}

/// Makes the fault of a secret that one layer gives twice.
fn both(field: &Field, value: &Written, file: &Written) -> Fault {
    Fault {
        key: field.key.to_owned(),
        message: format!(
            "{} ({}) and {} ({}): only one of them may be set",
            field.key,
            value.origin,
            field.file_key(),
            file.origin
        ),
    }
}

/// Removes and returns a variable. An empty one counts as unset: `docker compose` passes unset
/// variables on as empty ones.
fn take(variables: &mut BTreeMap<String, OsString>, name: &str) -> Option<(String, OsString)> {
    variables
        .remove_entry(name)
        .filter(|(_, value)| !value.is_empty())
}

/// Returns the parser's reason and position. The parser's full text quotes the line, which may hold
/// a secret.
fn malformed_toml(error: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = error else {
        return "is not TOML".to_owned();
    };
    let text = cause.to_string();
    // The first line holds the position, the last the reason; a reason may come without a position.
    let mut lines = text.trim_end().lines();
    let first = lines.next().unwrap_or_default();
    let place = first.strip_prefix("TOML parse error at ");
    match (place, lines.next_back()) {
        (Some(place), Some(reason)) => format!("is not TOML at {place}: {reason}"),
        (None, None) => format!("is not TOML: {first}"),
        _ => "is not TOML".to_owned(),
    }
}
