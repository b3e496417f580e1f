//! Claims that no try completes: they wait, are settled, and land once.

use std::time::Duration;

use risksignal::pipeline::log_lines::{
    FENCE_AT_STOP, INSERT_FAILED, OUTSIDE_FENCE, SETTLE_WAITS, SETTLED,
};
use testkit::lying_proxy::{Lie, LyingProxy};
use testkit::nats::DEAD_LETTERS;
use testkit::signals::signal;
use testkit::slow_link::SlowLink;
use testkit::{Stack, setting};
use tokio::time::sleep;

use crate::takeover::{SHORT, usual};

/// A row that ClickHouse has no memory for is sent again after pauses of its own, however many
/// others land meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_large_is_not_sent_again_with_each_insert_that_succeeds() {
    let users = tempfile::tempdir().unwrap();
    let profile = crate::receipts::profile(
        users.path(),
        "<allow_custom_error_code_in_throwif>1</allow_custom_error_code_in_throwif>",
    );
    let stack = Stack::with(Default::default(), &[profile]).await;
    stack.risksignal(&["migrate"]).await;
    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals ADD CONSTRAINT room CHECK throwIf(source_id = 'seven', 'no room', toInt16(241)) = 0")
        .await;
    stack.nats.create_stream().await;
    let daemon = stack.daemon(&usual(&[])).await;
    let nats = stack.nats.jetstream().await;
    let mut large = signal(0);
    large["source_id"] = "seven".into();
    let sent = nats.publish("signals.risk_event", large.to_string().into());
    sent.await.unwrap().await.unwrap();
    stack
        .produce(&["--count=300", "--rate=30", "--seed=1"])
        .await;
    let count = |words: &str| {
        let lines = daemon.lines();
        let has = |line: &&serde_json::Value| line.to_string().contains(words);
        lines.iter().filter(has).count()
    };
    let (failures, inserts) = (count("Code: 241"), count("Inserted batch"));
    eprintln!("{failures} failures beside {inserts} inserts");
    assert!(failures > 0);
    // The pauses double from a tenth of a second on: eight of them are longer than the load.
    assert!(
        failures <= 12,
        "{failures} failures beside {inserts} inserts"
    );
    // Once there is room, it lands.
    let drop = "ALTER TABLE raw_signals DROP CONSTRAINT room";
    stack.clickhouse.execute(drop).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (301, 301));
}

/// A batch that a proxy takes for too large goes in halves; a row that it never takes waits, and
/// lands once it may be larger.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_a_proxy_does_not_pass_on_goes_in_halves() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let proxy = LyingProxy::before(stack.clickhouse.port()).await;
    proxy.set_lie(Lie::TooLarge(100_000));
    let url = proxy.url();
    let nats = stack.nats.jetstream().await;
    for number in 0..16 {
        let mut one = signal(number);
        let bytes = if number == 9 { 200_000 } else { 40_000 };
        one["payload"]["long"] = "x".repeat(bytes).into();
        let sent = nats.publish("signals.risk_event", one.to_string().into());
        sent.await.unwrap().await.unwrap();
    }
    let daemon = stack
        .daemon(&usual(&[setting!(clickhouse.url = &url)]))
        .await;
    testkit::eventually("what the proxy takes lands", async || {
        (stack.clickhouse.counts().await == (15, 15)).then_some(())
    })
    .await;
    let line = daemon.logged(INSERT_FAILED).await;
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("answered 413") && error.contains(&url),
        "{error}"
    );
    proxy.set_lie(Lie::None);
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (16, 16));
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}

/// A block that comes to ClickHouse after its fence is refused, settled, and lands once.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_comes_after_its_fence_is_settled_and_lands_once() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let url = link.url();
    let more = [
        setting!(clickhouse.send_timeout = "30s"),
        setting!(clickhouse.end_timeout = "40s"),
        setting!(consumer.ack_wait = "80s"),
        setting!(clickhouse.url = url.as_str()),
    ];
    let daemon = stack
        .daemon(&usual(&[SHORT.as_slice(), &more].concat()))
        .await;
    link.slow(400);
    stack.produce(&["--count=10", "--seed=1"]).await;
    daemon.logged(OUTSIDE_FENCE).await;
    link.mend();
    daemon.logged(SETTLED).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (10, 10));
}

/// A stop does not wait for the fence of a claim, which takes minutes, and says what it leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_a_claim_that_waits_for_its_fence_to_the_next_process() {
    let stack = Stack::start().await;
    stack.refuse_source_seven().await;
    stack.nats.create_stream().await;
    let more = [
        setting!(shutdown.grace = "1h"),
        setting!(clickhouse.fence = "10m"),
    ];
    let mut daemon = stack.daemon(&usual(&more)).await;
    // A try without an answer, and then a refusal: only the fence shows that the first is over.
    stack.clickhouse.signal("STOP");
    let nats = stack.nats.jetstream().await;
    let mut refused = signal(0);
    refused["source_id"] = "seven".into();
    let sent = nats.publish("signals.risk_event", refused.to_string().into());
    sent.await.unwrap().await.unwrap();
    daemon.logged(INSERT_FAILED).await;
    stack.clickhouse.signal("CONT");
    daemon.logged(SETTLE_WAITS).await;
    assert!(daemon.stop().await.success());
    let output = daemon.output();
    assert!(output.contains(FENCE_AT_STOP), "{output}");
    // It is not acked, and neither row nor letter yet.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stack.clickhouse.counts().await, (0, 0));
    assert_eq!(stack.nats.consumer().await.unwrap().num_ack_pending, 1);
}
