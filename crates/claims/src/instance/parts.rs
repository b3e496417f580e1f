//! Replacements of a claim that cannot be completed.

use crate::block::Part;
use crate::entry::{Cause, Entry, Fate};
use crate::id::Nonce;

/// Division of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// The same entries again.
    Whole,
    /// Halves, since ClickHouse rejects the block or it is too large.
    Halves,
    /// Halves, or a dead letter for a single row, since ClickHouse rejects it.
    Refused,
}

/// Divides entries into claims, each under a new nonce. Returns none if there are no entries.
pub fn divide(
    mut entries: Vec<Entry>,
    division: Division,
    fence: i64,
    mut nonce: impl FnMut() -> Nonce,
) -> Vec<Part> {
    let mut rows = entries
        .iter_mut()
        .filter(|entry| entry.fate == Fate::Row)
        .collect::<Vec<_>>();
    let mut part = |entries| Part {
        id: nonce(),
        fence,
        entries,
    };
    match (division, rows.len()) {
        (Division::Refused, 1) => {
            for row in &mut rows {
                row.fate = Fate::DeadLetter(Cause::Refused);
            }
        }
        (Division::Refused | Division::Halves, 2..) => {
            let middle = rows[rows.len() / 2].stream_seq;
            let (first, second) = entries
                .iter()
                .partition(|entry: &&Entry| entry.stream_seq < middle);
            return vec![part(first), part(second)];
        }
        _ => {}
    }
    if entries.is_empty() {
        return Vec::new();
    }
    vec![part(entries)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(fates: &[(u64, Fate)]) -> Vec<Entry> {
        let entry = |(stream_seq, fate): &(u64, Fate)| Entry {
            stream_seq: *stream_seq,
            published_ns: 0,
            fate: *fate,
        };
        fates.iter().map(entry).collect()
    }

    const INVALID: Fate = Fate::DeadLetter(Cause::Invalid);

    fn divided(fates: &[(u64, Fate)], division: Division) -> Vec<Part> {
        let mut next = 0;
        divide(entries(fates), division, 7, || {
            next += 1;
            Nonce(next)
        })
    }

    #[test]
    fn halves_have_half_of_the_rows_each() {
        let all = [(1, Fate::Row), (2, INVALID), (4, Fate::Row), (9, Fate::Row)];
        let parts = divided(&all, Division::Refused);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].entries, entries(&all[..2]));
        assert_eq!(parts[1].entries, entries(&all[2..]));
        assert_ne!(parts[0].id, parts[1].id);
    }

    #[test]
    fn only_a_refused_single_row_becomes_a_dead_letter() {
        let one = [(3, Fate::Row), (5, INVALID)];
        let refused = divided(&one, Division::Refused);
        let letter = (3, Fate::DeadLetter(Cause::Refused));
        assert_eq!(refused[0].entries, entries(&[letter, (5, INVALID)]));
        for division in [Division::Halves, Division::Whole] {
            assert_eq!(divided(&one, division)[0].entries, entries(&one));
        }
        assert_eq!(divided(&[], Division::Whole), []);
    }
}
