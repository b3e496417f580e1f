//! What a running daemon takes of settings that were written anew.

use std::fmt;
use std::path::Path;

use super::fields::FIELDS;
use super::layers::{Layers, Origin, Values, Written};
use super::{Faults, Settings, tokens, typed};

/// The setting whose folder may hold other files than before.
const SCHEMAS: &str = "validation.schemas";

/// What a reload makes of the settings in force.
#[derive(Debug)]
pub struct Reloaded {
    /// What is in force from now on.
    pub settings: Settings,
    /// What that changes.
    pub changed: Vec<Change>,
    /// What is written otherwise than it is in force, and stays so until a restart.
    pub needs_restart: Vec<Change>,
}

/// A setting that is written otherwise than it is in force. Displayed as `batch.max_wait: 250ms,
/// now 100ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    key: &'static str,
    in_force: String,
    written: String,
}

impl fmt::Display for Change {
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
    /// Reads the settings as [`Settings::load`] does, and takes of them what a running daemon
    /// can.
    ///
    /// # Errors
    /// Every fault of every layer at once; also when a value that can change contradicts one
    /// that needs a restart and is still as it was.
    pub fn reload(&self, file: Option<&Path>) -> Result<Reloaded, Faults> {
        self.overlaid_by(Self::load(file)?.written)
    }

    fn overlaid_by(&self, mut written: Values) -> Result<Reloaded, Faults> {
        let (mut changed, mut needs_restart) = (Vec::new(), Vec::new());
        for field in FIELDS {
            let in_force = self.written.get(field.key);
            let Some((in_force, written)) = in_force.zip(written.get_mut(field.key)) else {
                continue;
            };
            if written == in_force {
                continue;
            }
            let change = Change {
                key: field.key,
                in_force: in_force.shown(field.key),
                written: written.shown(field.key),
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
        let settings = typed::settings(Layers {
            values: written,
            ..Layers::default()
        })?;
        self.files_changed(&settings, &mut changed);
        Ok(Reloaded {
            settings,
            changed,
            needs_restart,
        })
    }
    /// Adds the files whose names may be as they were, and what is in them not.
    fn files_changed(&self, settings: &Self, changed: &mut Vec<Change>) {
        if settings.serve.tokens != self.serve.tokens {
            changed.retain(|change| change.key != tokens::KEY);
            changed.push(Change {
                key: tokens::KEY,
                in_force: tokens::shown(&self.serve.tokens),
                written: tokens::shown(&settings.serve.tokens),
            });
        }
        let is_told = |change: &Change| change.key.starts_with("validation.");
        if settings.validation.contracts != self.validation.contracts
            && !changed.iter().any(is_told)
        {
            let folder = settings.written.get(SCHEMAS);
            let folder = folder.map_or_else(String::new, |written| written.shown(SCHEMAS));
            changed.push(Change {
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
        let mut layers = Layers::defaults();
        layers.add_file("risksignal.toml", toml);
        layers.values
    }

    fn reload(from: &str, to: &str) -> Result<Reloaded, Faults> {
        let layers = Layers {
            values: written(from),
            ..Layers::default()
        };
        typed::settings(layers).unwrap().overlaid_by(written(to))
    }

    fn told(changes: &[Change]) -> Vec<String> {
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_told() {
        let reloaded = reload(
            "batch.max_rows = 10\nnats.password = 'old'\nnats.user = 'u'",
            "batch.max_rows = 20\nnats.password = 'new'\nnats.user = 'u'\nconsumer.pulls = 3",
        )
        .unwrap();
        assert_eq!(reloaded.settings.batch.max_rows, 20);
        assert_eq!(reloaded.settings.consumer.pulls, 2);
        assert_eq!(reloaded.settings.nats.password.expose(), "old");
        let changed = told(&reloaded.changed);
        assert_eq!(changed, [r#"batch.max_rows: "10", now "20""#]);
        let needs_restart = told(&reloaded.needs_restart);
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
    fn what_stayed_is_told_again_and_no_more_once_it_is_written_back() {
        let first = reload("", "consumer.pulls = 3").unwrap().settings;
        let second = first.overlaid_by(written("consumer.pulls = 3")).unwrap();
        assert_eq!(second.needs_restart.len(), 1);
        let third = second.settings.overlaid_by(written("")).unwrap();
        assert!(third.needs_restart.is_empty());
    }
}
