//! Attacks in a quiet stream: each is found, by the detector that is meant for it. The anomalies of
//! the whole stream are the same in every build.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

use risksignal_detect::{Amount, Anomaly, Detector, Engine, Observation, Parameters, Value};

const MINUTE_US: i64 = 60_000_000;
const START_US: i64 = 1_700_000_000_000_000;

/// Stream of payments between 40 wallets and 30 shops, with room for attacks.
struct Stream {
    engine: Engine,
    position: u64,
    minute: i64,
    random: u64,
    anomalies: Vec<Anomaly>,
}

impl Stream {
    fn new() -> Self {
        let parameters = Parameters {
            warmup_days: 5.0,
            quiet_minutes: 0.0,
            ..Parameters::default()
        };
        Self {
            engine: Engine::new(parameters).unwrap(),
            position: 0,
            minute: 0,
            random: 7,
            anomalies: Vec::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) % below
    }

    fn take(&mut self, signal: Observation<'_>) -> Option<Anomaly> {
        self.position += 1;
        let at_us = START_US + self.minute * MINUTE_US;
        let signal = Observation {
            position: self.position,
            event_us: at_us,
            stored_us: at_us,
            event_type: "transaction",
            asset: "USDC",
            ..signal
        };
        let anomaly = self.engine.observe(&signal).unwrap();
        self.anomalies.extend(anomaly.clone());
        anomaly
    }

    fn pay(&mut self, wallet: &str, counterparty: &str, amount: u64) -> Option<Anomaly> {
        let amount = amount.to_string();
        self.take(Observation {
            wallet,
            counterparty,
            amount: Amount::parse(&amount).ok(),
            ..Observation::new(0, 0)
        })
    }

    /// Lets usual payments pass, one in three minutes.
    fn pass(&mut self, payments: u64) {
        for _ in 0..payments {
            self.minute += 3;
            let wallet = self.random(40);
            let shop = (wallet + self.random(6)) % 30;
            let amount = 1_000 + wallet * 100 + self.random(1_500);
            self.pay(&format!("wallet{wallet}"), &format!("shop{shop}"), amount);
        }
    }

    fn quiet() -> Self {
        let mut stream = Self::new();
        stream.pass(8_000);
        stream
    }
}

fn has(anomaly: &Anomaly, detector: Detector) -> bool {
    anomaly
        .shares
        .iter()
        .any(|share| share.detector == detector)
}

#[test]
fn a_drained_wallet_is_found_at_once() {
    let mut stream = Stream::quiet();
    let anomaly = stream.pay("wallet3", "thief", 900_000).unwrap();
    assert!(has(&anomaly, Detector::Amount) && has(&anomaly, Detector::NewCounterparty));
    assert!(
        anomaly.figure.observed > 100.0 * anomaly.figure.expected,
        "{anomaly:?}"
    );
    assert_eq!(anomaly.id.position, stream.position);
    assert!(anomaly.evidence.len() > 1, "{anomaly:?}");
}

#[test]
fn a_dormant_wallet_that_wakes_in_a_burst_is_found() {
    let mut stream = Stream::quiet();
    for _ in 0..20 {
        stream.minute += 30;
        stream.pay("sleeper", "shop1", 2_000);
    }
    stream.pass(8_000);
    let found = (0..12).filter_map(|_| {
        stream.minute += 1;
        stream.pay("sleeper", "shop1", 2_500)
    });
    let found: Vec<Anomaly> = found.collect();
    assert!(
        found.iter().any(|one| has(one, Detector::Burst)),
        "{found:?}"
    );
}

#[test]
fn a_wallet_that_pays_many_new_addresses_is_found() {
    let mut stream = Stream::quiet();
    let found = (0..40).filter_map(|number| stream.pay("wallet5", &format!("mule{number}"), 2_900));
    let found: Vec<Anomaly> = found.collect();
    assert!(found.iter().any(|one| has(one, Detector::Fan)), "{found:?}");
}

#[test]
fn a_peeling_chain_is_found() {
    let mut stream = Stream::quiet();
    let mut found = Vec::new();
    for link in 0..12 {
        stream.minute += 10;
        let amount = 3_000 - link * 40;
        found.extend(stream.pay(&format!("peel{link}"), &format!("peel{}", link + 1), amount));
        stream.pass(20);
    }
    let own = |one: &&Anomaly| has(one, Detector::Peeling);
    let found = found.iter().find(own).unwrap();
    assert!(found.evidence.len() > 1, "{found:?}");
}

#[test]
fn a_balance_that_drops_is_found() {
    let mut stream = Stream::quiet();
    let mut last = None;
    for day in 0..30_u64 {
        stream.pass(100);
        for wallet in 0..10_u64 {
            let is_drained = day == 29 && wallet == 4;
            let whole = 1_000_000 + (day * 7 + wallet * 13) % 10 * 10_000;
            let balance = if is_drained { 10 } else { whole }.to_string();
            let balances = [("ETH", Amount::parse(&balance).unwrap())];
            let wallet = format!("holder{wallet}");
            let snapshot = Observation {
                wallet: &wallet,
                balances: &balances,
                ..Observation::new(0, 0)
            };
            let anomaly = stream.take(snapshot);
            last = if is_drained { anomaly } else { last };
        }
    }
    let anomaly = last.unwrap();
    assert_eq!(anomaly.detector, Detector::Balance, "{anomaly:?}");
}

#[test]
fn a_value_far_from_its_level_is_found() {
    let mut stream = Stream::quiet();
    let mut last = None;
    for point in 0..1_500_u64 {
        stream.minute += 5;
        let noise = stream.random(100) as f64;
        let number = if point == 1_499 {
            5_000.0
        } else {
            500.0 + noise
        };
        let value = Value {
            series: "gas_price",
            number,
        };
        last = stream.take(Observation {
            value: Some(value),
            ..Observation::new(0, 0)
        });
    }
    assert_eq!(last.unwrap().detector, Detector::Level);
}

/// `cargo test` checks a debug build against the hash, and `cargo test --release` a release build.
/// A change of the rules changes it, and raises `ENGINE_VERSION`.
#[test]
fn anomalies_are_the_same_bit_for_bit_in_every_build() {
    let mut stream = Stream::quiet();
    stream.pay("wallet3", "thief", 900_000);
    stream.pass(10_000);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for anomaly in &stream.anomalies {
        let figure = anomaly.figure;
        let numbers = [
            anomaly.score,
            anomaly.tail,
            figure.expected,
            figure.observed,
        ];
        let numbers = numbers.map(f64::to_bits);
        for number in numbers.into_iter().chain([anomaly.id.position]) {
            hash = (hash ^ number)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(17);
        }
    }
    let expected = (16, "7d5ba34caaddb620".to_owned());
    assert_eq!((stream.anomalies.len(), format!("{hash:016x}")), expected);
}
