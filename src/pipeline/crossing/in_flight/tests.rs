use std::sync::Arc;

use jetstream::AckPolicy;

use super::*;

fn source() -> SignalSource {
    SignalSource::test(1, AckPolicy::Explicit)
}

fn free(in_flight: &InFlight) -> (usize, usize) {
    in_flight.lock().held.free()
}

fn lease(room: &mut Reservation, subject: &str, bytes: usize) -> Lease {
    room.holding(Some(source()), 1)
        .lease(subject.as_bytes(), bytes)
}

/// Leases of messages that arrived together, of one byte each.
fn leases(room: &mut Reservation, subjects: &[&str]) -> Vec<Lease> {
    let mut holding = room.holding(Some(source()), subjects.len());
    let leases = subjects.iter().map(|one| holding.lease(one.as_bytes(), 1));
    leases.collect()
}

fn replies(subjects: &[&str], source: Option<SignalSource>) -> SettledReplies {
    let subjects = subjects.iter().collect();
    SettledReplies { source, subjects }
}

fn texts(subjects: &Subjects) -> Vec<&str> {
    let texts = subjects.iter().map(std::str::from_utf8);
    texts.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn room_and_messages_are_given_back_however_a_lease_ends() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(3, 600).await;
    assert_eq!(free(in_flight), (7, 400));
    let acked = lease(&mut pull, "a", 100);
    let dropped = lease(&mut pull, "b", 200);
    drop(pull);
    assert_eq!(free(in_flight), (8, 700));
    let acks = in_flight.settle(vec![acked]);
    assert_eq!(acks, [replies(&["a"], Some(source()))]);
    assert_eq!(free(in_flight), (9, 800));
    drop(dropped);
    assert_eq!(free(in_flight), (10, 1000));
    assert_eq!(in_flight.messages(), 0);
    assert_eq!(texts(&in_flight.given_back().await), ["b"]);
    assert!(in_flight.give_back_all().is_empty());
}

#[tokio::test]
async fn an_advisory_is_never_given_back() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(4, 40).await;
    drop(pull.advisory(b"dropped", 1));
    let _advisory = pull.advisory(b"held", 1);
    let _signal = lease(&mut pull, "signal", 1);
    drop(lease(&mut pull, "dropped signal", 1));
    let all = in_flight.give_back_all();
    assert_eq!(texts(&all), ["dropped signal", "signal"]);
}

#[tokio::test]
async fn an_exhausted_message_has_its_turn_until_its_lease_ends() {
    let turns = Arc::new(tokio::sync::Mutex::new(()));
    let in_flight = InFlight::new(2, 2);
    let mut pull = in_flight.reserve(2, 2).await;
    let ack = Some("message".to_owned());
    let turn = Arc::clone(&turns).lock_owned().await;
    let dropped = pull.advisory(b"advisory", 1);
    let dropped = dropped.with_exhausted(ack.clone(), turn);
    assert!(turns.try_lock().is_err());
    drop(dropped);
    let turn = Arc::clone(&turns).lock_owned().await;
    let settled = pull.advisory(b"advisory", 1);
    let acks = in_flight.settle(vec![settled.with_exhausted(ack, turn)]);
    assert_eq!(acks, [replies(&["message", "advisory"], None)]);
    assert!(turns.try_lock().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_for_its_whole_room() {
    let in_flight = InFlight::new(4, 1000);
    let mut first = in_flight.reserve(4, 100).await;
    let lease = lease(&mut first, "a", 10);
    let waiting = tokio::spawn(async { in_flight.reserve(4, 100).await.messages() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    assert_eq!(in_flight.settle(vec![lease]).len(), 1);
    assert_eq!(waiting.await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_held_long_is_due_again_and_again() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(2, 100).await;
    let _old = lease(&mut pull, "old", 1);
    tokio::time::advance(Duration::from_secs(10)).await;
    let _young = lease(&mut pull, "young", 1);
    let age = Duration::from_secs(15);
    assert!(in_flight.due(age).is_empty());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(texts(&in_flight.due(age)), ["old"]);
    assert!(in_flight.due(age).is_empty());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(texts(&in_flight.due(age)), ["young"]);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(texts(&in_flight.due(age)), ["old"]);
}

#[tokio::test]
async fn messages_that_arrived_together_end_each_by_itself() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(5, 5).await;
    let mut first = leases(&mut pull, &["a", "b", "c"]);
    let second = leases(&mut pull, &["d", "e"]);
    drop(pull);
    assert_eq!((in_flight.messages(), in_flight.bytes()), (5, 5));
    // One that is detached goes on by itself, at another place.
    first[1].detach();
    drop(first.remove(0));
    assert_eq!(texts(&in_flight.given_back().await), ["a"]);
    let acks = in_flight.settle(second);
    assert_eq!(acks, [replies(&["d", "e"], Some(source()))]);
    // The room that is free holds others now, at the places of those that ended.
    let mut pull = in_flight.reserve(2, 2).await;
    let third = leases(&mut pull, &["f", "g"]);
    drop(pull);
    assert_eq!((in_flight.messages(), free(in_flight)), (4, (6, 996)));
    first[0].detach();
    first[0].spare();
    first[0].spare();
    assert_eq!(free(in_flight), (7, 997));
    let acks = in_flight.settle(first.into_iter().chain(third).collect());
    assert_eq!(acks, [replies(&["b", "c", "f", "g"], Some(source()))]);
    assert_eq!((in_flight.messages(), free(in_flight)), (0, (10, 1000)));
    assert!(in_flight.give_back_all().is_empty());
}

#[tokio::test]
async fn leases_of_two_sources_are_settled_apart() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(3, 3).await;
    let other = SignalSource::test(2, AckPolicy::Explicit);
    let mut all = leases(&mut pull, &["a"]);
    all.push(pull.holding(Some(other), 1).lease(b"b", 1));
    assert!(!InFlight::are_current(all.iter(), Some(source())));
    assert!(InFlight::are_current(all[..1].iter(), Some(source())));
    all.push(Lease::none());
    let acks = in_flight.settle(all);
    assert_eq!(
        acks,
        [
            replies(&["a"], Some(source())),
            replies(&["b"], Some(other))
        ]
    );
}
