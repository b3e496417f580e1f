use super::*;

fn epoch() -> Epoch {
    Epoch::number(1)
}

fn free(in_flight: &InFlight) -> (usize, usize) {
    let inner = in_flight.lock();
    (inner.free_messages, inner.free_bytes)
}

const ACK_WAIT: Duration = Duration::from_secs(30);

fn due(in_flight: &InFlight, age_s: u64) -> Vec<Renewal> {
    in_flight.renewals_due(Duration::from_secs(age_s)..ACK_WAIT)
}

#[tokio::test(start_paused = true)]
async fn room_is_given_back_however_a_lease_ends() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(3, 600).await.requested(epoch());
    assert_eq!(free(&in_flight), (7, 400));
    let acked = pull.lease("a".into(), 100).unwrap();
    let dropped = pull.lease("b".into(), 200).unwrap();
    drop(pull);
    assert_eq!(free(&in_flight), (8, 700));
    assert_eq!(in_flight.settle(vec![acked]), ["a".into()]);
    assert_eq!(free(&in_flight), (9, 800));
    drop(dropped);
    assert_eq!(free(&in_flight), (10, 1000));
    assert_eq!(in_flight.messages(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_message_has_its_turn_until_its_lease_ends() {
    let turns = Arc::new(tokio::sync::Mutex::new(()));
    let in_flight = InFlight::new(2, 2);
    let mut pull = in_flight.reserve(2, 2).await.requested(epoch());
    let dropped = pull.lease("advisory".into(), 1).unwrap();
    let dropped = dropped.with_exhausted("message".into(), Arc::clone(&turns).lock_owned().await);
    assert!(turns.try_lock().is_err());
    drop(dropped);
    let settled = pull.lease("advisory".into(), 1).unwrap();
    let settled = settled.with_exhausted("message".into(), Arc::clone(&turns).lock_owned().await);
    let acks = in_flight.settle(vec![settled]);
    assert_eq!(acks, ["message".into(), "advisory".into()]);
    assert!(turns.try_lock().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_for_its_whole_room() {
    let in_flight = InFlight::new(4, 1000);
    let mut first = in_flight.reserve(4, 100).await.requested(epoch());
    let lease = first.lease("a".into(), 10).unwrap();
    let waiting = tokio::spawn({
        let in_flight = Arc::clone(&in_flight);
        async move {
            in_flight
                .reserve(4, 100)
                .await
                .requested(epoch())
                .messages()
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    assert_eq!(in_flight.settle(vec![lease]).len(), 1);
    assert_eq!(waiting.await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_from_its_pull_and_is_due_when_it_is_old_enough() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(1, 100).await.requested(epoch());
    tokio::time::advance(Duration::from_secs(10)).await;
    let old = pull.lease("old".into(), 1).unwrap();
    let mut pull = in_flight.reserve(1, 100).await.requested(epoch());
    let _young = pull.lease("young".into(), 1).unwrap();
    assert!(old.since().unwrap().age() >= Duration::from_secs(10));
    assert_eq!(due(&in_flight, 15), []);
    tokio::time::advance(Duration::from_secs(5)).await;
    let renewals = due(&in_flight, 15);
    assert_eq!(renewals.len(), 1);
    assert_eq!(renewals[0].reply.as_str(), "old");
    assert_eq!(due(&in_flight, 15), renewals, "until it is confirmed");
    in_flight.renewed(&renewals, Moment::now(), ACK_WAIT);
    assert_eq!(due(&in_flight, 15), []);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_does_not_count_for_the_next_holder_of_a_slot() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(2, 100).await.requested(epoch());
    let first = pull.lease("first".into(), 1).unwrap();
    tokio::time::advance(Duration::from_secs(15)).await;
    let renewals = due(&in_flight, 15);
    drop(first);
    let _second = pull.lease("second".into(), 1).unwrap();
    in_flight.renewed(&renewals, Moment::now(), ACK_WAIT);
    assert_eq!(due(&in_flight, 15)[0].reply.as_str(), "second");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_is_never_renewed() {
    let in_flight = InFlight::new(10, 1000);
    let mut pull = in_flight.reserve(1, 100).await.requested(epoch());
    let lease = pull.lease("a".into(), 1).unwrap();
    tokio::time::advance(Duration::from_secs(20)).await;
    let renewals = due(&in_flight, 15);
    let asked = Moment::now();
    tokio::time::advance(Duration::from_secs(10)).await;
    in_flight.renewed(&renewals, asked, ACK_WAIT);
    assert!(
        lease.since().unwrap().age() >= ACK_WAIT,
        "the answer came too late"
    );
    assert_eq!(due(&in_flight, 15), []);
}
