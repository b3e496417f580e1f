//! Decoding and checking a signal, and encoding its row, without servers: signals and bytes a
//! second. `make bench-micro` runs it.

#![allow(missing_docs, clippy::unwrap_used)] // A measurement stops at the first surprise.
#![allow(clippy::disallowed_types)] // divan makes its benchmarks in statics.

use std::fmt;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use risksignal::settings::Settings;
use signal::contract::{Modes, Schemas};
use signal::{Limits, Signal};
use store::row::RowOrigin;
use store::{Block, Rows};
use synthetic::{Generator, GeneratorOptions};
use testkit::repository;

/// Signals gone through at a time.
const SIGNALS: usize = 1_000;
/// Beside the checkout, and no part.
const REAL: &str = "../shared/data/ethereum_mainnet_signals.ndjson";

fn main() {
    divan::main();
}

/// Source of signals.
#[derive(Clone, Copy)]
enum Source {
    /// Signals of `risksignal produce --seed 42`.
    Produced,
    /// Transactions, risk events and snapshots of Ethereum's main network.
    Real,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Produced => "produced",
            Self::Real => "real",
        })
    }
}

/// Existing sources.
fn sources() -> Vec<Source> {
    let real = repository(REAL);
    match real.exists() {
        true => vec![Source::Produced, Source::Real],
        false => vec![Source::Produced],
    }
}

fn bodies(source: Source) -> Vec<Vec<u8>> {
    match source {
        Source::Produced => {
            let start_ms = 1_764_000_000_000;
            let mut generator =
                Generator::new(&GeneratorOptions::new(42, start_ms, limits())).unwrap();
            let bodies = (0..SIGNALS).map(|_| generator.produce().unwrap().body.to_vec());
            bodies.collect()
        }
        Source::Real => {
            let path = repository(REAL);
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text.lines().take(SIGNALS);
            lines.map(|line| line.as_bytes().to_vec()).collect()
        }
    }
}

fn limits() -> Limits {
    Settings::default().validation
}

fn bytes(bodies: &[Vec<u8>]) -> BytesCount {
    BytesCount::new(bodies.iter().map(Vec::len).sum::<usize>())
}

#[divan::bench(args = sources())]
fn decode_and_validate(bencher: Bencher<'_, '_>, source: Source) {
    decode(bencher, &bodies(source), "off");
}

/// With a look at each payload too.
#[divan::bench(args = sources())]
fn decode_and_validate_payload(bencher: Bencher<'_, '_>, source: Source) {
    decode(bencher, &bodies(source), "warn");
}

/// With payloads that all break their contract.
#[divan::bench]
fn decode_and_report_faults(bencher: Bencher<'_, '_>) {
    let bodies = bodies(Source::Produced).into_iter().map(|body| {
        let text = String::from_utf8(body).unwrap();
        text.replace("\"chain\":", "\"Chain\":").into_bytes()
    });
    decode(bencher, &bodies.collect::<Vec<_>>(), "warn");
}

/// A payload of 0.8 MB whose members all break their contract, as many as are looked at.
#[derive(Clone, Copy)]
enum Hostile {
    /// Balances that are no amounts.
    Balances,
    /// Reasons that are no texts.
    Reasons,
    /// A transaction without a field, and with many that no contract knows.
    Unknown,
    /// Balances that are amounts, and a chain that the fast way does not take.
    Valid,
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Balances => "balances",
            Self::Reasons => "reasons",
            Self::Unknown => "unknown",
            Self::Valid => "valid",
        })
    }
}

impl Hostile {
    fn body(self) -> Vec<u8> {
        const MEMBERS: usize = 16_000;
        const WIDTH: usize = 800_000 / MEMBERS - 1;
        let repeat = |one: fn(usize) -> String| {
            let members = (0..MEMBERS).map(|number| format!("{:>WIDTH$}", one(number)));
            members.collect::<Vec<_>>().join(",")
        };
        let (event_type, payload) = match self {
            Self::Balances => {
                let balances = repeat(|number| format!("\"t{number}\":-1"));
                let payload = format!("{{\"chain\":\"ethereum\",\"balances\":{{{balances}}}}}");
                ("wallet_snapshot", payload)
            }
            Self::Reasons => {
                let reasons = repeat(|_| "1".to_owned());
                let payload = format!("{{\"rule\":\"r\",\"score\":1,\"reasons\":[{reasons}]}}");
                ("risk_event", payload)
            }
            Self::Unknown => {
                let unknown = repeat(|number| format!("\"f{number}\":[]"));
                ("transaction", format!("{{{unknown}}}"))
            }
            Self::Valid => {
                let balances = repeat(|number| format!("\"t{number}\":1"));
                let payload = format!("{{\"chain\":\"\\u0065\",\"balances\":{{{balances}}}}}");
                ("wallet_snapshot", payload)
            }
        };
        format!(
            "{{\"event_time\":0,\"source_id\":\"a\",\"event_type\":\"{event_type}\",\
             \"severity\":0,\"trace_id\":\"3b32aef0-228a-5924-a25d-9362bb7bf65d\",\
             \"payload\":{payload}}}"
        )
        .into_bytes()
    }
}

/// The most that one message costs in the contracts.
#[divan::bench(args = [Hostile::Balances, Hostile::Reasons, Hostile::Unknown, Hostile::Valid], sample_count = 20)]
fn decode_hostile_payload(bencher: Bencher<'_, '_>, hostile: Hostile) {
    decode(bencher, &[hostile.body()], "warn");
}

/// The same without a look at the payload.
#[divan::bench(args = [Hostile::Balances, Hostile::Reasons, Hostile::Unknown, Hostile::Valid], sample_count = 20)]
fn decode_hostile(bencher: Bencher<'_, '_>, hostile: Hostile) {
    decode(bencher, &[hostile.body()], "off");
}

fn decode(bencher: Bencher<'_, '_>, bodies: &[Vec<u8>], mode: &str) {
    let mut limits = limits();
    let schemas = Schemas::read("").unwrap();
    limits.schemas = schemas;
    limits.payload = Modes::parse(mode).unwrap();
    bencher
        .counter(bytes(bodies))
        .counter(ItemsCount::new(bodies.len()))
        .bench_local(|| {
            for body in bodies {
                let signal = Signal::parse(black_box(body), "signals.transaction", &limits);
                black_box(signal.unwrap());
            }
        });
}

/// From signals to the chunks that ClickHouse gets.
#[divan::bench(args = sources())]
fn encode_rows(bencher: Bencher<'_, '_>, source: Source) {
    let bodies: Vec<Bytes> = bodies(source).into_iter().map(Bytes::from).collect();
    let limits = limits();
    let parse = |body| Signal::parse(body, "signals.transaction", &limits).unwrap();
    let signals: Vec<(Signal<'_>, &Bytes)> =
        bodies.iter().map(|body| (parse(body), body)).collect();
    let sample = rows(&signals, &Rows::default());
    bencher
        .counter(BytesCount::new(sample.bytes()))
        .counter(ItemsCount::new(signals.len()))
        .bench_local(|| {
            let block = Block::new(uuid::Uuid::nil(), rows(black_box(&signals), &sample));
            block
                .chunks(u32::MAX, 256 * 1024)
                .for_each(|chunk| drop(black_box(chunk)));
        });
}

fn rows(signals: &[(Signal<'_>, &Bytes)], like: &Rows) -> Rows {
    let origin = RowOrigin {
        subject: "signals.transaction",
        stream_created_ns: 1_764_000_000_000_000_000,
        stream_seq: 123_456_789,
        published_ns: 1_764_000_000_000_000_000,
    };
    let mut rows = Rows::sized_like(like);
    for (signal, body) in signals {
        rows.push(signal, body, &origin);
    }
    rows
}
