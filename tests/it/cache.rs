//! Wallets, answered out of Redis.

use std::process::Output;
use std::time::Duration;

use ::wallets::log_lines::KEEPING;
use axum::http::StatusCode;
use serde_json::Value;
use testkit::ops::{ANY_PORT, Ops};
use testkit::redis::Redis;
use testkit::signals::real_signals;
use testkit::wallets::{Servers, known, path, publish, signal_of, status};
use testkit::{Daemon, Stack, eventually, setting, wallets};

const MINUTE: Duration = Duration::from_secs(60);
/// Wallets whose names are anything but plain; some would be keys of others.
const ODD: [&str; 6] = [
    "0xAb's {wallet:String} \\ \"q\" \t\n%2F/?#& 🦀 OR 1=1 --",
    "a",
    "a:recent",
    "recent:a",
    "state",
    "['x', \\'y\\']",
];

/// Starts a daemon that keeps the cache, and returns its metrics too.
async fn keeper(stack: &Stack, redis: &Redis, more: &[(&str, &str)]) -> (Daemon, Ops) {
    let daemon = wallets::keeper(stack, redis, more).await;
    let ops = Ops::of(&daemon).await;
    (daemon, ops)
}

/// Signals of each of these wallets within the windows, at their edges and behind them, later ones
/// often before earlier ones.
fn signals(wallets: &[&str], first: u64) -> Vec<Value> {
    let mut signals = Vec::new();
    for (index, wallet) in (0..).zip(wallets) {
        for number in 0..60 {
            // No window ends while a test runs: the nearest edge is ten minutes away.
            let ago = match number % 10 {
                0 => 50 * MINUTE,
                1 => 70 * MINUTE,
                2 => (24 * 60 - 10) * MINUTE,
                3 => (24 * 60 + 10) * MINUTE,
                4 => 30 * 24 * 60 * MINUTE,
                _ => Duration::from_millis(number * 7919 % 101),
            };
            let kind =
                ["transaction", "risk_event", "wallet_snapshot", "a\"b"][number as usize % 4];
            signals.push(signal_of(first + index * 60 + number, wallet, kind, ago));
        }
    }
    signals
}

/// All that a command has written.
fn written(output: &Output) -> String {
    [output.stdout.as_slice(), output.stderr.as_slice()]
        .map(String::from_utf8_lossy)
        .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_answered_out_of_redis_as_out_of_clickhouse() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let (mut daemon, ops) = keeper(&stack, &redis, &[]).await;
    publish(&stack, signals(&ODD, 0)).await;
    stack.settled().await;
    let wallets = known(&stack).await;
    assert_eq!(wallets.len(), ODD.len());
    servers.agree_on(&wallets).await;

    // Later signals go to entries that are there, and each answer has them.
    publish(&stack, signals(&ODD, 1000)).await;
    stack.settled().await;
    eventually("Redis has all", async || {
        let answer = servers.cached.get(&path("a")).await.json();
        let counted = &answer["windows"]["24h"]["signals"];
        (counted == &servers.plain.get(&path("a")).await.json()["windows"]["24h"]["signals"])
            .then_some(())
    })
    .await;
    servers.agree_on(&wallets).await;
    let printed = servers.hit("a").await.json();
    assert_eq!(printed["windows"]["24h"]["signals"], 2 * 48);
    assert_eq!(printed["windows"]["1h"]["signals"], 2 * 36);
    assert_eq!(printed["last_signals"].as_array().unwrap().len(), 20);
    assert_eq!(printed["snapshot"]["event_type"], "wallet_snapshot");
    assert!(ops.metric("risksignal_cache_fresh").await == Some(1.0));
    let printed = ops.metric("risksignal_cache_signals_total").await;
    assert_eq!(printed, Some(720.0), "each is counted once");
    let scrape = ops.get("/metrics").await.body;
    assert!(scrape.contains("risksignal_cache_signals_total{result=\"lost\"} 0\n"));

    // Nothing stays for ever but what holds for all entries.
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    assert!(keys.len() > 2 * ODD.len());
    for key in keys {
        let ttl_ms: i64 = redis.ask(&["PTTL", &key]).await;
        let is_entry =
            key.starts_with("risksignal:wallet:") || key.starts_with("risksignal:recent:");
        assert_eq!(ttl_ms > 0, is_entry, "{key}: {ttl_ms}");
        assert!(ttl_ms <= 7 * 24 * 3600 * 1000);
    }

    // A client that has the answer gets 304; a wallet that nobody names is not found, and asked
    // for only once.
    let answer = servers.hit("a").await;
    let tag = answer.headers["etag"].to_str().unwrap();
    let again = servers
        .cached
        .get_with(&path("a"), &[("if-none-match", tag)])
        .await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    for _ in 0..2 {
        let unknown = servers.cached.get(&path("0xnobody")).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    }
    let asked: Vec<String> = redis.ask(&["HKEYS", "risksignal:wallet:0xnobody"]).await;
    assert!(asked.contains(&"complete".to_owned()), "{asked:?}");
    // When it has a signal after all, the answer has it.
    publish(&stack, [signal_of(5000, "0xnobody", "risk_event", MINUTE)]).await;
    eventually("the wallet is found", async || {
        let answer = servers.cached.get(&path("0xnobody")).await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await;
    assert!(daemon.stop().await.success());
    let lease: usize = redis.ask(&["HLEN", "risksignal:feeders"]).await;
    assert_eq!(lease, 0, "it has left");
    assert_eq!(
        status(&servers.cached.get(&path("a")).await),
        "risksignal; fwd=stale"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_counts_once() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let url = redis.url();
    let short = [
        ANY_PORT,
        setting!(cache.url = url.as_str()),
        setting!(consumer.ack_wait = "4s"),
        setting!(clickhouse.send_timeout = "1s"),
        setting!(clickhouse.end_timeout = "2s"),
    ];
    let (mut first, _) = keeper(&stack, &redis, &short).await;
    publish(&stack, signals(&["0x1", "0x2"], 0)).await;
    stack.settled().await;
    servers.agree_on(&known(&stack).await).await;
    assert!(first.stop().await.success());

    // It writes to Redis, and dies before it has acked: all signals come again, are found in
    // ClickHouse and written once more.
    let arguments = ["run", "--fault-point", "before-ack:100"];
    let environment = stack.environment(&short);
    let mut crashing = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    crashing.logged(KEEPING).await;
    servers.agree_on(&known(&stack).await).await;
    publish(&stack, signals(&["0x1", "0x2"], 1000)).await;
    assert!(crashing.ended().await.code().is_none());
    let (mut next, ops) = keeper(&stack, &redis, &short).await;
    servers.agree_on(&known(&stack).await).await;
    stack.settled().await;
    assert!(ops.metric("risksignal_signals_duplicate_total").await > Some(0.0));
    assert_eq!(stack.clickhouse.counts().await, (240, 240));
    servers.agree_on(&known(&stack).await).await;
    assert_eq!(
        servers.hit("0x1").await.json()["windows"]["24h"]["signals"],
        2 * 48
    );
    assert!(next.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_with_more_signals_than_redis_keeps_is_answered_all_the_same() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let (_daemon, _) = keeper(&stack, &redis, &[]).await;
    let some = |first: u64, count: u64| {
        (first..first + count).map(|number| signal_of(number, "0xbusy", "transaction", MINUTE))
    };
    publish(&stack, some(0, 4990)).await;
    stack.settled().await;
    servers.agree_on(&["0xbusy".to_owned()]).await;
    publish(&stack, some(4990, 20)).await;
    stack.settled().await;
    eventually("Redis gives up on the wallet", async || {
        let answer = servers.cached.get(&path("0xbusy")).await;
        (status(&answer) == "risksignal; fwd=bypass; detail=busy").then_some(())
    })
    .await;
    let printed = servers.cached.get(&path("0xbusy")).await.json();
    assert_eq!(printed["windows"]["1h"]["signals"], 5010);
    assert_eq!(printed, servers.plain.get(&path("0xbusy")).await.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_rebuilt_from_nothing() {
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let (mut daemon, _) = keeper(&stack, &redis, &[]).await;
    let names: Vec<String> = (0..450).map(|number| format!("0x{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    publish(&stack, signals(&names[..20], 0)).await;
    let one = (0..).zip(&names[20..]);
    publish(
        &stack,
        one.map(|(number, name)| signal_of(10_000 + number, name, "risk_event", MINUTE)),
    )
    .await;
    // One with more signals than are asked for together with others.
    let many = (20_000..20_600).map(|number| signal_of(number, "0xmany", "b", 2 * MINUTE));
    publish(&stack, many).await;
    stack.settled().await;
    redis.ask::<()>(&["FLUSHALL"]).await;
    let url = redis.url();
    let rebuild = stack
        .risksignal_with(&["cache", "rebuild"], &[setting!(cache.url = &url)])
        .await;
    assert!(rebuild.status.success(), "{rebuild:?}");
    let entries: Vec<String> = redis.ask(&["KEYS", "risksignal:wallet:*"]).await;
    assert_eq!(entries.len(), names.len() + 1);
    let complete: Option<u8> = redis
        .ask(&["HGET", "risksignal:wallet:0xmany", "complete"])
        .await;
    assert_eq!(complete, Some(1));
    servers.agree_on(&known(&stack).await[..30]).await;
    servers.agree_on(&["0xmany".to_owned()]).await;
    assert!(daemon.stop().await.success());

    // Fewer, those of the newest signals; and nobody keeps them.
    let few = [
        setting!(cache.url = url.as_str()),
        setting!(cache.max_wallets = "20"),
        setting!(cache.prefix = "other:"),
    ];
    let rebuild = stack.risksignal_with(&["cache", "rebuild"], &few).await;
    assert!(rebuild.status.success(), "{rebuild:?}");
    let entries: Vec<String> = redis.ask(&["KEYS", "other:wallet:*"]).await;
    assert_eq!(entries.len(), 20);
    assert!(
        entries
            .iter()
            .all(|key| key < &"other:wallet:0x0020".to_owned())
    );
    let log = written(&rebuild);
    assert!(log.contains("No daemon maintains the cache"), "{log}");

    let none = stack.risksignal(&["cache", "rebuild"]).await;
    assert_eq!(none.status.code(), Some(1));
    let log = written(&none);
    assert!(log.contains("cache.url is not set"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn real_signals_are_answered_digit_by_digit() {
    let Some((_, text)) = real_signals() else {
        return;
    };
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let (_daemon, ops) = keeper(&stack, &redis, &[]).await;
    // The first half fills entries, and the second is added to them.
    let lines: Vec<&str> = text.lines().collect();
    for half in lines.chunks(lines.len().div_ceil(2)) {
        let file = stack.work_dir().join("half.ndjson");
        std::fs::write(&file, half.join("\n")).unwrap();
        stack.produce(&["--file", file.to_str().unwrap()]).await;
        stack.settled().await;
        servers.agree_on(&known(&stack).await).await;
    }
    let scrape = ops.get("/metrics").await.body;
    assert!(!scrape.contains("risksignal_cache_signals_total{result=\"fed\"} 0\n"));
}
