//! Where values come from: defaults, a TOML file, a `.env` file, systemd's credentials and the
//! environment, each over the one before, and for every value its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use config::{ConfigError, File, FileFormat, Source, Value, ValueKind};

use super::fields::{self, FIELDS, FILE_SUFFIX, Field, PREFIX};
use super::{Fault, Faults, dot_env, redacted_url, secret_file};

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
    /// A file of systemd's `$CREDENTIALS_DIRECTORY`, by its name.
    Credential(String),
    /// A file with a secret, whose path stands there.
    SecretFile(String, Box<Origin>),
    /// The daemon was started with it.
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

/// Every setting as it was written.
pub(super) type Values = BTreeMap<&'static str, Written>;

/// A value as it was written, and where.
#[derive(Clone)]
pub(super) struct Written {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
    /// Whether it is a number, true or false of a TOML file, whose text need not be as it was
    /// written: `0x10` is 16.
    pub bare: bool,
}

impl Written {
    /// The text as it may be printed, as a value of this setting.
    pub fn shown(&self, key: &str) -> String {
        let is_secret = fields::find(key).is_some_and(|field| field.secret);
        if is_secret && !self.text.is_empty() {
            return "***".to_owned();
        }
        // A URL may stand in the wrong place.
        if key.ends_with(".url") || self.text.contains("://") {
            return redacted_url(&self.text);
        }
        self.text.clone()
    }
}

/// The same text, wherever it stands.
impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The text may be a secret.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

/// Everything that was written, one layer over the other.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub values: Values,
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
                self.faults.0.push(Fault::unknown(&key, &origin(name)));
            } else if let Some((field, meant)) = fields::misspelled(&upper) {
                let what = format!("is not read; did you mean {meant}?");
                self.faults.add(field.key, &origin(name), what);
            }
        }
    }

    /// Takes a setting's variable out, by its own name or else the conventional one.
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

    /// Lays the secrets among systemd's credentials over what is there. The folder may hold
    /// other files too.
    pub fn add_credentials(&mut self, folder: &Path) {
        for field in FIELDS.iter().filter(|field| field.secret) {
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

    /// Lays the secret in the file whose path is written over what is there.
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

    /// Adds a value of a TOML file, whose keys come in their order: a secret before its file.
    fn add(&mut self, key: &str, written: Written) {
        if let Some(field) = fields::find(key) {
            self.values.insert(field.key, written);
            return;
        }
        let mut secrets = FIELDS.iter().filter(|field| field.secret);
        let Some(field) = secrets.find(|field| field.file_key() == key) else {
            self.faults.0.push(Fault::unknown(key, &written.origin));
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

/// A secret that one layer gives twice.
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
mod tests;
