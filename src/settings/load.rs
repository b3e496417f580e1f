//! Settings of this process: its files, its environment, and every fault.

use std::io;
use std::path::Path;

use option_kit::{Faults, Layers, Origin};

use super::{Settings, TABLE};

/// File that is read without `--config`.
const DEFAULT_FILE: &str = "risksignal.toml";
const DOT_ENV: &str = ".env";

impl Settings {
    /// Loads the settings of this process: defaults, then `file` or `risksignal.toml` if present,
    /// then `.env` if present, then systemd's credentials, then the environment.
    ///
    /// # Errors
    /// Returns every fault of every layer at once.
    #[expect(clippy::disallowed_methods, reason = "settings come from here")]
    pub fn load(file: Option<&Path>) -> Result<Self, Faults> {
        let mut layers = Layers::defaults(TABLE);
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
        // A name that is not UTF-8 is no setting, but may begin like one.
        let environment =
            std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        layers.add_variables(environment, Origin::Environment);
        Self::from_layers(layers)
    }
}

impl Default for Settings {
    /// Returns the defaults of the table, which a test keeps free of faults.
    fn default() -> Self {
        Self::from_layers(Layers::defaults(TABLE))
            .unwrap_or_else(|faults| unreachable!("the defaults have faults:\n{faults}"))
    }
}

/// Returns the text of a file. Returns none for an absent optional file, or for a failure, which it
/// adds to the layers.
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
mod example_tests;
#[cfg(test)]
mod layers_tests;
#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod tests;
