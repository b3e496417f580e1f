use super::*;

/// A delivery: its number, its sequence in the stream, and how often it was delivered.
fn delivery(consumer_seq: u64, stream_seq: u64, delivered: u64) -> AckSubject {
    AckSubject {
        delivered,
        stream_seq,
        consumer_seq,
        published_ns: 0,
    }
}

/// First deliveries of these messages, numbered alike.
fn first(sequences: impl Iterator<Item = u64>) -> Vec<AckSubject> {
    sequences
        .map(|sequence| delivery(sequence, sequence, 1))
        .collect()
}

fn acks(sequences: impl Iterator<Item = u64>) -> Vec<(AckSubject, Subject)> {
    sequences
        .map(|sequence| (delivery(sequence, sequence, 1), ack(sequence)))
        .collect()
}

fn ack(sequence: u64) -> Subject {
    format!("ack.{sequence}").into()
}

fn pending(messages: u64, last_consumer_seq: u64) -> Pending {
    Pending {
        messages,
        last_consumer_seq,
    }
}

/// A floor that knows that nothing is pending.
fn floor() -> AckFloor {
    let floor = AckFloor::default();
    floor.compare(pending(0, 0));
    assert!(floor.is_complete());
    floor
}

#[test]
fn an_ack_covers_what_is_settled_and_nothing_else() {
    let floor = floor();
    floor.delivered(&first(1..=10), 20);
    // The second batch lands first.
    assert_eq!(floor.settled(&acks(6..=10)), None);
    assert_eq!(floor.settled(&acks(1..=3)), Some(ack(3)));
    assert_eq!(floor.settled(&acks(5..=5)), None);
    assert_eq!(floor.settled(&acks(4..=4)), Some(ack(10)));
    assert_eq!(floor.due(), None);
    floor.delivered(&first(11..=11), 20);
    assert_eq!(floor.settled(&acks(11..=11)), Some(ack(11)));
}

#[test]
fn a_delivery_that_others_have_stops_the_acks_until_it_has_come() {
    let floor = floor();
    floor.delivered(&first(1..=5), 20);
    // The sixth went elsewhere.
    floor.delivered(&[delivery(7, 7, 1)], 20);
    assert_eq!(floor.settled(&acks(1..=5)), None);
    assert_eq!(floor.settled(&acks(7..=7)), None);
    floor.compare(pending(7, 7));
    assert_eq!(floor.due(), None);
    // It comes after its ack wait.
    floor.delivered(&[delivery(8, 6, 2)], 20);
    floor.compare(pending(7, 8));
    assert_eq!(floor.due(), Some(ack(5)));
    assert_eq!(floor.settled(&acks(6..=6)), Some(ack(7)));
}

#[test]
fn nothing_is_acked_of_a_consumer_that_was_others_before_all_of_theirs_has_come() {
    let floor = AckFloor::default();
    floor.compare(pending(2, 100));
    floor.delivered(&[delivery(101, 51, 1)], 20);
    assert_eq!(floor.settled(&[(delivery(101, 51, 1), ack(51))]), None);
    floor.compare(pending(3, 101));
    assert!(!floor.is_complete());
    // One of the two was acked by its holder, the other one comes.
    floor.delivered(&[delivery(102, 49, 2)], 20);
    floor.compare(pending(2, 102));
    assert_eq!(floor.due(), None);
    assert_eq!(
        floor.settled(&[(delivery(102, 49, 2), ack(49))]),
        Some(ack(51))
    );
}

#[test]
fn what_the_server_does_not_count_any_more_is_forgotten() {
    let floor = floor();
    floor.delivered(&first(1..=5), 20);
    assert_eq!(floor.settled(&acks(2..=5)), None);
    // The first was given up.
    floor.compare(pending(4, 5));
    assert!(!floor.is_complete());
    assert_eq!(floor.settled(&acks(1..=1)), None);
    // The others come again, and are settled again.
    let again: Vec<_> = (2..=5).map(|seq| delivery(seq + 4, seq, 2)).collect();
    floor.delivered(&again, 20);
    floor.compare(pending(4, 9));
    let again: Vec<_> = again
        .into_iter()
        .map(|one| (one, ack(one.stream_seq)))
        .collect();
    assert_eq!(floor.settled(&again), Some(ack(5)));
}

#[test]
fn counts_prove_nothing_while_the_server_may_have_given_one_up() {
    let floor = floor();
    floor.delivered(&[delivery(1, 1, 3)], 3);
    // Lost on its way: 2. As many are pending as are known, but not the same ones.
    floor.delivered(&[delivery(3, 3, 1)], 3);
    assert_eq!(floor.settled(&[(delivery(3, 3, 1), ack(3))]), None);
    floor.compare(pending(2, 3));
    assert!(!floor.is_complete());
    assert_eq!(floor.due(), None);
}

#[test]
fn one_that_was_given_up_and_has_landed_alone_holds_up_no_ack() {
    let floor = floor();
    floor.delivered(&first(1..=3), 20);
    assert_eq!(floor.settled(&acks(2..=3)), None);
    let given_up = (delivery(0, 1, 1), Subject::from("made.here"));
    assert_eq!(floor.settled(&[given_up]), Some(ack(3)));
}

#[test]
fn a_settled_message_that_comes_again_stays_settled() {
    let floor = floor();
    floor.delivered(&first(1..=3), 20);
    assert_eq!(floor.settled(&acks(2..=3)), None);
    floor.delivered(&[delivery(4, 2, 2)], 20);
    assert_eq!(floor.settled(&acks(1..=1)), Some(ack(3)));
}

#[test]
fn a_stream_with_gaps_is_acked_too() {
    let floor = floor();
    let sequences = [10, 11, 500, 1_000_000_000];
    let deliveries: Vec<_> = (1..)
        .zip(sequences)
        .map(|(n, seq)| delivery(n, seq, 1))
        .collect();
    floor.delivered(&deliveries, 20);
    let all: Vec<_> = deliveries
        .iter()
        .map(|one| (*one, ack(one.stream_seq)))
        .collect();
    assert_eq!(floor.settled(&all[..3]), Some(ack(500)));
    assert_eq!(floor.settled(&all[3..]), Some(ack(1_000_000_000)));
}
