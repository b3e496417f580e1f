//! Treatment of payloads that break their contract, by event type.

/// Treatment of such a payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// The payload is not checked.
    Off,
    /// The payload is counted, and its row holds the faults.
    #[default]
    Warn,
    /// The message becomes a dead letter.
    Enforce,
}

/// Modes: one for all, and those of event types that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modes {
    others: Mode,
    named: Vec<(String, Mode)>,
}

impl Modes {
    /// Parses text such as `warn` or `warn, transaction=enforce, risk_event=off`. Without a mode
    /// for all, the others keep the default.
    ///
    /// # Errors
    /// Returns the accepted form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut others = None;
        let mut named: Vec<(String, Mode)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let Some((event_type, word)) = part.rsplit_once('=') else {
                if others.replace(mode(part)?).is_some() {
                    return Err("must have one mode for all, and event types with theirs".into());
                }
                continue;
            };
            let event_type = event_type.trim();
            if event_type.is_empty() || named.iter().any(|(name, _)| name == event_type) {
                return Err("must name each event type once".into());
            }
            named.push((event_type.to_owned(), mode(word.trim())?));
        }
        Ok(Self {
            others: others.unwrap_or_default(),
            named,
        })
    }

    /// Returns the mode of an event type.
    pub fn get(&self, event_type: &str) -> Mode {
        let named = self.named.iter().find(|(name, _)| name == event_type);
        named.map_or(self.others, |(_, mode)| *mode)
    }

    /// Iterates over the event types that have their own mode.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| name.as_str())
    }
}

fn mode(word: &str) -> Result<Mode, String> {
    match word {
        "off" => Ok(Mode::Off),
        "warn" => Ok(Mode::Warn),
        "enforce" => Ok(Mode::Enforce),
        _ => Err("must be off, warn or enforce, such as warn, transaction=enforce".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_for_all_and_others_by_name() {
        let modes = Modes::parse("off, a=enforce,b = warn").unwrap();
        for (event_type, mode) in [("a", Mode::Enforce), ("b", Mode::Warn), ("c", Mode::Off)] {
            assert_eq!(modes.get(event_type), mode);
        }
        assert_eq!(Modes::parse("a=off").unwrap().get("b"), Mode::Warn);
        for bad in [
            "",
            "on",
            "warn, off",
            "a=off, a=warn",
            "=off",
            "a=",
            "warn,",
        ] {
            assert!(Modes::parse(bad).is_err(), "{bad:?}");
        }
    }
}
