//! Subjects of dead letters: `<prefix>.<original subject>.<position>`. Each dead letter has its own
//! subject, so that the stream can reject a second message on it.

use crate::topology::subject_covers;

use super::original::Original;

/// Longest subject of a dead letter in bytes. nats-server accepts lines of 4 KiB, which must also
/// hold the reply subject.
const BYTES_MAX: usize = 3 * 1024;

/// Prefixes of the subjects of dead letters and of signals.
#[derive(Debug, Clone, Copy)]
pub struct Prefixes<'a> {
    /// `dead_letters.subject_prefix`.
    pub letters: &'a str,
    /// `stream.subject_prefix`, which the stream of dead letters expects after the other prefix.
    pub signals: &'a str,
}

/// Returns the subject of a message's dead letter. If the message's own subject is too long, or
/// does not begin as the stream of dead letters expects, only the prefixes are used; the header has
/// the whole subject.
pub(super) fn dead_letter_subject(prefixes: Prefixes<'_>, original: &Original<'_>) -> String {
    let Prefixes { letters, signals } = prefixes;
    let position = position(original);
    let whole = format!("{letters}.{}.{position}", original.subject);
    if whole.len() <= BYTES_MAX && subject_covers(&format!("{signals}.>"), original.subject) {
        return whole;
    }
    format!("{letters}.{signals}.{position}")
}

/// Returns one token that distinguishes the message from every other: the stream's creation time,
/// the message's sequence, and its publish time, since a stream restored from a backup reuses
/// sequences.
fn position(original: &Original<'_>) -> String {
    format!(
        "{}-{}-{}",
        original.stream_created_ns, original.sequence, original.published_at_ms
    )
}

/// Returns the subject of a part, given that of its dead letter.
pub(super) fn part_subject(letter: &str, number: u64, of: u64) -> String {
    format!("{letter}-{number}of{of}")
}

/// Returns the subject of a dead letter, given that of its first part; `None` for one of an older
/// version, whose parts share one subject.
pub(super) fn without_part(first: &str, of: u64) -> Option<&str> {
    first.strip_suffix(&format!("-1of{of}"))
}

/// Returns patterns that match every dead letter whose original subject matches `pattern`, and some
/// others, in a stream of these `subjects`. Returns none if the patterns would overlap or exceed
/// the stream, which a consumer may not.
pub(super) fn filters(prefixes: Prefixes<'_>, pattern: &str, subjects: &[String]) -> Vec<String> {
    let Prefixes { letters, signals } = prefixes;
    let older = format!("{letters}.{pattern}");
    let mut filters = vec![format!("{letters}.{signals}.*")];
    if !pattern.ends_with('>') {
        filters.push(format!("{older}.*"));
    }
    if !filters.contains(&older) {
        filters.push(older);
    }
    filters.retain(|filter| subjects.iter().any(|subject| meet(subject, filter)));
    let all = filters.clone();
    filters.retain(|filter| {
        let mut others = all.iter().filter(|other| *other != filter);
        !others.any(|other| subject_covers(other, filter))
    });
    let overlap = filters.iter().enumerate().any(|(index, filter)| {
        let mut others = filters[index + 1..].iter();
        others.any(|other| meet(filter, other))
    });
    let is_within = |filter: &String| {
        let mut subjects = subjects.iter();
        subjects.any(|subject| subject_covers(subject, filter))
    };
    if overlap || !filters.iter().all(is_within) {
        return Vec::new();
    }
    filters
}

/// Reports whether a subject may match both patterns.
fn meet(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PREFIXES: Prefixes<'_> = Prefixes {
        letters: "dlq",
        signals: "signals",
    };

    fn letter(subject: &str) -> String {
        let original = Original {
            subject,
            headers: None,
            body: &Bytes::new(),
            stream: "SIGNALS",
            table: "t",
            stream_created_ns: 1,
            sequence: 2,
            published_at_ms: 3,
            attempts: 1,
        };
        dead_letter_subject(PREFIXES, &original)
    }

    #[test]
    fn every_subject_has_a_letter_that_the_stream_takes() {
        assert_eq!(letter("signals.a.b"), "dlq.signals.a.b.1-2-3");
        assert_eq!(letter("orders.a"), "dlq.signals.1-2-3");
        let long = format!("signals.{}", "x".repeat(BYTES_MAX));
        assert_eq!(letter(&long), "dlq.signals.1-2-3");
        let tokens = format!("signals{}", ".x".repeat(BYTES_MAX / 2));
        assert_eq!(letter(&tokens), "dlq.signals.1-2-3");
        let room = BYTES_MAX - "dlq.signals..1-2-3".len();
        let longest = letter(&format!("signals.{}", "x".repeat(room)));
        assert_eq!(longest.len(), BYTES_MAX);
    }

    #[test]
    fn parts_have_subjects_of_their_own() {
        let first = part_subject("dlq.signals.a.1-2-3", 1, 12);
        assert_eq!(first, "dlq.signals.a.1-2-3-1of12");
        assert_eq!(without_part(&first, 12), Some("dlq.signals.a.1-2-3"));
        assert_eq!(without_part("dlq.signals.a", 12), None);
    }

    #[test]
    fn filters_match_letters_of_every_version_and_never_overlap() {
        for (pattern, expected) in [
            ("signals.a", vec!["dlq.signals.*", "dlq.signals.a.*"]),
            ("signals.*", vec!["dlq.signals.*", "dlq.signals.*.*"]),
            ("signals.>", vec!["dlq.signals.>"]),
            (
                "signals.a.b",
                vec!["dlq.signals.*", "dlq.signals.a.b.*", "dlq.signals.a.b"],
            ),
            ("signals.a.>", vec!["dlq.signals.*", "dlq.signals.a.>"]),
            ("orders.>", vec!["dlq.signals.*"]),
            ("*.a.>", vec![]),
            (">", vec![]),
        ] {
            let subjects = ["dlq.signals.>".to_owned()];
            assert_eq!(filters(PREFIXES, pattern, &subjects), expected, "{pattern}");
        }
        for (pattern, expected) in [
            ("orders.>", vec!["dlq.signals.*", "dlq.orders.>"]),
            ("*.a.>", vec!["dlq.signals.*", "dlq.*.a.>"]),
            ("*.*", vec!["dlq.*.*.*", "dlq.*.*"]),
            (">", vec!["dlq.>"]),
            ("*.a", vec![]),
        ] {
            let subjects = ["dlq.>".to_owned()];
            assert_eq!(filters(PREFIXES, pattern, &subjects), expected, "{pattern}");
        }
    }
}
