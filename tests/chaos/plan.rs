//! Which faults come when: a pure function of the seed, so that a run can be repeated.

use std::ops::Range;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::proxy::Weather;

/// What a fault is done to. The faults of one target never overlap, those of several do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The daemon in this place.
    Daemon(usize),
    ClickHouse,
    /// The one NATS server.
    Nats,
    /// A cluster of NATS servers: one after the other.
    Cluster,
    /// The way from the daemon in this place to ClickHouse.
    LinkToClickHouse(usize),
    /// The way from the daemon in this place to NATS.
    LinkToNats(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a start when the time is over.
    Kill,
    /// SIGTERM, and a start when the time is over.
    Stop,
    /// SIGSTOP, and SIGCONT when the time is over.
    Pause,
    /// A daemon that ends itself when it comes to a fault point for so many times, in place of
    /// the one that is there; the usual one when the time is over.
    Crash(FaultPoint, u32),
    /// The weather of a link, until the time is over.
    Weather(Weather),
}

/// A fault point of the binary, `risksignal run --fault-point`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    InsertSent,
    InsertAnswered,
    LetterPublished,
    BeforeAck,
}

impl FaultPoint {
    const ALL: [Self; 4] = [
        Self::InsertSent,
        Self::InsertAnswered,
        Self::LetterPublished,
        Self::BeforeAck,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::InsertSent => "insert-sent",
            Self::InsertAnswered => "insert-answered",
            Self::LetterPublished => "letter-published",
            Self::BeforeAck => "before-ack",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Counted from the start.
    pub at: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

/// All that is done to one target.
#[derive(Debug)]
pub struct Track {
    pub target: Target,
    pub steps: Vec<Step>,
}

/// The faults of a run of this length.
pub fn plan(seed: u64, length: Duration, targets: &[Target]) -> Vec<Track> {
    let track = |(stream, target): (u64, &Target)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let mut steps = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += between(&mut rng, gap_ms(*target));
            if at >= length {
                break;
            }
            let (fault, lasts_ms) = draw(&mut rng, *target);
            let lasts = between(&mut rng, lasts_ms);
            steps.push(Step { at, fault, lasts });
            at += lasts;
        }
        Track {
            target: *target,
            steps,
        }
    };
    (0..).zip(targets).map(track).collect()
}

/// From the end of a fault to the next one.
fn gap_ms(target: Target) -> Range<u64> {
    match target {
        Target::Daemon(_) => 500..4_000,
        Target::Cluster => 3_000..8_000,
        Target::ClickHouse | Target::Nats => 6_000..20_000,
        Target::LinkToClickHouse(_) | Target::LinkToNats(_) => 6_000..22_000,
    }
}

/// A fault, and how long it may last. The daemons' ack wait is 5 s.
fn draw(rng: &mut ChaCha8Rng, target: Target) -> (Fault, Range<u64>) {
    let kind = rng.random_range(0..100_u32);
    match target {
        Target::Daemon(_) => match kind {
            0..60 => (Fault::Kill, 0..1_500),
            60..66 => (Fault::Kill, 3_000..8_000),
            66..76 => {
                let point = FaultPoint::ALL[rng.random_range(0..FaultPoint::ALL.len())];
                (Fault::Crash(point, rng.random_range(1..6)), 5_000..8_000)
            }
            76..88 => (Fault::Stop, 0..4_000),
            _ => (Fault::Pause, 5_500..9_000),
        },
        Target::ClickHouse | Target::Nats => match kind {
            0..70 => (Fault::Kill, 0..3_000),
            70..80 => (Fault::Pause, 100..2_000),
            _ => (Fault::Pause, 3_000..8_000),
        },
        Target::Cluster => (Fault::Kill, 0..6_000),
        Target::LinkToClickHouse(_) => weather(rng, kind),
        // A kind of weather that only HTTP has is another one here.
        Target::LinkToNats(_) => weather(rng, kind % 60),
    }
}

fn weather(rng: &mut ChaCha8Rng, kind: u32) -> (Fault, Range<u64>) {
    let (weather, lasts_ms) = match kind {
        0..12 => {
            let pause = between(rng, 10..400);
            (Weather::Slow(pause), 1_000..6_000)
        }
        12..24 => (Weather::Stalled, 500..9_000),
        24..36 => (Weather::BlackHole, 500..9_000),
        36..48 => (Weather::Reset, 10..4_000),
        48..65 => (Weather::HalfAnswer(rng.random_range(0..400)), 200..3_000),
        65..85 => (Weather::ErrorAfter, 200..3_000),
        _ => (Weather::ErrorInstead, 200..3_000),
    };
    (Fault::Weather(weather), lasts_ms)
}

fn between(rng: &mut ChaCha8Rng, ms: Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(ms))
}

/// The kind of a fault, as the table has it.
pub fn kind(target: Target, fault: Fault) -> &'static str {
    match (target, fault) {
        (Target::Daemon(_), Fault::Kill) => "daemon: SIGKILL",
        (Target::Daemon(_), Fault::Stop) => "daemon: SIGTERM",
        (Target::Daemon(_), Fault::Crash(point, _)) => match point {
            FaultPoint::InsertSent => "daemon: to end when an insert is sent",
            FaultPoint::InsertAnswered => "daemon: to end when an insert is answered",
            FaultPoint::LetterPublished => "daemon: to end when a letter is published",
            FaultPoint::BeforeAck => "daemon: to end before an ack",
        },
        (Target::Daemon(_), _) => "daemon: SIGSTOP for longer than the ack wait",
        (Target::ClickHouse, Fault::Kill) => "ClickHouse: SIGKILL",
        (Target::ClickHouse, _) => "ClickHouse: SIGSTOP",
        (Target::Nats, Fault::Kill) => "NATS: SIGKILL",
        (Target::Cluster, _) => "a node of NATS: SIGKILL",
        (Target::Nats, _) => "NATS: SIGSTOP",
        (Target::LinkToClickHouse(_), Fault::Weather(weather)) => match weather {
            Weather::Slow(_) => "way to ClickHouse: slow",
            Weather::Stalled => "way to ClickHouse: stalled",
            Weather::BlackHole => "way to ClickHouse: black hole",
            Weather::Reset => "way to ClickHouse: resets",
            Weather::HalfAnswer(_) => "way to ClickHouse: half answers",
            Weather::ErrorAfter => "way to ClickHouse: executes, answers with errors",
            _ => "way to ClickHouse: errors only",
        },
        (_, Fault::Weather(weather)) => match weather {
            Weather::Slow(_) => "way to NATS: slow",
            Weather::Stalled => "way to NATS: stalled",
            Weather::BlackHole => "way to NATS: black hole",
            Weather::HalfAnswer(_) => "way to NATS: half answers",
            _ => "way to NATS: resets",
        },
        _ => "none",
    }
}
