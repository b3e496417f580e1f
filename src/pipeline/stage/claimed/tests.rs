use std::time::Duration;

use claims::Cause;

use super::*;
use crate::pipeline::fakes::{CREATED, batch, delivery, invalid};

fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(8))
}

fn claimed(sequences: &[u64]) -> Claimed {
    let messages = sequences.iter().map(|seq| delivery(*seq)).collect();
    Claimed::new(Nonce(1), 60, CREATED, batch(messages))
}

fn sequences(batch: &ClosedBatch) -> Vec<u64> {
    let messages = batch.messages();
    messages.map(|one| one.position.stream_seq).collect()
}

/// Sequences of the rows that are sent for a claim.
fn rows(claimed: &Claimed) -> Vec<u64> {
    let rows = claimed.block.rows().iter();
    rows.map(|row| row.stream_seq).collect()
}

#[test]
fn the_entries_are_in_order_each_with_its_fate() {
    let batch = batch(vec![delivery(5), invalid(2), delivery(3)]);
    let entries = entries(&batch);
    let invalid = Fate::DeadLetter(Cause::Invalid);
    let fates: Vec<(u64, Fate)> = entries
        .iter()
        .map(|entry| (entry.stream_seq, entry.fate))
        .collect();
    assert_eq!(fates, [(2, invalid), (3, Fate::Row), (5, Fate::Row)]);
}

#[test]
fn the_token_of_the_block_is_the_nonce_of_the_claim() {
    let claimed = claimed(&[2, 9, 4]);
    assert_eq!(claimed.block.token().as_u128(), 1);
    assert_eq!(claimed.sequences(), 2..=9);
}

#[test]
fn a_divided_claim_leaves_each_row_with_its_message() {
    let mut whole = claimed(&[1, 2, 3, 4]);
    whole.tries.refused = Some(7);
    whole.room = Some(Arc::default());
    let part = |seqs: &[u64]| {
        let entry = |seq: &u64| Entry {
            stream_seq: *seq,
            published_ns: 0,
            fate: Fate::Row,
        };
        seqs.iter().map(entry).collect::<Vec<_>>()
    };
    let parts = vec![(Nonce(2), 61, part(&[1, 3])), (Nonce(3), 62, part(&[2]))];
    let (parts, rest, _) = whole.divide(parts);
    assert_eq!((rows(&parts[0]), parts[0].fence), (vec![1, 3], 61));
    assert_eq!((rows(&parts[1]), parts[1].fence), (vec![2], 62));
    assert_eq!(sequences(&rest), [4]);
    for part in &parts {
        assert_eq!(sequences(&part.batch), rows(part));
        assert_eq!(part.tries.refused, Some(7), "its tries go on");
        assert!(part.room.is_some() && !part.is_sent);
    }
}

#[test]
fn a_part_that_the_log_has_as_refused_becomes_a_dead_letter_with_clickhouses_words() {
    let mut whole = claimed(&[1]);
    whole.refusal = Some(Refusal {
        public: "code 469".to_owned(),
        words: "constraint c is violated by 'x'".to_owned(),
    });
    let entry = Entry {
        stream_seq: 1,
        published_ns: 0,
        fate: Fate::DeadLetter(Cause::Refused),
    };
    let (parts, _, _) = whole.divide(vec![(Nonce(2), 61, vec![entry])]);
    assert!(rows(&parts[0]).is_empty());
    let reason = &parts[0].batch.rejects[0].reason;
    assert_eq!(reason.code(), "refused_by_clickhouse");
    assert!(reason.to_string().contains("'x'"));
    assert!(!reason.public().contains("'x'"), "words may quote values");
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_too_large_waits_by_itself_for_longer_each_time() {
    let circuit = Circuit::new(backoff());
    let mut alone = claimed(&[1]);
    let began = Instant::now();
    alone.answered(InsertAnswer::Unknown, &circuit);
    alone.pause().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(!alone.stands_aside());
    for at_least_ms in [500, 1_000, 2_000] {
        let began = Instant::now();
        alone.answered(InsertAnswer::TooLarge, &circuit);
        alone.pause().await;
        let waited = began.elapsed().as_millis();
        assert!(
            (at_least_ms..=at_least_ms * 2 + 1).contains(&waited),
            "{waited}"
        );
    }
    assert!(alone.stands_aside());
    let mut two = claimed(&[1, 2]);
    two.answered(InsertAnswer::TooLarge, &circuit);
    assert!(!two.stands_aside(), "it can be divided");
}
