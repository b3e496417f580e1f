use std::time::Duration;

use tokio::time::sleep;

use crate::pipeline::fakes::scene::{Acked, Scene};
use crate::pipeline::fakes::sink::FakeReply;
use crate::pipeline::port::claims_log::ClaimsLog;

/// Longer than the fence and the late commit of a scene.
const FENCE_OVER: Duration = Duration::from_secs(80);

#[tokio::test(start_paused = true)]
async fn rows_that_a_late_commit_brought_are_not_sent_again() {
    let mut scene = Scene::new();
    scene.sink.reply([FakeReply::Late]);
    scene.insert.land(scene.batch(1..=3).await).await;
    // The block lands in part all the same, as on a replica that was behind.
    let token = scene.sink.tried()[0].claim.0;
    scene.sink.table().rows.insert(token, [1, 2].into());
    sleep(FENCE_OVER).await;
    assert_eq!(scene.sink.landed(), [1, 2, 3]);
    let tried = scene.sink.tried();
    assert_eq!((tried.len(), tried[1].rows), (2, 1));
    assert_eq!(scene.settled().committed, [3]);
    assert_eq!(scene.log.floor(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_the_claim_open_and_acks_nothing_of_it() {
    let mut scene = Scene::new();
    scene.sink.reply([FakeReply::Late]);
    scene.insert.land(scene.batch(1..=3).await).await;
    scene.insert.shutdown.cancel();
    sleep(FENCE_OVER).await;
    assert_eq!(scene.settled(), Acked::default());
    assert_eq!(scene.sink.tried().len(), 1);
    assert_eq!(scene.log.rules().log().claims().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_too_slow_again_and_again_is_settled_in_halves() {
    let mut scene = Scene::new();
    let silent = FakeReply::Timeout {
        is_committed: false,
    };
    scene.sink.reply([silent; 4]);
    // From then on nothing lands before the fence.
    scene.sink.table().rows_max = 2;
    scene.insert.land(scene.batch(1..=4).await).await;
    sleep(FENCE_OVER * 2).await;
    assert_eq!(scene.settled().committed, [1, 2, 3, 4]);
    assert_eq!(scene.sink.landed(), [1, 2, 3, 4]);
    let whole = scene.sink.tried().into_iter().filter(|one| one.rows == 4);
    assert!(whole.count() >= 4);
}
