//! Where values come from: defaults, a TOML file, a `.env` file and the environment, each
//! over the one before, and for every value its origin.

use std::collections::BTreeMap;
use std::fmt;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::fields::{FIELDS, Field, PREFIX};
use super::{Fault, Faults};

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
}

/// Everything that was written, one layer over the other.
#[derive(Debug)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, Written>,
    /// What is wrong with the layers themselves.
    pub faults: Faults,
}

impl Layers {
    /// The defaults alone.
    pub fn defaults() -> Self {
        let written = |field: &Field| Written {
            text: field.default.to_owned(),
            origin: Origin::Default,
        };
        Self {
            values: FIELDS
                .iter()
                .map(|field| (field.key, written(field)))
                .collect(),
            faults: Faults::default(),
        }
    }

    /// The value of a setting. Every key of the table has one.
    pub fn get(&self, key: &str) -> Option<&Written> {
        self.values.get(key)
    }

    /// Lays a TOML file over what is there; `path` is for messages.
    pub fn add_file(&mut self, path: &str, text: &str) {
        let origin = Origin::File(path.to_owned());
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => self.add_table("", table, &origin),
            Err(error) => self
                .faults
                .add(path, &origin, format!("is not TOML: {error}")),
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
                _ => self.add(
                    &key,
                    value.into_string().unwrap_or_default(),
                    origin.clone(),
                ),
            }
        }
    }

    /// Lays environment variables, or those of a `.env` file, over what is there.
    pub fn add_variables(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
        origin: fn(String) -> Origin,
    ) {
        // An empty variable counts as unset: `docker compose` passes on what is not set so.
        let set: BTreeMap<_, _> = variables.filter(|(_, text)| !text.is_empty()).collect();
        for field in FIELDS {
            let Some(alias) = field.alias else { continue };
            if let Some(text) = set.get(alias) {
                self.add(field.key, text.clone(), origin(alias.to_owned()));
            }
        }
        for (variable, text) in set {
            if let Some(name) = variable.strip_prefix(PREFIX) {
                let key = name.to_ascii_lowercase().replacen("__", ".", 1);
                self.add(&key, text, origin(variable));
            }
        }
    }

    fn add(&mut self, key: &str, text: String, origin: Origin) {
        match FIELDS.iter().find(|field| field.key == key) {
            Some(field) => {
                self.values.insert(field.key, Written { text, origin });
            }
            None => self.faults.0.push(Fault::unknown(key, &origin)),
        }
    }
}

impl Fault {
    fn unknown(key: &str, origin: &Origin) -> Self {
        let sections = FIELDS.iter().any(|field| field.section() == key);
        let what = if sections {
            "is a section and takes no value of its own".to_owned()
        } else {
            let nearest = FIELDS
                .iter()
                .map(|field| (strsim::damerau_levenshtein(field.key, key), field.key))
                .min();
            match nearest {
                Some((distance, nearest)) if distance <= 4 => {
                    format!("is no setting; did you mean {nearest}?")
                }
                _ => "is no setting; .env.example lists them all".to_owned(),
            }
        };
        Self::new(key, origin, what)
    }
}
