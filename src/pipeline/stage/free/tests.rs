use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::pipeline::fakes::scene::Scene;
use crate::pipeline::fakes::sink::READONLY;
use crate::pipeline::fakes::{batch, delivery};

#[tokio::test(start_paused = true)]
async fn messages_of_another_process_are_left_to_it_and_acked_when_it_is_done() {
    let mut ours = Scene::new();
    let mut theirs = ours.beside(2);
    theirs.insert.land(theirs.batch(1..=3).await).await;
    assert_eq!(theirs.settled().committed, [1, 2, 3]);
    ours.insert.land(ours.batch(2..=5).await).await;
    let acked = ours.settled();
    assert_eq!((acked.committed, acked.logged), (vec![4, 5], vec![2, 3]));
    assert_eq!(ours.sink.landed(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_in_a_batch_is_claimed_once() {
    let mut scene = Scene::new();
    let messages = scene.lease(vec![delivery(1), delivery(1)]).await;
    scene.insert.land(batch(messages)).await;
    assert_eq!(scene.settled().committed, [1]);
    assert_eq!(scene.sink.tried()[0].rows, 1);
    // The other one is given back, and acked when it comes again.
    let given_back = timeout(Duration::from_secs(1), scene.in_flight.given_back());
    assert_eq!(given_back.await.unwrap().len(), 1);
    scene.insert.land(scene.batch(1..=1).await).await;
    assert_eq!(scene.settled().logged, [1]);
}

#[tokio::test(start_paused = true)]
async fn messages_of_an_earlier_connection_are_given_back_and_not_claimed() {
    let mut scene = Scene::new();
    let old = scene.batch(1..=2).await;
    scene.connection.reconnect();
    scene.insert.land(old).await;
    assert!(scene.sink.tried().is_empty());
    assert_eq!(scene.settled(), Default::default());
    let given_back = timeout(Duration::from_secs(1), scene.in_flight.given_back());
    assert_eq!(given_back.await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn messages_in_doubt_are_looked_up_and_only_those_stored_nowhere_land() {
    let mut scene = Scene::in_doubt(3);
    scene.sink.table().rows.insert(0, [1].into());
    scene.dead_letters.of_others.lock().unwrap().insert(2);
    scene.insert.land(scene.batch(1..=4).await).await;
    let acked = scene.settled();
    assert_eq!((acked.committed, acked.logged), (vec![3, 4], vec![1, 2]));
    let tried = scene.sink.tried();
    assert_eq!(tried.iter().map(|one| one.rows).sum::<usize>(), 2);
    assert_eq!(scene.log.floor(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_was_refused_halts_the_pulls_until_it_is_answered() {
    let mut scene = Scene::in_doubt(2);
    scene.sink.table().rows.insert(0, [1, 2].into());
    scene.sink.table().broken = Some(READONLY);
    let landing = {
        let (insert, batch) = (scene.insert.clone(), scene.batch(1..=2).await);
        tokio::spawn(async move { insert.land(batch).await })
    };
    sleep(Duration::from_secs(30)).await;
    assert!(scene.halt.borrow().is_some());
    scene.sink.table().broken = None;
    landing.await.unwrap();
    // All of them are stored, so that no insert follows.
    assert_eq!(scene.settled().logged, [1, 2]);
    assert!(scene.sink.tried().is_empty());
    assert!(scene.halt.borrow().is_none());
}
