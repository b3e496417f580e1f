//! Signals by type and severity, within a fixed number of series whatever is published.

use signal::Signal;

/// Types with a series of their own: those that came first.
const TYPES_MAX: usize = 16;
/// The type of all others.
const OTHER: &str = "other";
/// Severities with a series of their own, and one for all that are higher.
const SEVERITIES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9+"];

/// Counts of one type.
#[derive(Debug)]
struct Kind {
    event_type: String,
    by_severity: [u64; SEVERITIES.len()],
    faulty: u64,
}

impl Kind {
    fn new(event_type: &str) -> Self {
        Self {
            event_type: event_type.to_owned(),
            by_severity: Default::default(),
            faulty: 0,
        }
    }
}

/// Counts aside, for one task, what is added to the metrics now and then.
#[derive(Debug, Default)]
pub struct KindTally {
    kinds: Vec<Kind>,
}

impl KindTally {
    /// Counts a signal.
    pub fn count(&mut self, signal: &Signal<'_>) {
        let has_faults = !signal.payload_faults.is_empty();
        self.add(&signal.event_type, signal.severity, has_faults);
    }

    fn add(&mut self, event_type: &str, severity: i64, has_payload_faults: bool) {
        let is_it = |kind: &Kind| kind.event_type == event_type;
        let known = self.kinds.iter().position(is_it);
        let at = known.unwrap_or_else(|| self.begin(event_type));
        let severity = usize::try_from(severity).unwrap_or_default();
        let kind = &mut self.kinds[at];
        kind.by_severity[severity.min(SEVERITIES.len() - 1)] += 1;
        kind.faulty += u64::from(has_payload_faults);
    }

    /// A new type's place; that of all others once there are enough.
    fn begin(&mut self, event_type: &str) -> usize {
        if self.kinds.len() >= TYPES_MAX {
            if self.kinds.len() == TYPES_MAX {
                self.kinds.push(Kind::new(OTHER));
            }
            return TYPES_MAX;
        }
        self.kinds.push(Kind::new(event_type));
        self.kinds.len() - 1
    }

    /// Hands out what was counted since the last time: type, severity and count to `signals`,
    /// and type and count of those with faulty payloads to `faulty`.
    pub fn drain(
        &mut self,
        mut signals: impl FnMut(&str, &str, u64),
        mut faulty: impl FnMut(&str, u64),
    ) {
        for kind in &mut self.kinds {
            for (count, severity) in kind.by_severity.iter_mut().zip(SEVERITIES) {
                match std::mem::take(count) {
                    0 => {}
                    count => signals(&kind.event_type, severity, count),
                }
            }
            match std::mem::take(&mut kind.faulty) {
                0 => {}
                count => faulty(&kind.event_type, count),
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
            tally.add(&format!("type_{number}"), number, number % 2 == 1);
        }
        tally.add("type_0", 0, true);
        let (mut series, mut faulty) = (Vec::new(), Vec::new());
        tally.drain(
            |event_type, severity, count| {
                series.push((event_type.to_owned(), severity.to_owned(), count));
            },
            |event_type, count| faulty.push((event_type.to_owned(), count)),
        );
        assert_eq!(faulty[0], ("type_0".into(), 1));
        assert_eq!(faulty[1], ("type_1".into(), 1));
        assert_eq!(faulty.last(), Some(&("other".into(), 492)));
        assert_eq!(series[0], ("type_0".into(), "0".into(), 2));
        assert_eq!(series[15], ("type_15".into(), "9+".into(), 1));
        assert_eq!(series[16..], [("other".into(), "9+".into(), 984)]);
        tally.drain(
            |_, _, _| panic!("all was handed out"),
            |_, _| panic!("all was handed out"),
        );
    }
}
