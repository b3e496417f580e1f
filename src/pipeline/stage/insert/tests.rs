use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::fakes::channel;
use claims::{Position, RecordBody};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::*;
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::fakes::scene::Scene;
use crate::pipeline::fakes::sink::BUSY;
use crate::pipeline::fakes::{batch, delivery, position};

#[test]
fn a_record_of_as_many_entries_as_a_claim_may_have_fits_into_a_message() {
    for max_payload in [64 * 1024, 1 << 20, 8 << 20] {
        let entries = entries_max(max_payload);
        assert!((1..=claims::MAX_ENTRIES).contains(&entries));
        assert!(entries * ENTRY_BYTES_MAX < max_payload, "{max_payload}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_more_messages_than_a_claim_names_lands_by_several_claims() {
    let mut scene = Scene::new();
    scene.insert.entries_max = 2;
    scene.insert.land(scene.batch(1..=5).await).await;
    let rows = scene.sink.tried().into_iter().map(|one| one.rows);
    assert_eq!(rows.collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(scene.settled().committed, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn messages_of_two_streams_are_claimed_apart() {
    let scene = Scene::new();
    let of_other = Delivery {
        position: Position {
            stream_created_ns: 99,
            ..position(2)
        },
        ..delivery(2)
    };
    scene.insert.land(batch(vec![delivery(1), of_other])).await;
    let claims = scene.log.records().bodies().into_iter();
    let created = claims.filter_map(|body| match body {
        RecordBody::Claim(block) => Some((block.stream_created_ns, block.entries.len())),
        _ => None,
    });
    assert_eq!(created.collect::<Vec<_>>(), [(1, 1), (99, 1)]);
}

#[tokio::test(start_paused = true)]
async fn claims_wait_while_the_window_of_tokens_is_full() {
    // Half of the window may be used: two tokens.
    let mut scene = Scene::with_window(4);
    for seq in 1..=2 {
        scene.insert.land(scene.batch(seq..=seq).await).await;
    }
    let began = Instant::now();
    scene.insert.land(scene.batch(3..=3).await).await;
    // Until the fences of the first two and the late commit are over.
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(69), "{waited:?}");
    assert!(waited <= Duration::from_secs(75), "{waited:?}");
    assert_eq!(scene.settled().committed, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_need_no_token() {
    let mut scene = Scene::with_window(2);
    scene.start_dead_letters();
    scene.insert.land(scene.batch(1..=1).await).await;
    let invalid = scene.lease(vec![crate::pipeline::fakes::invalid(2)]).await;
    scene.insert.land(batch(invalid)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.settled().letters, [2]);
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_given_back_when_the_batch_has_landed() {
    let scene = Scene::new();
    let permits = Arc::new(Semaphore::new(1));
    let (batches, receiver) = channel(1);
    let mut insert = scene.insert.clone();
    insert.batches = Arc::new(Mutex::new(receiver));
    scene.sink.table().broken = Some(BUSY);
    let running = tokio::spawn(insert.run());
    let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
    batches
        .send((scene.batch(1..=1).await, permit))
        .await
        .unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(permits.available_permits(), 0);
    scene.sink.table().broken = None;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(permits.available_permits(), 1);
    drop(batches);
    running.await.unwrap();
}
