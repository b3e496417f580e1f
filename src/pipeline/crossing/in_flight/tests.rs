use jetstream::AckPolicy;

use super::*;

fn source() -> SignalSource {
    SignalSource::test(1, AckPolicy::Explicit)
}

fn free(in_flight: &InFlight) -> (usize, usize) {
    let inner = in_flight.lock();
    (inner.free_messages, inner.free_bytes)
}

fn lease(room: &mut Reservation, subject: &'static str, bytes: usize) -> Lease {
    let messages = std::iter::once((subject.into(), bytes));
    room.leases(source(), messages).pop().unwrap()
}

fn reply(subject: &'static str, source: Option<SignalSource>) -> Reply {
    Reply {
        subject: subject.into(),
        source,
    }
}

#[tokio::test]
async fn room_and_messages_are_given_back_however_a_lease_ends() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(3, 600).await;
    assert_eq!(free(&in_flight), (7, 400));
    let acked = lease(&mut pull, "a", 100);
    let dropped = lease(&mut pull, "b", 200);
    drop(pull);
    assert_eq!(free(&in_flight), (8, 700));
    let acks = in_flight.settle(vec![acked]);
    assert_eq!(acks, [reply("a", Some(source()))]);
    assert_eq!(free(&in_flight), (9, 800));
    drop(dropped);
    assert_eq!(free(&in_flight), (10, 1000));
    assert_eq!(in_flight.messages(), 0);
    assert_eq!(in_flight.given_back().await, ["b"]);
    assert!(in_flight.give_back_all().is_empty());
}

#[tokio::test]
async fn an_advisory_is_never_given_back() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(4, 40).await;
    drop(pull.advisory("dropped".into(), 1));
    let _advisory = pull.advisory("held".into(), 1);
    let _signal = lease(&mut pull, "signal", 1);
    drop(lease(&mut pull, "dropped signal", 1));
    let all = in_flight.give_back_all();
    assert_eq!(all, ["dropped signal", "signal"]);
}

#[tokio::test]
async fn an_exhausted_message_has_its_turn_until_its_lease_ends() {
    let turns = Arc::new(tokio::sync::Mutex::new(()));
    let in_flight = InFlight::new(2, 2);
    let mut pull = in_flight.reserve(2, 2).await;
    let ack = Some(Bytes::from("message"));
    let turn = Arc::clone(&turns).lock_owned().await;
    let dropped = pull.advisory("advisory".into(), 1);
    let dropped = dropped.with_exhausted(ack.clone(), turn);
    assert!(turns.try_lock().is_err());
    drop(dropped);
    let turn = Arc::clone(&turns).lock_owned().await;
    let settled = pull.advisory("advisory".into(), 1);
    let acks = in_flight.settle(vec![settled.with_exhausted(ack, turn)]);
    assert_eq!(acks, [reply("message", None), reply("advisory", None)]);
    assert!(turns.try_lock().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_for_its_whole_room() {
    let in_flight = InFlight::new(4, 1000);
    let mut first = in_flight.reserve(4, 100).await;
    let lease = lease(&mut first, "a", 10);
    let waiting = tokio::spawn({
        let in_flight = Arc::clone(&in_flight);
        async move { in_flight.reserve(4, 100).await.messages() }
    });
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
    assert_eq!(in_flight.due(age), ["old"]);
    assert!(in_flight.due(age).is_empty());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(in_flight.due(age), ["young"]);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(in_flight.due(age), ["old"]);
}
