//! Signals by type and severity, within a fixed number of series whatever is published.

/// Types with a series of their own: those that came first.
const TYPES_MAX: usize = 16;
/// The type of all others.
const OTHER: &str = "other";
/// Severities with a series of their own, and one for all that are higher.
const SEVERITIES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9+"];

/// Counts aside, for one task, what is added to the metrics now and then.
#[derive(Debug, Default)]
pub struct KindTally {
    kinds: Vec<(String, [u64; SEVERITIES.len()])>,
}

impl KindTally {
    /// Counts a signal.
    pub fn count(&mut self, event_type: &str, severity: i64) {
        let known = self.kinds.iter().position(|(name, _)| name == event_type);
        let at = known.unwrap_or_else(|| self.begin(event_type));
        let severity = usize::try_from(severity).unwrap_or_default();
        self.kinds[at].1[severity.min(SEVERITIES.len() - 1)] += 1;
    }

    /// A new type's place; that of all others once there are enough.
    fn begin(&mut self, event_type: &str) -> usize {
        if self.kinds.len() >= TYPES_MAX {
            if self.kinds.len() == TYPES_MAX {
                self.kinds.push((OTHER.to_owned(), Default::default()));
            }
            return TYPES_MAX;
        }
        self.kinds.push((event_type.to_owned(), Default::default()));
        self.kinds.len() - 1
    }

    /// Hands out type, severity and count of what was counted since the last time.
    pub fn drain(&mut self, mut add: impl FnMut(&str, &str, u64)) {
        for (event_type, counts) in &mut self.kinds {
            for (count, severity) in counts.iter_mut().zip(SEVERITIES) {
                match std::mem::take(count) {
                    0 => {}
                    count => add(event_type, severity, count),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_severities_are_bounded() {
        let mut tally = KindTally::default();
        for number in 0..1000 {
            tally.count(&format!("type_{number}"), number);
        }
        tally.count("type_0", 0);
        let mut series = Vec::new();
        tally.drain(|event_type, severity, count| {
            series.push((event_type.to_owned(), severity.to_owned(), count));
        });
        assert_eq!(series[0], ("type_0".into(), "0".into(), 2));
        assert_eq!(series[15], ("type_15".into(), "9+".into(), 1));
        assert_eq!(series[16..], [("other".into(), "9+".into(), 984)]);
        tally.drain(|_, _, _| panic!("all was handed out"));
    }
}
