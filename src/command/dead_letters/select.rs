//! Dead letters that the arguments select, in order.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use jetstream::dead_letter::{
    DeadLetterHead, DeadLetterStream, DeadLetterStreamError, Scan, Scanned, SequenceRange,
};

use super::Selection;

/// An item that a selection finds.
#[derive(Debug)]
pub(super) enum Selected {
    /// A letter.
    Letter(Scanned),
    /// A later part of a dead letter, which its first part represents.
    LaterPart(Scanned),
    /// The record of a started replay.
    Intent {
        /// Sequence of the record.
        sequence: u64,
        /// Sequence of its dead letter.
        letter: u64,
    },
}

/// Reads the selected dead letters.
pub(super) struct Chosen<'a> {
    letters: &'a DeadLetterStream,
    selection: &'a Selection,
    scan: Option<Scan<'a>>,
    /// Remaining sequences to read.
    ranges: VecDeque<RangeInclusive<u64>>,
    left: u64,
    with_bodies: bool,
}

impl<'a> Chosen<'a> {
    /// Selects dead letters, the oldest first.
    pub fn new(letters: &'a DeadLetterStream, selection: &'a Selection) -> Self {
        Self {
            letters,
            selection,
            scan: None,
            ranges: ranges(selection),
            left: selection.limit.unwrap_or(u64::MAX),
            with_bodies: false,
        }
    }

    /// Reads the bodies, too.
    pub fn with_bodies(self) -> Self {
        Self {
            with_bodies: true,
            ..self
        }
    }

    /// Returns the next dead letter; `None` after the last.
    pub async fn next_letter(&mut self) -> Result<Option<DeadLetterHead>, DeadLetterStreamError> {
        loop {
            match self.next().await? {
                Some(Selected::Letter(letter)) => return Ok(Some(letter.head)),
                Some(Selected::LaterPart(_) | Selected::Intent { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// Returns the next dead letter, later part or record; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Selected>, DeadLetterStreamError> {
        while self.left > 0 {
            let Some(scan) = &mut self.scan else {
                let Some(range) = self.ranges.pop_front() else {
                    return Ok(None);
                };
                self.scan = Some(self.letters.scan(SequenceRange {
                    subject: self.selection.subject.clone(),
                    since: self.selection.since.filter(|_| *range.start() == 1),
                    first: *range.start(),
                    last: Some(*range.end()),
                    with_bodies: self.with_bodies,
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
                return Ok(Some(Selected::Intent { sequence, letter }));
            }
            if !self.matches(&scanned.head) {
                continue;
            }
            if scanned.head.part.number > 1 {
                return Ok(Some(Selected::LaterPart(scanned)));
            }
            self.left -= 1;
            return Ok(Some(Selected::Letter(scanned)));
        }
        if let Some(mut scan) = self.scan.take() {
            scan.close().await;
        }
        Ok(None)
    }

    fn is_beyond(&self, head: &DeadLetterHead) -> bool {
        self.selection.until.is_some_and(|until| head.time > until)
    }

    fn matches(&self, head: &DeadLetterHead) -> bool {
        let Selection { reason, since, .. } = self.selection;
        (reason.is_empty() || reason.contains(&head.reason))
            && since.is_none_or(|since| head.time >= since)
    }
}

/// Returns the selected ranges of sequences, in order and apart.
pub(super) fn ranges(selection: &Selection) -> VecDeque<RangeInclusive<u64>> {
    let mut ranges = selection.seq.clone();
    ranges.sort_by_key(|range| *range.start());
    if ranges.is_empty() {
        ranges.push(1..=u64::MAX);
    }
    apart(ranges)
}

/// Merges sorted ranges that overlap or meet.
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
