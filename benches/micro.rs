//! Decoding and checking a signal, and encoding its row, without servers: signals and bytes a
//! second. `make bench-micro` runs it.

#![allow(missing_docs, clippy::unwrap_used)] // A measurement stops at the first surprise.

use std::fmt;
use std::path::Path;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use risksignal::settings::Settings;
use risksignal::signal::{Limits, Signal};
use risksignal::store::row::{self, Origin};
use risksignal::synthetic::{Generator, Options};

/// Signals gone through at a time.
const SIGNALS: usize = 1_000;
/// Beside the checkout; not part of it.
const REAL: &str = "../shared/data/ethereum_mainnet_signals.ndjson";

fn main() {
    divan::main();
}

/// Where signals come from.
#[derive(Clone, Copy)]
enum Source {
    /// What `risksignal produce --seed 42` sends.
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

/// Those that there are.
fn sources() -> Vec<Source> {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join(REAL);
    match real.exists() {
        true => vec![Source::Produced, Source::Real],
        false => vec![Source::Produced],
    }
}

fn bodies(source: Source) -> Vec<Vec<u8>> {
    match source {
        Source::Produced => {
            let start_ms = 1_764_000_000_000;
            let mut generator = Generator::new(&Options::new(42, start_ms, limits())).unwrap();
            let bodies = (0..SIGNALS).map(|_| generator.produce().unwrap().body.to_vec());
            bodies.collect()
        }
        Source::Real => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REAL);
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

fn parsed<'a>(bodies: &'a [Vec<u8>], limits: &Limits) -> Vec<Signal<'a>> {
    let parse = |body: &'a Vec<u8>| Signal::parse(body, "signals.transaction", limits).unwrap();
    bodies.iter().map(parse).collect()
}

#[divan::bench(args = sources())]
fn decode_and_validate(bencher: Bencher<'_, '_>, source: Source) {
    let (bodies, limits) = (bodies(source), limits());
    bencher
        .counter(bytes(&bodies))
        .counter(ItemsCount::new(bodies.len()))
        .bench_local(|| {
            for body in &bodies {
                let signal = Signal::parse(black_box(body), "signals.transaction", &limits);
                black_box(signal.unwrap());
            }
        });
}

#[divan::bench(args = sources())]
fn encode_row(bencher: Bencher<'_, '_>, source: Source) {
    let bodies = bodies(source);
    let signals = parsed(&bodies, &limits());
    let mut rows = Vec::new();
    signals.iter().for_each(|signal| encode(&mut rows, signal));
    bencher
        .counter(BytesCount::new(rows.len()))
        .counter(ItemsCount::new(signals.len()))
        .bench_local(|| {
            rows.clear();
            for signal in &signals {
                encode(&mut rows, black_box(signal));
            }
            black_box(&rows);
        });
}

fn encode(rows: &mut Vec<u8>, signal: &Signal<'_>) {
    let origin = Origin {
        subject: "signals.transaction",
        stream_created_ns: 1_764_000_000_000_000_000,
        stream_seq: 123_456_789,
        published_at_ms: 1_764_000_000_000,
        ingested_at_ms: 1_764_000_000_001,
    };
    row::encode(rows, signal, &origin);
}
