//! A Redis that is slow, away, empty or replaced, and daemons that end without a word: nothing of
//! it keeps a signal from ClickHouse, and afterwards Redis says what ClickHouse says.

use std::time::Duration;

use ::wallets::log_lines::{FRESH, STALE, STALE_BY_ANOTHER};
use testkit::ops::Ops;
use testkit::redis::Redis;
use testkit::wallets::{Servers, known, path, publish, signal_of, status};
use testkit::{Daemon, Stack, eventually, setting, wallets};
use tokio::time::sleep;

/// Settings of a daemon that keeps the cache, besides its address.
const TIMEOUT: (&str, &str) = setting!(cache.timeout = "300ms");

async fn keeper(stack: &Stack, redis: &Redis) -> Daemon {
    wallets::keeper(stack, redis, &[TIMEOUT]).await
}

/// Waits until nothing is pending, and demands that all is in ClickHouse once, and that Redis says
/// what ClickHouse says.
async fn all_is_there(stack: &Stack, servers: &Servers, sent: u64) {
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (sent, sent));
    servers.agree_on(&known(stack).await).await;
}

fn wallet(number: u64) -> String {
    format!("0x{:02}", number * 7 % 40)
}

/// Signals of some wallets for some seconds, and how many.
async fn load(stack: &Stack, first: u64, seconds: u64) -> u64 {
    let mut number = first;
    for _ in 0..seconds * 20 {
        let kind = |number: u64| ["transaction", "wallet_snapshot"][number as usize % 2];
        let ago = |number: u64| Duration::from_millis(number * 7919 % 600_000);
        let some = number..number + 25;
        let some = some.map(|n| signal_of(n, &wallet(n), kind(n), ago(n)));
        publish(stack, some).await;
        number += 25;
        sleep(Duration::from_millis(50)).await;
    }
    number - first
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_flushed_and_stopped_under_load_is_brought_back() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let mut daemon = keeper(&stack, &redis).await;
    let mut sent = load(&stack, 0, 2).await;
    stack.settled().await;
    let wallets = known(&stack).await;
    servers.agree_on(&wallets).await;

    // Killed, and back empty after a while.
    let trouble = async {
        sleep(Duration::from_secs(1)).await;
        redis.kill();
        sleep(Duration::from_secs(2)).await;
        let answer = servers.cached.get(&path(&wallets[0])).await;
        assert_eq!(answer.status, 200);
        assert_eq!(status(&answer), "risksignal; fwd=bypass; detail=away");
        redis.restart().await;
    };
    let (more, ()) = tokio::join!(load(&stack, sent, 5), trouble);
    sent += more;
    all_is_there(&stack, &servers, sent).await;

    // Flushed, all at once and wallet by wallet.
    let trouble = async {
        sleep(Duration::from_secs(1)).await;
        redis.ask::<()>(&["FLUSHALL"]).await;
        sleep(Duration::from_secs(1)).await;
        for wallet in &wallets[..10] {
            redis
                .ask::<()>(&["DEL", &format!("risksignal:recent:{wallet}")])
                .await;
        }
        for wallet in &wallets[5..15] {
            redis
                .ask::<()>(&["DEL", &format!("risksignal:wallet:{wallet}")])
                .await;
        }
        redis.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    };
    let (more, ()) = tokio::join!(load(&stack, sent, 4), trouble);
    sent += more;
    all_is_there(&stack, &servers, sent).await;

    // Stopped: it takes what it is sent, and answers nothing. Everything lands meanwhile.
    redis.signal("STOP");
    sent += load(&stack, sent, 4).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (sent, sent));
    daemon.logged(STALE).await;
    let answer = servers.cached.get(&path(&wallets[0])).await;
    assert_eq!(answer.status, 200);
    redis.signal("CONT");
    servers.agree_on(&known(&stack).await).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_is_missed_and_made_up_for() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let mut one = keeper(&stack, &redis).await;
    let mut two = keeper(&stack, &redis).await;
    let ops = Ops::of(&two).await;
    let mut sent = load(&stack, 0, 2).await;
    stack.settled().await;
    servers.agree_on(&known(&stack).await).await;

    // Both may have written something; the one that is left does not know what the other has not.
    let generation: String = redis.ask(&["HGET", "risksignal:state", "generation"]).await;
    let kill = async {
        sleep(Duration::from_secs(1)).await;
        one.kill();
    };
    let (more, ()) = tokio::join!(load(&stack, sent, 3), kill);
    sent += more;
    eventually("another generation has begun", async || {
        let now: String = redis.ask(&["HGET", "risksignal:state", "generation"]).await;
        (now != generation).then_some(())
    })
    .await;
    all_is_there(&stack, &servers, sent).await;
    assert_eq!(ops.metric("risksignal_cache_fresh").await, Some(1.0));

    // With the last one gone, nobody keeps it.
    two.kill();
    eventually("the cache is stale", async || {
        let answer = servers.cached.get(&path("0x00")).await;
        (status(&answer) == "risksignal; fwd=stale").then_some(())
    })
    .await;
    sent += load(&stack, sent, 1).await;
    let mut three = keeper(&stack, &redis).await;
    all_is_there(&stack, &servers, sent).await;
    assert!(three.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_elsewhere_that_is_not_heard_keeps_the_cache_stale_until_it_is_given_up() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let daemon = keeper(&stack, &redis).await;
    load(&stack, 0, 1).await;
    stack.settled().await;
    servers.agree_on(&known(&stack).await).await;
    // Its lease was over a minute ago.
    let [seconds, _]: [u64; 2] = redis.ask(&["TIME"]).await;
    let lease = ((seconds - 60) * 1000).to_string();
    let elsewhere = "elsewhere/7/0b0c";
    redis
        .ask::<()>(&["HSET", "risksignal:feeders", elsewhere, &lease])
        .await;
    let output = STALE_BY_ANOTHER;
    let line = daemon.logged(output).await;
    assert_eq!(line["silent"], elsewhere);
    let answer = servers.cached.get(&path("0x00")).await;
    assert_eq!(status(&answer), "risksignal; fwd=stale");
    let url = redis.url();
    let rebuild = stack
        .risksignal_with(&["cache", "rebuild"], &[setting!(cache.url = &url)])
        .await;
    assert!(rebuild.status.success(), "{rebuild:?}");
    daemon.logged(FRESH).await;
    servers.agree_on(&known(&stack).await).await;

    // A quarter of an hour.
    let lease = ((seconds - 15 * 60 - 1) * 1000).to_string();
    redis
        .ask::<()>(&["HSET", "risksignal:feeders", elsewhere, &lease])
        .await;
    eventually("it is given up", async || {
        let feeders: Vec<String> = redis.ask(&["HKEYS", "risksignal:feeders"]).await;
        (!feeders.contains(&elsewhere.to_owned())).then_some(())
    })
    .await;
    servers.agree_on(&known(&stack).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_cannot_take_in_time_is_no_burden() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let narrow = [
        setting!(cache.timeout = "1m"),
        setting!(cache.max_queue_bytes = "64KiB"),
    ];
    let mut daemon = wallets::keeper(&stack, &redis, &narrow).await;
    let ops = Ops::of(&daemon).await;
    // It waits a minute for Redis, so that what comes meanwhile fills the queue.
    redis.signal("STOP");
    let mut sent = load(&stack, 0, 1).await;
    stack.produce(&["--count=20000"]).await;
    sent += 20_000;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (sent, sent));
    assert!(ops.metric("risksignal_cache_signals_total").await > Some(10_000.0));
    redis.signal("CONT");
    let stale = STALE;
    let line = daemon.logged(stale).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("cache.max_queue_bytes"), "{error}");
    servers
        .agree_on(&(0..40).map(wallet).collect::<Vec<_>>())
        .await;
    assert!(daemon.stop().await.success());
}
