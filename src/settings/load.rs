//! The settings of this process: its files, its environment, and everything that is wrong
//! with them.

use std::fmt;
use std::io;
use std::path::Path;

use super::layers::{Layers, Origin};
use super::{Settings, typed};

/// The file that is read where `--config` names none.
const DEFAULT_FILE: &str = "risksignal.toml";
const DOT_ENV: &str = ".env";

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting, or the file.
    pub key: String,
    /// What is wrong, with its source.
    pub message: String,
}

impl Fault {
    pub(super) fn new(key: &str, origin: &Origin, what: impl fmt::Display) -> Self {
        Self {
            key: key.to_owned(),
            message: format!("{key} ({origin}) {what}"),
        }
    }
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, key: &str, origin: &Origin, what: impl fmt::Display) {
        self.0.push(Fault::new(key, origin, what));
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<_> = self
            .0
            .iter()
            .map(|fault| format!("  {}", fault.message))
            .collect();
        f.write_str(&messages.join("\n"))
    }
}

impl Settings {
    /// The settings of this process: defaults, then `file` or `risksignal.toml` where
    /// present, then `.env` where present, then the environment.
    ///
    /// # Errors
    /// Every fault of every layer at once.
    pub fn load(file: Option<&Path>) -> Result<Self, Faults> {
        let mut layers = Layers::defaults();
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => layers.add_file(&shown, &text),
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let origin = Origin::File(shown.clone());
                layers
                    .faults
                    .add(&shown, &origin, format!("cannot be read: {error}"));
            }
        }
        match dot_env() {
            Ok(variables) => layers.add_variables(variables.into_iter(), Origin::DotEnv),
            Err(error) => {
                let origin = Origin::File(DOT_ENV.to_owned());
                layers.faults.add(DOT_ENV, &origin, unreadable(&error));
            }
        }
        let environment = std::env::vars_os().filter_map(|(name, text)| {
            // A name that is no text is none of ours.
            Some((
                name.into_string().ok()?,
                text.to_string_lossy().into_owned(),
            ))
        });
        layers.add_variables(environment, Origin::Environment);
        typed::settings(layers)
    }
}

impl Default for Settings {
    /// The defaults of the table, which a test holds to be without faults.
    fn default() -> Self {
        typed::settings(Layers::defaults())
            .unwrap_or_else(|faults| unreachable!("the defaults have faults:\n{faults}"))
    }
}

/// The variables of the `.env` file, without setting them; none where there is no file.
fn dot_env() -> Result<Vec<(String, String)>, dotenvy::Error> {
    match dotenvy::from_path_iter(DOT_ENV) {
        Ok(variables) => variables.collect(),
        Err(error) if error.not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What is wrong with the `.env` file. The crate's own words quote the line, and with it
/// perhaps a secret.
fn unreadable(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(line, at) => {
            let name = line.split('=').next().unwrap_or_default();
            format!("has a malformed line at {name:?}, character {at}; does a value need quotes?")
        }
        dotenvy::Error::Io(error) => format!("cannot be read: {error}"),
        _ => "cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests;
