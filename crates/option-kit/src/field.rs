//! One declared setting, and the table of all of them.

/// Suffix of a variable that names a file with a secret.
pub const FILE_SUFFIX: &str = "_FILE";

/// Prefix of every environment variable that is a setting.
pub const PREFIX: &str = "RISKSIGNAL__";

/// One declared setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// `section.key`, as in the TOML file.
    pub key: &'static str,
    /// The default as an operator would write it; empty means unset.
    pub default: &'static str,
    /// The conventional environment variable, if there is one.
    pub alias: Option<&'static str>,
    /// True if the value is never printed, and may be given as the name of a file that holds it.
    pub secret: bool,
    /// True if a running daemon applies a change on SIGHUP.
    pub live: bool,
    /// Advice to an operator who still sets it, if the setting is on its way out.
    pub retired: Option<&'static str>,
    doc: &'static str,
}

impl Field {
    /// Declares a setting; `doc` is the doc comment of its field.
    pub const fn new(key: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self {
            key,
            default,
            alias: None,
            secret: false,
            live: false,
            retired: None,
            doc,
        }
    }

    /// Adds the conventional environment variable.
    pub const fn alias(self, name: &'static str) -> Self {
        Self {
            alias: Some(name),
            ..self
        }
    }

    /// Marks the value as a secret.
    pub const fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    /// Marks the setting as one that SIGHUP changes.
    pub const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// Marks the setting as one that goes, and says what to do instead. It stays declared, so it is
    /// never a fault, but a written value is a warning and the examples leave it out.
    pub const fn retired(self, instead: &'static str) -> Self {
        Self {
            retired: Some(instead),
            ..self
        }
    }

    /// Returns the doc comment as one line, without the final period.
    pub fn about(&self) -> &'static str {
        let line = self.doc.trim();
        line.strip_suffix('.').unwrap_or(line)
    }

    /// Returns the part of the key before the dot.
    pub fn section(&self) -> &'static str {
        self.key
            .split_once('.')
            .map_or(self.key, |(section, _)| section)
    }

    /// Returns the part of the key after the dot.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Returns the setting's environment variable.
    pub fn variable(&self) -> String {
        let name = self.key.to_ascii_uppercase().replace('.', "__");
        format!("{PREFIX}{name}")
    }

    /// Returns the key of the setting that names a file with this secret.
    pub fn file_key(&self) -> String {
        format!("{}_file", self.key)
    }

    /// Returns the name of the systemd credential that holds this secret.
    pub fn credential(&self) -> String {
        self.key.replace('.', "_")
    }
}

/// Every setting, section by section, in the order of the examples.
#[derive(Debug, Clone, Copy)]
pub struct Table(pub &'static [&'static [Field]]);

impl Table {
    /// Iterates over all settings in order.
    pub fn iter(self) -> impl Iterator<Item = &'static Field> {
        self.0.iter().flat_map(|section| section.iter())
    }

    /// Finds a setting by its key.
    pub fn find(self, key: &str) -> Option<&'static Field> {
        self.iter().find(|field| field.key == key)
    }

    /// Iterates over the settings that are secrets.
    pub fn secrets(self) -> impl Iterator<Item = &'static Field> {
        self.iter().filter(|field| field.secret)
    }

    /// Finds the setting, and its variable, that a misspelled variable such as
    /// `RISKSIGNAL_NATS_URL` means: the names differ in underscores only.
    pub fn misspelled(self, variable: &str) -> Option<(&'static Field, String)> {
        let squeezed = |name: &str| name.replace('_', "");
        if !variable.starts_with("RISKSIGNAL") {
            return None;
        }
        let meant = squeezed(variable);
        self.iter().find_map(|field| {
            let own = field.variable();
            let file = field.secret.then(|| format!("{own}{FILE_SUFFIX}"));
            let mut names = std::iter::once(own).chain(file);
            Some((field, names.find(|name| squeezed(name) == meant)?))
        })
    }
}
