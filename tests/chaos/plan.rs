//! Plan of the faults: a pure function of the seed, so that a run can be repeated.

use std::ops::Range;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use testkit::lying_proxy::Lie;

use super::operators::Extent;
use super::proxy::Weather;

/// Target of a fault. The faults of one target never overlap, those of several do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The daemon in this place.
    Daemon(usize),
    ClickHouse,
    /// The one NATS server.
    Nats,
    /// The one NATS server, whose data are put back from a copy, too.
    NatsAndItsData,
    /// A cluster of NATS servers: one after the other.
    Cluster,
    /// The way from the daemon in this place to ClickHouse.
    LinkToClickHouse(usize),
    /// The way from the daemon in this place to NATS.
    LinkToNats(usize),
    /// The daemons' consumer, in an operator's hands.
    Consumer,
    /// The table, in an operator's hands.
    Table,
    /// A daemon of another consumer on the same stream and table.
    OtherConsumer,
    /// The clock of the daemons in this place.
    Clock(usize),
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
    /// ClickHouse is killed between the writing of an insert's token and its rows' appearance.
    KillInCommit,
    /// NATS' data are copied, and put back when the time is over, with a SIGKILL before.
    PutBack(Extent),
    /// All messages come again from so many before the acked ones on.
    Reset(u64),
    /// The ack wait of the consumer.
    EditAckWait(Duration),
    DeleteConsumer,
    /// A view on the table that refuses rows, until the time is over.
    RefusingView,
    /// A view on the table that takes all rows, until the time is over.
    View,
    /// The difference of a clock to the true time in seconds, until the time is over.
    ClockStep(i64),
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
        Target::ClickHouse | Target::Nats | Target::NatsAndItsData => 6_000..20_000,
        Target::LinkToClickHouse(_) | Target::LinkToNats(_) | Target::Consumer => 6_000..22_000,
        Target::Table => 4_000..15_000,
        Target::OtherConsumer | Target::Clock(_) => 8_000..25_000,
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
        Target::NatsAndItsData if kind < 40 => {
            let extent = if rng.random() {
                Extent::Signals
            } else {
                Extent::All
            };
            (Fault::PutBack(extent), 500..6_000)
        }
        Target::ClickHouse if kind < 20 => (Fault::KillInCommit, 2_000..4_000),
        Target::ClickHouse | Target::Nats | Target::NatsAndItsData => match kind {
            0..70 => (Fault::Kill, 0..3_000),
            70..80 => (Fault::Pause, 100..2_000),
            _ => (Fault::Pause, 3_000..8_000),
        },
        Target::Cluster => (Fault::Kill, 0..6_000),
        Target::LinkToClickHouse(_) => weather(rng, kind),
        // A kind of weather that only HTTP has is another one here.
        Target::LinkToNats(_) => weather(rng, kind % 60),
        Target::Consumer => match kind {
            0..55 => (Fault::Reset(rng.random_range(0..8_000)), 0..1),
            55..90 => {
                let ack_wait = between(rng, 1_000..10_000);
                (Fault::EditAckWait(ack_wait), 1_000..8_000)
            }
            _ => (Fault::DeleteConsumer, 0..1),
        },
        Target::Table => match kind {
            0..60 => (Fault::RefusingView, 1_500..6_000),
            _ => (Fault::View, 1_500..6_000),
        },
        Target::OtherConsumer => match kind {
            0..50 => (Fault::Kill, 3_000..12_000),
            _ => (Fault::Stop, 3_000..12_000),
        },
        Target::Clock(_) => {
            let seconds = STEPS_S[rng.random_range(0..STEPS_S.len())];
            (Fault::ClockStep(seconds), 1_000..8_000)
        }
    }
}

/// False answers of a proxy to an insert.
const LIES: [Lie; 7] = [
    Lie::Answer(200, "text/plain", "upstream connect error"),
    Lie::Answer(200, "text/html", "<html>Please wait</html>"),
    Lie::Answer(200, "text/plain", ""),
    Lie::Answer(504, "text/html", "<html>Gateway Timeout</html>"),
    Lie::StripHeaders,
    Lie::OtherQuery,
    Lie::FewerRows,
];

/// Steps of a daemon's clock in seconds.
const STEPS_S: [i64; 8] = [3_600, -3_600, 86_400, -86_400, 20, -20, 3, -3];

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
        65..75 => (Weather::ErrorAfter, 200..3_000),
        75..90 => {
            let lie = LIES[rng.random_range(0..LIES.len())];
            (Weather::Lying(lie), 300..4_000)
        }
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
        (Target::ClickHouse, Fault::KillInCommit) => {
            "ClickHouse: inside a commit if one comes, SIGKILL"
        }
        (Target::ClickHouse, _) => "ClickHouse: SIGSTOP",
        (Target::Nats | Target::NatsAndItsData, Fault::Kill) => "NATS: SIGKILL",
        (Target::NatsAndItsData, Fault::PutBack(Extent::Signals)) => {
            "NATS: stream put back from a copy, SIGKILL"
        }
        (Target::NatsAndItsData, Fault::PutBack(Extent::All)) => {
            "NATS: all streams put back from a copy, SIGKILL"
        }
        (Target::Cluster, _) => "a node of NATS: SIGKILL",
        (Target::Nats | Target::NatsAndItsData, _) => "NATS: SIGSTOP",
        (Target::Consumer, Fault::Reset(_)) => "operator: consumer reset",
        (Target::Consumer, Fault::EditAckWait(_)) => "operator: ack wait of the consumer edited",
        (Target::Consumer, _) => "operator: consumer deleted, created again",
        (Target::Table, Fault::RefusingView) => "operator: a view that refuses rows",
        (Target::Table, _) => "operator: a view",
        (Target::OtherConsumer, Fault::Kill) => "daemon of another consumer: SIGKILL",
        (Target::OtherConsumer, _) => "daemon of another consumer: SIGTERM",
        (Target::Clock(_), _) => "daemon: clock steps, and back",
        (Target::LinkToClickHouse(_), Fault::Weather(weather)) => match weather {
            Weather::Slow(_) => "way to ClickHouse: slow",
            Weather::Stalled => "way to ClickHouse: stalled",
            Weather::BlackHole => "way to ClickHouse: black hole",
            Weather::Reset => "way to ClickHouse: resets",
            Weather::HalfAnswer(_) => "way to ClickHouse: half answers",
            Weather::ErrorAfter => "way to ClickHouse: executes, answers with errors",
            Weather::Lying(_) => "way to ClickHouse: a proxy that lies",
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
