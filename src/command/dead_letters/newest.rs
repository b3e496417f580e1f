//! The newest of the selected dead letters. JetStream reads forward only, so windows of the stream
//! are read, the last one first.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use jetstream::dead_letter::{
    DeadLetterHead, DeadLetterStream, DeadLetterStreamError, SequenceRange,
};

use super::Selection;
use super::select::{Chosen, ranges};

/// Sequences of the first window; the next ones are twice as wide, since few of the first match.
const WINDOW_MIN: u64 = 1_000;
/// Most sequences of a window.
const WINDOW_MAX: u64 = 1_000_000;

/// Returns at most `most` of the selected dead letters, the newest first. Holds no others.
///
/// # Errors
/// Fails when JetStream fails.
pub(super) async fn newest(
    letters: &DeadLetterStream,
    selection: &Selection,
    most: u64,
) -> Result<Vec<DeadLetterHead>, DeadLetterStreamError> {
    let Some(first) = first(letters, selection).await? else {
        return Ok(Vec::new());
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut newest = Vec::new();
    for window in windows(selection, first..=letters.last_sequence()) {
        let window = Selection {
            seq: vec![window],
            ..selection.clone()
        };
        let mut chosen = Chosen::new(letters, &window);
        let mut last = VecDeque::new();
        while let Some(head) = chosen.next_letter().await? {
            last.push_back(head);
            if last.len() > most - newest.len() {
                last.pop_front();
            }
        }
        newest.extend(last.into_iter().rev());
        if newest.len() == most {
            break;
        }
    }
    Ok(newest)
}

/// Returns the first sequence that may be selected; `None` if all are older.
async fn first(
    letters: &DeadLetterStream,
    selection: &Selection,
) -> Result<Option<u64>, DeadLetterStreamError> {
    if selection.since.is_none() {
        return Ok(Some(letters.first_sequence().max(1)));
    }
    let mut scan = letters.scan(SequenceRange {
        since: selection.since,
        ..SequenceRange::default()
    });
    let first = scan.next().await?;
    scan.close().await;
    Ok(first.map(|scanned| scanned.sequence))
}

/// Divides the selected ranges within `present` into windows, the last one first.
fn windows(
    selection: &Selection,
    present: RangeInclusive<u64>,
) -> impl Iterator<Item = RangeInclusive<u64>> {
    let mut ranges = ranges(selection);
    let mut width = WINDOW_MIN;
    std::iter::from_fn(move || {
        loop {
            let range = ranges.pop_back()?;
            let (first, last) = range.into_inner();
            let (first, last) = (first.max(*present.start()), last.min(*present.end()));
            if first > last {
                continue;
            }
            let start = first.max(last.saturating_sub(width - 1));
            width = (width * 2).min(WINDOW_MAX);
            if start > first {
                ranges.push_back(first..=start - 1);
            }
            return Some(start..=last);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_each_present_sequence_once_from_the_end() {
        let selection = Selection::default();
        let all: Vec<_> = windows(&selection, 11..=5_000).collect();
        assert_eq!(all, [4_001..=5_000, 2_001..=4_000, 11..=2_000]);
        let selection = Selection {
            seq: vec![1..=20, 4_500..=9_000],
            ..Selection::default()
        };
        let some: Vec<_> = windows(&selection, 11..=5_000).collect();
        assert_eq!(some, [4_500..=5_000, 11..=20]);
        assert_eq!(windows(&selection, 30..=40).next(), None);
    }
}
