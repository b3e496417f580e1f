//! The letter of a message that cannot land.

use jetstream::dead_letter::{DeadLetter, Original, Prefixes, Verdict};
use time::OffsetDateTime;

use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::rejected::Rejected;
use crate::settings::Settings;

/// The letter for a message.
pub fn letter(rejected: &Rejected, settings: &Settings, max_payload: usize) -> DeadLetter {
    let Rejected { delivery, reason } = rejected;
    let verdict = Verdict {
        code: reason.code(),
        error: reason.to_string(),
        at: OffsetDateTime::now_utc(),
    };
    letter_of(delivery, &verdict, settings, max_payload)
}

/// The subject on which the stream of dead letters has the letter of a message, or its first part.
pub fn letter_subject(delivery: &Delivery, settings: &Settings, max_payload: usize) -> String {
    // The verdict has no part in it.
    let verdict = Verdict {
        code: "",
        error: String::new(),
        at: OffsetDateTime::UNIX_EPOCH,
    };
    letter_of(delivery, &verdict, settings, max_payload).first_subject()
}

fn letter_of(
    delivery: &Delivery,
    verdict: &Verdict,
    settings: &Settings,
    max_payload: usize,
) -> DeadLetter {
    let table = settings.clickhouse.full_table();
    let (subject, headers) = (delivery.subject(), delivery.headers());
    let original = Original {
        subject: &subject,
        headers: headers.as_ref(),
        body: &delivery.shared_body(),
        stream: &settings.stream.name,
        table: &table,
        stream_created_ns: delivery.position.stream_created_ns,
        sequence: delivery.position.stream_seq,
        published_at_ms: delivery.published_at_ms(),
        attempts: delivery.attempt,
    };
    let prefixes = Prefixes {
        letters: &settings.dead_letters.subject_prefix,
        signals: &settings.stream.subject_prefix,
    };
    DeadLetter::new(&original, verdict, prefixes, max_payload)
}

#[cfg(test)]
mod tests {
    use claims::Cause;

    use super::*;
    use crate::pipeline::crossing::reason::Reason;
    use crate::pipeline::fakes::{delivery_of, invalid};

    const MAX_PAYLOAD: usize = 1 << 20;

    fn subject_of(delivery: Delivery, reason: Reason, max_payload: usize) -> String {
        let rejected = Rejected { delivery, reason };
        letter(&rejected, &Settings::default(), max_payload).first_subject()
    }

    #[test]
    fn a_letter_has_one_subject_whatever_the_verdict() {
        let settings = Settings::default();
        let expected = letter_subject(&invalid(7), &settings, MAX_PAYLOAD);
        for cause in [Cause::Invalid, Cause::Refused, Cause::MaxDeliveries] {
            let subject = subject_of(invalid(7), Reason::Claimed(cause), MAX_PAYLOAD);
            assert_eq!(subject, expected);
        }
        assert_ne!(
            letter_subject(&invalid(8), &settings, MAX_PAYLOAD),
            expected
        );
    }

    #[test]
    fn the_first_part_of_a_letter_in_parts_is_found_by_the_same_rule() {
        let large = || delivery_of(7, vec![b'x'; 100_000].into());
        let reason = Reason::Claimed(Cause::Invalid);
        let whole = subject_of(large(), reason.clone(), MAX_PAYLOAD);
        let first = subject_of(large(), reason, 64 * 1024);
        assert_ne!(first, whole);
        assert_eq!(
            letter_subject(&large(), &Settings::default(), 64 * 1024),
            first
        );
    }
}
