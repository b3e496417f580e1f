//! What is made of a payload that does not keep its contract, by event type.

/// What is made of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is not looked at.
    Off,
    /// It is counted, and its row tells what is wrong.
    #[default]
    Warn,
    /// It goes to the dead letters.
    Enforce,
}

/// The modes: one for all, and those of event types that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modes {
    others: Mode,
    named: Vec<(String, Mode)>,
}

impl Modes {
    /// Reads such as `warn` or `warn, transaction=enforce, risk_event=off`. Where none stands
    /// for all the others, they have the default.
    ///
    /// # Errors
    /// What it should have been.
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

    /// The mode of an event type.
    pub fn of(&self, event_type: &str) -> Mode {
        let named = self.named.iter().find(|(name, _)| name == event_type);
        named.map_or(self.others, |(_, mode)| *mode)
    }

    /// The event types that are named.
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
            assert_eq!(modes.of(event_type), mode);
        }
        assert_eq!(Modes::parse("a=off").unwrap().of("b"), Mode::Warn);
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
