use std::collections::{HashMap, HashSet};

use serde_json::Value;
use signal::Signal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;

const START_MS: i64 = 1_760_000_000_000;

fn options(seed: u64) -> GeneratorOptions {
    let limits = Limits {
        max_signal_bytes: 1 << 20,
        source_id_max_chars: 128,
        event_type_max_chars: 128,
        user_id_max_chars: 256,
        wallet_address_max_chars: 256,
        severity_max: 5,
        payload: Default::default(),
        schemas: Default::default(),
    };
    GeneratorOptions::new(seed, START_MS, limits)
}

fn generator(options: &GeneratorOptions) -> Generator {
    Generator::new(options).unwrap()
}

/// Checks the rules without the code that enforces them.
fn keeps_rules(body: &[u8]) -> bool {
    let Ok(signal) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    let text = |field: &str, min: usize, max: usize| {
        signal[field]
            .as_str()
            .is_some_and(|text| (min..=max).contains(&text.chars().count()))
    };
    let optional = |field: &str| signal.get(field).is_none() || text(field, 0, 256);
    text("source_id", 1, 128)
        && text("event_type", 1, 128)
        && optional("user_id")
        && optional("wallet_address")
        && signal["payload"].is_object()
        && signal["severity"]
            .as_i64()
            .is_some_and(|severity| (0..=5).contains(&severity))
        && signal["trace_id"]
            .as_str()
            .is_some_and(|id| id.len() == 36 && Uuid::parse_str(id).is_ok())
        && signal["event_time"]
            .as_str()
            .is_some_and(|time| OffsetDateTime::parse(time, &Rfc3339).is_ok())
}

#[test]
fn the_same_seed_and_start_give_the_same_bytes() {
    let (mut one, mut two) = (generator(&options(7)), generator(&options(7)));
    let mut other = generator(&options(8));
    let mut differs = 0;
    for _ in 0..1_000 {
        let body = one.produce().unwrap().body.to_vec();
        assert_eq!(body, two.produce().unwrap().body);
        differs += usize::from(body != other.produce().unwrap().body);
    }
    assert_eq!(differs, 1_000);
}

#[test]
fn the_trace_ids_do_not_depend_on_the_time() {
    let mut later = generator(&options(7));
    later.advance_to(START_MS + 3_600_000);
    let mut sooner = generator(&options(7));
    for _ in 0..100 {
        let (a, b) = (sooner.produce().unwrap(), later.produce().unwrap());
        assert_eq!(a.trace_id, b.trace_id);
        assert_ne!(a.body, b.body);
    }
}

#[test]
fn good_signals_keep_the_rules_and_follow_each_other_in_time() {
    let mut generator = generator(&options(1));
    let (mut ids, mut last, mut beyond_64_bits, mut bytes) = (HashSet::new(), String::new(), 0, 0);
    let mut kinds: HashMap<SignalKind, u32> = HashMap::new();
    for _ in 0..10_000 {
        let produced = generator.produce().unwrap();
        assert!(
            keeps_rules(produced.body),
            "{}",
            produced.body.escape_ascii()
        );
        assert_eq!(produced.defect, None);
        let signal: Value = serde_json::from_slice(produced.body).unwrap();
        assert_eq!(signal["event_type"], produced.kind.event_type());
        assert_eq!(signal["trace_id"], produced.trace_id.to_string());
        let time = signal["event_time"].as_str().unwrap();
        assert!(time >= last.as_str());
        last = time.to_owned();
        if produced.kind == SignalKind::Transaction
            && signal["payload"]["amount"].as_u64().is_none()
        {
            beyond_64_bits += 1;
        }
        *kinds.entry(produced.kind).or_default() += 1;
        ids.insert(produced.trace_id);
        bytes += produced.body.len();
    }
    assert_eq!(ids.len(), 10_000);
    assert!(beyond_64_bits > 100, "{beyond_64_bits}");
    assert!((6_800..7_200).contains(&kinds[&SignalKind::Transaction]));
    assert!((1_850..2_150).contains(&kinds[&SignalKind::RiskEvent]));
    assert!((900..1_100).contains(&kinds[&SignalKind::WalletSnapshot]));
    let mean = bytes / 10_000;
    assert!((500..560).contains(&mean), "{mean} bytes on average");
}

#[test]
fn severity_follows_the_score() {
    let mut generator = generator(&GeneratorOptions {
        mix: Mix::Only(SignalKind::RiskEvent),
        ..options(3)
    });
    for _ in 0..2_000 {
        let produced = generator.produce().unwrap();
        let signal: Value = serde_json::from_slice(produced.body).unwrap();
        let score = signal["payload"]["score"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&score));
        let severity = signal["severity"].as_f64().unwrap();
        assert!((severity - score * 6.0).abs() <= 2.0, "{severity} {score}");
    }
}

#[test]
fn a_few_wallets_do_most() {
    let mut generator = generator(&options(4));
    let mut wallets: HashMap<String, u32> = HashMap::new();
    for _ in 0..10_000 {
        let produced = generator.produce().unwrap();
        let signal: Value = serde_json::from_slice(produced.body).unwrap();
        let wallet = signal["wallet_address"].as_str().unwrap().to_owned();
        *wallets.entry(wallet).or_default() += 1;
    }
    let mut counts: Vec<u32> = wallets.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    assert!(counts.len() > 1_000, "{} wallets", counts.len());
    assert!(counts[..100].iter().sum::<u32>() > 5_000);
}

#[test]
fn bad_signals_break_the_rules_in_every_way_and_at_the_asked_rate() {
    let mut generator = generator(&GeneratorOptions {
        invalid_share: 0.25,
        ..options(2)
    });
    let (mut defects, mut ids) = (HashMap::new(), HashSet::new());
    for _ in 0..10_000 {
        let produced = generator.produce().unwrap();
        let valid = keeps_rules(produced.body);
        assert_eq!(valid, produced.defect.is_none(), "{:?}", produced.defect);
        ids.insert(produced.trace_id);
        if let Some(defect) = produced.defect {
            *defects.entry(defect).or_insert(0) += 1;
            let is_text = std::str::from_utf8(produced.body).is_ok();
            assert_eq!(is_text, defect != Defect::NotUtf8);
            let is_json = serde_json::from_slice::<Value>(produced.body).is_ok();
            let wants_json = !matches!(defect, Defect::NotJson | Defect::NotUtf8);
            assert_eq!(is_json, wants_json, "{defect:?}");
        }
    }
    assert_eq!(ids.len(), 10_000);
    assert_eq!(defects.len(), Defect::ALL.len(), "{defects:?}");
    let bad: i32 = defects.values().sum();
    assert!((2_350..2_650).contains(&bad), "{bad} bad signals");
}

#[test]
fn the_daemon_takes_the_good_and_not_the_bad() {
    let options = GeneratorOptions {
        invalid_share: 0.25,
        ..options(9)
    };
    let mut generator = generator(&options);
    for _ in 0..2_000 {
        let produced = generator.produce().unwrap();
        let subject = format!("signals.{}", produced.kind.event_type());
        let parsed = Signal::parse(produced.body, &subject, &options.limits);
        assert_eq!(parsed.is_ok(), produced.defect.is_none(), "{parsed:?}");
    }
}

#[test]
fn no_signal_is_more_severe_than_allowed() {
    let mut options = options(5);
    options.limits.severity_max = 1;
    let mut generator = generator(&options);
    for _ in 0..1_000 {
        let produced = generator.produce().unwrap();
        let signal: Value = serde_json::from_slice(produced.body).unwrap();
        assert!(signal["severity"].as_i64().unwrap() <= 1);
    }
}

/// Measures the speed, run by hand: `cargo test --release -- --ignored --nocapture generates`.
#[test]
#[ignore = "a measurement, not a test"]
fn generates_many_a_second() {
    let mut generator = generator(&options(6));
    let start = std::time::Instant::now();
    let mut bytes = 0;
    for _ in 0..1_000_000 {
        bytes += generator.produce().unwrap().body.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:.0} signals/s, {} bytes each",
        1e6 / seconds,
        bytes / 1_000_000
    );
}
