//! Latency of `GET /v1/wallets/{address}` out of Redis and out of ClickHouse, against private
//! servers: `make bench-wallets`. It asserts nothing but that every answer is a 200.

#![allow(missing_docs, clippy::unwrap_used)] // It stops at the first surprise, as a test does.

#[path = "end_to_end/statistics.rs"]
#[allow(dead_code)] // This program uses a part.
mod statistics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use statistics::percentile;
use testkit::api::{Api, TOKEN};
use testkit::redis::Redis;
use testkit::wallets::{Servers, path};
use testkit::{Stack, eventually, setting};

/// Signals that are produced; the others are copies of them on earlier days.
const PRODUCED: u64 = 1_000_000;

/// Measures what is read of wallets.
#[derive(Parser)]
struct Arguments {
    /// Millions of signals in the table
    #[arg(long, default_value_t = 10)]
    millions: u64,
    /// Length of each case
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Clients that ask at once, each on a connection of its own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    clients: Vec<usize>,
    /// Wallets that are asked for
    #[arg(long, default_value_t = 2000)]
    wallets: u64,
    /// Passed by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let url = redis.url();
    let cached = [setting!(cache.url = url.as_str())];
    let servers = Servers::start(&stack, &redis).await;
    let mut daemon = stack.daemon(&cached).await;
    stack.produce(&[&format!("--count={PRODUCED}")]).await;
    stack.settled().await;
    for day in 1..arguments.millions {
        let seq = day * PRODUCED;
        let copy = format!(
            "INSERT INTO raw_signals (event_time, source_id, event_type, payload, severity, trace_id, user_id, wallet_address, extra, payload_faults, subject, stream_created_at, stream_seq, published_at)
            SELECT event_time - INTERVAL {day} DAY, source_id, event_type, payload, severity, generateUUIDv4(), user_id, wallet_address, extra, payload_faults, subject, stream_created_at, stream_seq + {seq}, published_at - INTERVAL {day} DAY
            FROM raw_signals WHERE stream_seq <= {PRODUCED}"
        );
        stack.clickhouse.execute(&copy).await;
    }
    let count = "SELECT count() FROM raw_signals";
    let counted = stack.clickhouse.number(count).await;
    let of = "SELECT uniqExact(wallet_address) FROM raw_signals";
    let wallets = stack.clickhouse.number(of).await;
    eventually("merges are over", async || {
        let merges = stack
            .clickhouse
            .number("SELECT count() FROM system.merges")
            .await;
        (merges == 0).then_some(())
    })
    .await;
    let began = Instant::now();
    let rebuilt = stack.risksignal_with(&["cache", "rebuild"], &cached).await;
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    let took = began.elapsed().as_secs_f64();
    let memory: String = redis.ask(&["INFO", "memory"]).await;
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let memory: f64 = memory.unwrap().trim().parse().unwrap();
    println!(
        "{counted} signals of {wallets} wallets; `risksignal cache rebuild` took {took:.1} s; Redis has {:.0} MiB\n",
        memory / f64::from(1 << 20)
    );

    let asked = format!(
        "SELECT wallet_address FROM raw_signals WHERE wallet_address != '' GROUP BY 1 ORDER BY cityHash64(wallet_address) LIMIT {}",
        arguments.wallets
    );
    let asked: Arc<Vec<String>> = Arc::new(stack.clickhouse.rows(&asked).await);
    println!("| | clients | answers/s | p50 (ms) | p99 (ms) | out of Redis |");
    println!("|---|---:|---:|---:|---:|---:|");
    for clients in &arguments.clients {
        for (label, api) in [
            ("with Redis", &servers.cached),
            ("ClickHouse alone", &servers.plain),
        ] {
            measure(label, api, &asked, *clients, arguments.seconds).await;
        }
    }
    assert!(daemon.stop().await.success());
}

async fn measure(label: &str, api: &Api, wallets: &Arc<Vec<String>>, clients: usize, seconds: u64) {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let askers = (0..clients).map(|client| {
        let (address, wallets) = (api.address.clone(), Arc::clone(wallets));
        tokio::spawn(ask(address, wallets, client * wallets_apart(clients), end))
    });
    let (mut times_ms, mut hits) = (Vec::new(), 0);
    for asker in askers.collect::<Vec<_>>() {
        let (times, of_them) = asker.await.unwrap();
        times_ms.extend(times);
        hits += of_them;
    }
    let elapsed = begin.elapsed().as_secs_f64();
    times_ms.sort_by(f64::total_cmp);
    println!(
        "| {label} | {clients} | {:.0} | {:.2} | {:.2} | {:.1} % |",
        times_ms.len() as f64 / elapsed,
        percentile(&times_ms, 0.5),
        percentile(&times_ms, 0.99),
        100.0 * hits as f64 / times_ms.len() as f64,
    );
}

/// Keeps two clients from asking for the same wallet at the same time.
fn wallets_apart(clients: usize) -> usize {
    997 / clients
}

/// Asks for one wallet after the other; returns how long each answer took in milliseconds, and how
/// many came out of Redis.
async fn ask(
    address: String,
    wallets: Arc<Vec<String>>,
    first: usize,
    end: Instant,
) -> (Vec<f64>, usize) {
    let api = Api::at(&address, None);
    let token = [("authorization".to_owned(), format!("Bearer {TOKEN}"))];
    let (mut times_ms, mut hits) = (Vec::new(), 0);
    for wallet in wallets.iter().cycle().skip(first) {
        let began = Instant::now();
        if began >= end {
            break;
        }
        let path = path(wallet);
        let answer = api.ask("GET", &path, &token, axum::body::Body::empty());
        let answer = answer.await.unwrap();
        times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let status = answer.headers.get("cache-status");
        hits += usize::from(status.is_some_and(|status| status == "risksignal; hit"));
    }
    (times_ms, hits)
}
