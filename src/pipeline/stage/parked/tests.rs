use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::pipeline::fakes::scene::{Acked, Scene};
use crate::pipeline::fakes::{batch, delivery};
use crate::pipeline::port::claims_log::ClaimsLog;
use crate::pipeline::stage::claimed::entries;

/// Has another process claim a message, and nothing more.
fn claim(other: &Scene, stream_seq: u64) -> claims::Nonce {
    other
        .log
        .open_claim(entries(&batch(vec![delivery(stream_seq)])))
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_until_the_log_says_that_it_is_done() {
    let mut ours = Scene::new();
    let theirs = ours.beside(2);
    let id = claim(&theirs, 1);
    let parked = ours.insert.parked.clone();
    tokio::spawn(parked.run(ours.insert.shutdown.clone()));
    ours.insert.land(ours.batch(1..=1).await).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(ours.settled(), Acked::default());
    assert!(ours.sink.tried().is_empty());
    let attempt = theirs.log.rules().send(id).unwrap();
    let committed = claims::InsertAnswer::Committed { exact: true };
    theirs.log.rules().record_answer(attempt, committed);
    theirs.log.rules().finish(id).unwrap();
    theirs.log.flush_soon();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ours.settled().logged, [1]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_at_a_stop_are_given_back() {
    let mut ours = Scene::new();
    claim(&ours.beside(2), 1);
    let parked = ours.insert.parked.clone();
    let running = tokio::spawn(parked.run(ours.insert.shutdown.clone()));
    ours.insert.land(ours.batch(1..=1).await).await;
    ours.insert.shutdown.cancel();
    running.await.unwrap();
    let given_back = timeout(Duration::from_secs(1), ours.in_flight.given_back());
    assert_eq!(given_back.await.unwrap().len(), 1);
    assert_eq!(ours.settled(), Acked::default());
}
