//! The letters that the arguments choose, one after the other.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::dead_letter::{Head, Letters, LettersError, Range, Scan, Scanned};

use super::Selection;

/// What a selection comes upon.
#[derive(Debug)]
pub(super) enum Found {
    /// A letter.
    Letter(Head),
    /// A later part of a letter, which its first part stands for.
    LaterPart(Scanned),
    /// The record of a replay that has begun.
    Intent {
        /// Its own sequence.
        sequence: u64,
        /// That of its letter.
        letter: u64,
    },
}

/// Reads the letters of a selection.
pub(super) struct Chosen<'a> {
    letters: &'a Letters,
    selection: &'a Selection,
    scan: Option<Scan<'a>>,
    /// Sequences that are still to be read.
    ranges: VecDeque<RangeInclusive<u64>>,
    left: u64,
}

impl<'a> Chosen<'a> {
    /// The letters of a selection, the oldest first.
    pub fn new(letters: &'a Letters, selection: &'a Selection) -> Self {
        let mut ranges = selection.seq.clone();
        ranges.sort_by_key(|range| *range.start());
        if ranges.is_empty() {
            ranges.push(1..=u64::MAX);
        }
        Self {
            letters,
            selection,
            scan: None,
            ranges: apart(ranges),
            left: selection.limit.unwrap_or(u64::MAX),
        }
    }

    /// The next letter; `None` after the last.
    pub async fn next_letter(&mut self) -> Result<Option<Head>, LettersError> {
        loop {
            match self.next().await? {
                Some(Found::Letter(head)) => return Ok(Some(head)),
                Some(Found::LaterPart(_) | Found::Intent { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next letter or later part; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Found>, LettersError> {
        while self.left > 0 {
            let Some(scan) = &mut self.scan else {
                let Some(range) = self.ranges.pop_front() else {
                    return Ok(None);
                };
                self.scan = Some(self.letters.scan(Range {
                    subject: self.selection.subject.clone(),
                    since: self.selection.since.filter(|_| *range.start() == 1),
                    first: *range.start(),
                    last: Some(*range.end()),
                }));
                continue;
            };
            let Some(scanned) = scan.next().await? else {
                self.scan = None;
                continue;
            };
            if self.is_beyond(&scanned.head) {
                self.left = 0;
                break;
            }
            if let Some(letter) = scanned.head.replay_of {
                let sequence = scanned.sequence;
                return Ok(Some(Found::Intent { sequence, letter }));
            }
            if !self.matches(&scanned.head) {
                continue;
            }
            if scanned.head.part.number > 1 {
                return Ok(Some(Found::LaterPart(scanned)));
            }
            self.left -= 1;
            return Ok(Some(Found::Letter(scanned.head)));
        }
        if let Some(mut scan) = self.scan.take() {
            scan.close().await;
        }
        Ok(None)
    }

    fn is_beyond(&self, head: &Head) -> bool {
        self.selection.until.is_some_and(|until| head.time > until)
    }

    fn matches(&self, head: &Head) -> bool {
        let Selection { reason, since, .. } = self.selection;
        (reason.is_empty() || reason.contains(&head.reason))
            && since.is_none_or(|since| head.time >= since)
    }
}

/// Ranges in order, without overlaps.
fn apart(ranges: Vec<RangeInclusive<u64>>) -> VecDeque<RangeInclusive<u64>> {
    let mut apart: VecDeque<RangeInclusive<u64>> = VecDeque::new();
    for range in ranges {
        match apart.back_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => apart.push_back(range),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_become_one() {
        let ranges = apart(vec![1..=1, 2..=5, 4..=4, 9..=9]);
        assert_eq!(ranges, [1..=5, 9..=9]);
    }
}
