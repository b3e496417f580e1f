//! Changes that a running daemon applies from newly read settings.

use std::fmt;
use std::path::Path;

use option_kit::{Faults, Layers, Origin, Values, Written};

use crate::serve::tokens;

use super::{Settings, TABLE};

/// Setting whose folder may hold other files than before.
const SCHEMAS: &str = "validation.schemas";

/// Result of reading the settings again.
#[derive(Debug)]
pub struct Reloaded {
    /// Settings in force from now on.
    pub settings: Settings,
    /// Applied changes.
    pub changed: Vec<SettingChange>,
    /// Written changes that wait for a restart.
    pub needs_restart: Vec<SettingChange>,
}

/// A setting whose written value differs from the one in force. Displayed as `batch.max_wait:
/// 250ms, now 100ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    key: &'static str,
    in_force: String,
    written: String,
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            in_force,
            written,
        } = self;
        write!(f, "{key}: {in_force:?}, now {written:?}")
    }
}

impl Settings {
    /// Reads the settings as [`Settings::load`] does, and applies the changes that a running daemon
    /// can.
    ///
    /// # Errors
    /// Returns every fault of every layer at once, including a changed value that contradicts one
    /// that waits for a restart.
    pub fn reload(&self, file: Option<&Path>) -> Result<Reloaded, Faults> {
        self.overlay(Self::load(file)?.written)
    }

    fn overlay(&self, mut written: Values) -> Result<Reloaded, Faults> {
        let (mut changed, mut needs_restart) = (Vec::new(), Vec::new());
        for field in TABLE.iter() {
            let in_force = self.written.get(field.key);
            let Some((in_force, written)) = in_force.zip(written.get_mut(field.key)) else {
                continue;
            };
            if written == in_force {
                continue;
            }
            let change = SettingChange {
                key: field.key,
                in_force: in_force.shown(field),
                written: written.shown(field),
            };
            if field.live {
                changed.push(change);
                continue;
            }
            needs_restart.push(change);
            *written = Written {
                origin: Origin::InForce,
                ..in_force.clone()
            };
        }
        let settings = Self::from_layers(Layers::with_values(TABLE, written))?;
        self.add_changed_files(&settings, &mut changed);
        Ok(Reloaded {
            settings,
            changed,
            needs_restart,
        })
    }
    /// Adds files whose content may have changed under the same name.
    fn add_changed_files(&self, settings: &Self, changed: &mut Vec<SettingChange>) {
        if settings.serve.tokens != self.serve.tokens {
            changed.retain(|change| change.key != tokens::KEY);
            changed.push(SettingChange {
                key: tokens::KEY,
                in_force: tokens::shown(&self.serve.tokens),
                written: tokens::shown(&settings.serve.tokens),
            });
        }
        let is_reported = |change: &SettingChange| change.key.starts_with("validation.");
        if settings.validation.contracts() != self.validation.contracts()
            && !changed.iter().any(is_reported)
        {
            let folder = settings.written.get(SCHEMAS);
            let folder = folder.map_or_else(String::new, |written| written.text.clone());
            changed.push(SettingChange {
                key: SCHEMAS,
                written: format!("{folder}, with other files"),
                in_force: folder,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(toml: &str) -> Values {
        let mut layers = Layers::defaults(TABLE);
        layers.add_file("risksignal.toml", toml);
        layers.values
    }

    fn reload(from: &str, to: &str) -> Result<Reloaded, Faults> {
        let layers = Layers::with_values(TABLE, written(from));
        Settings::from_layers(layers).unwrap().overlay(written(to))
    }

    fn fault_texts(changes: &[SettingChange]) -> Vec<String> {
        changes.iter().map(SettingChange::to_string).collect()
    }

    #[test]
    fn live_settings_change_and_the_others_are_reported() {
        let reloaded = reload(
            "batch.max_rows = 10\nnats.password = 'old'\nnats.user = 'u'",
            "batch.max_rows = 20\nnats.password = 'new'\nnats.user = 'u'\nconsumer.pulls = 3",
        )
        .unwrap();
        assert_eq!(reloaded.settings.batch.max_rows, 20);
        assert_eq!(reloaded.settings.consumer.pulls, 2);
        assert_eq!(reloaded.settings.nats.password.expose(), "old");
        let changed = fault_texts(&reloaded.changed);
        assert_eq!(changed, [r#"batch.max_rows: "10", now "20""#]);
        let needs_restart = fault_texts(&reloaded.needs_restart);
        let password = r#"nats.password: "***", now "***""#;
        assert_eq!(needs_restart, [password, r#"consumer.pulls: "2", now "3""#]);
    }

    #[test]
    fn nothing_changes_against_what_stays() {
        let faults = reload(
            "",
            "batch.max_rows = 60000\nconsumer.max_in_flight_messages = 70000",
        )
        .unwrap_err();
        let message = faults.to_string();
        let stays = r#"consumer.max_in_flight_messages is "50000" (in force until a restart)"#;
        assert!(message.contains(stays), "{message}");
    }

    #[test]
    fn pending_changes_are_reported_until_they_are_reverted() {
        let first = reload("", "consumer.pulls = 3").unwrap().settings;
        let second = first.overlay(written("consumer.pulls = 3")).unwrap();
        assert_eq!(second.needs_restart.len(), 1);
        let third = second.settings.overlay(written("")).unwrap();
        assert!(third.needs_restart.is_empty());
    }
}
