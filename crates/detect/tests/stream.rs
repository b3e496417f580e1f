//! The engine over whole streams: any signal is safe, and a restart changes nothing.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

use proptest::prelude::*;
use risksignal_detect::{
    About, Amount, Capacity, Direction, Engine, Feedback, Heard, Observation, Parameters, Value,
    Verdict,
};

/// A signal that a test owns.
#[derive(Debug, Clone)]
struct Signal {
    event_us: i64,
    stored_us: i64,
    wallet: String,
    counterparty: String,
    amount: Option<String>,
    balances: Vec<String>,
    direction: Direction,
    number: Option<f64>,
    feedback: Option<Verdict>,
}

fn parameters() -> Parameters {
    Parameters {
        warmup_days: 0.0,
        budget: 0.1,
        probability_min: 0.0,
        origins: vec!["analyst".to_owned()],
        // Small, so that every table evicts.
        capacity: Capacity {
            wallets: 12,
            counterparties: 9,
            balances: 5,
            suspects: 4,
            pairs: 64,
            assets: 2,
            series: 2,
        },
        ..Parameters::default()
    }
}

/// Takes a signal, and checks what comes out.
fn take(engine: &mut Engine, position: u64, signal: &Signal) -> Option<String> {
    let amount = signal.amount.as_deref();
    let balances = signal
        .balances
        .iter()
        .filter_map(|text| Amount::parse(text).ok());
    let balances: Vec<(&str, Amount<'_>)> = balances.map(|balance| ("ETH", balance)).collect();
    let observation = Observation {
        stored_us: signal.stored_us,
        event_type: "transaction",
        wallet: &signal.wallet,
        counterparty: &signal.counterparty,
        asset: if position.is_multiple_of(7) {
            "USDC"
        } else {
            "ETH"
        },
        amount: amount.and_then(|amount| Amount::parse(amount).ok()),
        direction: signal.direction,
        balances: &balances,
        value: signal.number.map(|number| Value {
            series: "series",
            number,
        }),
        ..Observation::new(position, signal.event_us)
    };
    if let Some(verdict) = signal.feedback {
        let feedback = Feedback {
            position,
            stored_us: signal.stored_us,
            origin: "analyst",
            verdict,
            about: About::Signal(&observation),
        };
        engine.feedback(&feedback).unwrap();
        return None;
    }
    let anomaly = engine.observe(&observation).unwrap()?;
    assert!((0.0..=1.0).contains(&anomaly.score), "{anomaly:?}");
    assert!(anomaly.tail > 0.0 && anomaly.tail <= 1.0, "{anomaly:?}");
    assert!((1..=5).contains(&anomaly.severity), "{anomaly:?}");
    let figure = anomaly.figure;
    assert!(
        !figure.expected.is_nan() && !figure.observed.is_nan(),
        "{anomaly:?}"
    );
    let shares: f64 = anomaly.shares.iter().map(|share| share.share).sum();
    assert!(
        anomaly.shares.is_empty() || (shares - 1.0).abs() < 1e-9,
        "{anomaly:?}"
    );
    assert_eq!(anomaly.evidence.first(), Some(&position));
    Some(format!("{anomaly:?}"))
}

fn any_time() -> impl Strategy<Value = i64> {
    let usual = 1_700_000_000_000_000_i64..1_710_000_000_000_000;
    prop_oneof![20 => usual, 1 => any::<i64>(), 1 => Just(0)]
}

fn any_amount() -> impl Strategy<Value = String> {
    let zero = Just("0".to_owned());
    prop_oneof![10 => "[0-9]{1,4}", 3 => "[0-9]{1,40}", 1 => "0\\.[0-9]{1,30}", 1 => zero]
}

fn any_number() -> impl Strategy<Value = f64> {
    let odd = prop_oneof![Just(f64::NAN), Just(1e308), Just(f64::INFINITY)];
    prop_oneof![5 => -1e3..1e3, 1 => any::<f64>(), 1 => odd, 1 => Just(5.0)]
}

fn any_signal() -> impl Strategy<Value = Signal> {
    let parties = ("[a-h]?", "[a-h]?");
    let verdict = prop_oneof![Just(Verdict::Confirmed), Just(Verdict::Cleared)];
    let times = (any_time(), any_time());
    let direction = prop_oneof![Just(Direction::Out), Just(Direction::In)];
    let rest = (
        prop::option::weighted(0.9, any_amount()),
        prop::collection::vec(any_amount(), 0..2),
        direction,
        prop::option::weighted(0.5, any_number()),
        prop::option::weighted(0.1, verdict),
    );
    (times, parties, rest).prop_map(|(times, parties, rest)| Signal {
        event_us: times.0,
        stored_us: times.1,
        wallet: parties.0,
        counterparty: parties.1,
        amount: rest.0,
        balances: rest.1,
        direction: rest.2,
        number: rest.3,
        feedback: rest.4,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any signal is safe for every detector, and the run that was cut by a snapshot at any place
    /// ends as the undisturbed one: the same anomalies, and the same state.
    #[test]
    fn a_restart_changes_nothing(
        signals in prop::collection::vec(any_signal(), 300..1_500),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(signals.len());
        let mut whole = Engine::new(parameters()).unwrap();
        let mut parts = Engine::new(parameters()).unwrap();
        for (index, signal) in signals.iter().enumerate() {
            if index == cut {
                parts = Engine::restore(&parts.snapshot().unwrap()).unwrap();
            }
            let position = index as u64 * 3 + 1;
            prop_assert_eq!(take(&mut whole, position, signal), take(&mut parts, position, signal));
        }
        prop_assert_eq!(whole.snapshot().unwrap(), parts.snapshot().unwrap());
    }

    /// Damaged bytes never become an engine.
    #[test]
    fn a_damaged_snapshot_is_refused(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut engine = Engine::new(parameters()).unwrap();
        engine.observe(&Observation::new(1, 0)).unwrap();
        let mut bytes = engine.snapshot().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Engine::restore(&bytes).is_err());
        prop_assert!(Engine::restore(&bytes[..at]).is_err());
    }
}

#[test]
fn positions_must_rise() {
    let mut engine = Engine::new(parameters()).unwrap();
    engine.observe(&Observation::new(5, 0)).unwrap();
    let before = engine.snapshot().unwrap();
    for position in [0, 4, 5] {
        assert!(engine.observe(&Observation::new(position, 0)).is_err());
        assert!(engine.adopt(position, parameters()).is_err());
        assert!(engine.pass(position).is_err());
    }
    assert_eq!(engine.snapshot().unwrap(), before);
}

#[test]
fn feedback_counts_from_allowed_origins_alone() {
    let mut engine = Engine::new(parameters()).unwrap();
    let mut say = |position, origin, about| {
        let feedback = Feedback {
            position,
            stored_us: 0,
            origin,
            verdict: Verdict::Confirmed,
            about,
        };
        engine.feedback(&feedback).unwrap()
    };
    assert_eq!(
        say(1, "application", About::Wallet("a")),
        Heard::UnknownOrigin
    );
    assert_eq!(say(2, "", About::Counterparty("a")), Heard::UnknownOrigin);
    assert_eq!(say(3, "analyst", About::Wallet("")), Heard::NoSubject);
    assert_eq!(say(4, "analyst", About::Wallet("a")), Heard::Counted);
    let counts = engine.counts();
    assert_eq!((counts.feedback, counts.unknown_origins), (1, 2));
}

#[test]
fn parameters_change_from_a_position_on() {
    let mut engine = Engine::new(parameters()).unwrap();
    let old = engine.version();
    let faulty = Parameters {
        budget: 7.0,
        prior: f64::NAN,
        ..parameters()
    };
    let error = engine.adopt(1, faulty).unwrap_err().to_string();
    assert!(
        error.contains("budget") && error.contains("prior"),
        "{error}"
    );
    assert_eq!((engine.version(), engine.position()), (old, 0));
    let changed = Parameters {
        budget: 0.2,
        ..parameters()
    };
    engine.adopt(1, changed.clone()).unwrap();
    assert_eq!((engine.position(), engine.parameters()), (1, &changed));
    assert_ne!(engine.version(), old);
    let restored = Engine::restore(&engine.snapshot().unwrap()).unwrap();
    assert_eq!(restored.version(), engine.version());
}
