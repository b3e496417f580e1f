//! Signals a second and latency of the way in over HTTP, one by one and in batches, against
//! private servers: `make bench-serve`. It asserts nothing but that every answer is a 202.

#![allow(missing_docs, clippy::unwrap_used)] // It stops at the first surprise, as a test does.

#[path = "end_to_end/statistics.rs"]
#[allow(dead_code)] // This program uses a part.
mod statistics;

use std::time::{Duration, Instant};

use clap::Parser;
use risksignal::command::log_lines::PUBLISHING;
use risksignal::settings::Settings;
use synthetic::{Generator, GeneratorOptions, Mix};
use testkit::api::{self, Api, TOKEN, entry, write_tokens};
use testkit::{Daemon, Stack, setting};

use statistics::percentile;

/// Measures `risksignal serve`.
#[derive(Parser)]
struct Arguments {
    /// Length of each case
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Clients that send at once, each on a connection of its own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    clients: Vec<usize>,
    /// Signals of a request
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100])]
    batches: Vec<usize>,
    /// Passed by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let stack = Stack::start().await;
    let tokens = write_tokens(&stack, &entry("bench", TOKEN, ""));
    println!(
        "| | clients | signals a request | signals/s | p50 (ms) | p99 (ms) | CPU of the process (µs/signal) |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut alone = api::spawn(&stack, &tokens, &[]);
    alone.logged(PUBLISHING).await;
    measure("serve", &alone, &arguments).await;
    assert!(alone.stop().await.success());
    let tokens = tokens.display().to_string();
    let with_run = [
        api::ANY_PORT,
        setting!(serve.with_run = "true"),
        setting!(serve.tokens_file = &tokens),
    ];
    let mut both = stack.daemon(&with_run).await;
    stack.settled().await;
    measure("run with serve", &both, &arguments).await;
    assert!(both.stop().await.success());
}

async fn measure(label: &str, daemon: &Daemon, arguments: &Arguments) {
    let address = Api::of(daemon).await.address;
    for batch in &arguments.batches {
        for clients in &arguments.clients {
            let before = cpu_seconds(daemon);
            let end = Instant::now() + Duration::from_secs(arguments.seconds);
            let begin = Instant::now();
            let senders = (0..*clients).map(|_| {
                let address = address.clone();
                tokio::spawn(send(address, *batch, end))
            });
            let mut times_ms = Vec::new();
            for sender in senders.collect::<Vec<_>>() {
                times_ms.extend(sender.await.unwrap());
            }
            let elapsed = begin.elapsed().as_secs_f64();
            let signals = (times_ms.len() * batch) as f64;
            let cpu = (cpu_seconds(daemon) - before) * 1e6 / signals;
            times_ms.sort_by(f64::total_cmp);
            println!(
                "| {label} | {clients} | {batch} | {:.0} | {:.2} | {:.2} | {cpu:.1} |",
                signals / elapsed,
                percentile(&times_ms, 0.5),
                percentile(&times_ms, 0.99),
            );
        }
    }
}

/// User and system time of the process since its start.
fn cpu_seconds(daemon: &Daemon) -> f64 {
    let process = procfs::process::Process::new(daemon.pid() as i32).unwrap();
    let stat = process.stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

/// Sends new signals, a request after the other, and returns how long each took in milliseconds.
async fn send(address: String, batch: usize, end: Instant) -> Vec<f64> {
    let api = Api::at(&address, None);
    let limits = Settings::load(None).unwrap().validation;
    let mut generator = Generator::new(&GeneratorOptions {
        mix: Mix::Mixed,
        ..GeneratorOptions::new(rand::random(), 1_800_000_000_000, limits)
    })
    .unwrap();
    let mut times_ms = Vec::new();
    while Instant::now() < end {
        let mut body = String::new();
        for _ in 0..batch {
            body.push_str(std::str::from_utf8(generator.produce().unwrap().body).unwrap());
            body.push('\n');
        }
        let began = Instant::now();
        let answer = api.send().try_ndjson(body).await.unwrap();
        times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    times_ms
}
