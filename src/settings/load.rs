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
    /// present, then `.env` where present, then systemd's credentials, then the environment.
    ///
    /// # Errors
    /// Every fault of every layer at once.
    pub fn load(file: Option<&Path>) -> Result<Self, Faults> {
        let mut layers = Layers::defaults();
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        if let Some(text) = read(path, file.is_some(), &mut layers) {
            layers.add_file(&path.display().to_string(), &text);
        }
        if let Some(text) = read(Path::new(DOT_ENV), false, &mut layers) {
            layers.add_dot_env(DOT_ENV, &text);
        }
        if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            layers.add_credentials(Path::new(&folder));
        }
        // A name that is no text is none of ours, but may begin like one.
        let environment =
            std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
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

/// A file's text; nothing where there is no file and none is required, or where the layers
/// have been told why it cannot be read.
fn read(path: &Path, required: bool, layers: &mut Layers) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if !required && error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            layers.add_unreadable(
                &path.display().to_string(),
                format!("cannot be read: {error}"),
            );
            None
        }
    }
}

#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod tests;
