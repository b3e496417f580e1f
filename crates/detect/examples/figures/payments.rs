//! Simulated payments with labels: precision and recall under four kinds of feedback.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use risksignal_detect::{
    About, Amount, Detector, Engine, Feedback, Observation, Parameters, Verdict,
};

use crate::Failure;

const DAY_US: i64 = 86_400_000_000;
/// Time from a signal to the feedback about it.
const DELAY_US: i64 = 7 * DAY_US;
/// Days that are not scored.
const UNSCORED: i64 = 14;

/// A payment with its label.
struct Payment {
    at_us: i64,
    wallet: String,
    counterparty: String,
    asset: String,
    amount: String,
    /// Scenario of the fraud; 0 if it is none.
    scenario: u8,
}

impl Payment {
    fn observation(&self, position: u64) -> Observation<'_> {
        Observation {
            event_type: "transaction",
            wallet: &self.wallet,
            counterparty: &self.counterparty,
            asset: &self.asset,
            amount: Amount::parse(&self.amount).ok(),
            ..Observation::new(position, self.at_us)
        }
    }
}

/// Signals that feedback is given about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Labels {
    None,
    Alerted,
    /// Every second fraud, by a hash of its number, and all others.
    Half,
    All,
}

/// Result of a run.
#[derive(Default)]
struct Figures {
    alerts: u32,
    hits: u32,
    frauds: u32,
    most_a_day: f64,
    by: BTreeMap<(Detector, u8), u32>,
}

fn lines(path: &Path) -> Result<impl Iterator<Item = std::io::Result<String>>, Failure> {
    Ok(BufReader::new(GzDecoder::new(File::open(path)?)).lines())
}

fn read(folder: &Path, name: &str) -> Result<Vec<Payment>, Failure> {
    let mut scenarios = HashMap::new();
    for line in lines(&folder.join(format!("{name}.labels.csv.gz")))? {
        let line = line?;
        let mut fields = line.split(',');
        if let (Some(trace), Some(_), Some(scenario)) =
            (fields.next(), fields.next(), fields.next())
        {
            scenarios.insert(trace.to_owned(), scenario.parse().unwrap_or(0_u8));
        }
    }
    let mut payments = Vec::new();
    for line in lines(&folder.join(format!("{name}.signals.ndjson.gz")))? {
        let signal: serde_json::Value = serde_json::from_str(&line?)?;
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let payload = &signal["payload"];
        let trace = text(&signal["trace_id"]);
        payments.push(Payment {
            at_us: micros(&text(&signal["event_time"])).ok_or("no event time")?,
            wallet: text(&signal["wallet_address"]),
            counterparty: text(&payload["to_address"]),
            asset: text(&payload["currency"]),
            amount: text(&payload["amount"]),
            scenario: *scenarios.get(&trace).ok_or("no label")?,
        });
    }
    Ok(payments)
}

/// Microseconds since the epoch of a time such as `2018-04-01T00:10:34.000Z`.
pub fn micros(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days from civil: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
    Some(days * DAY_US + seconds * 1_000_000 + number(20..23)? * 1_000)
}

fn run(payments: &[Payment], labels: Labels, parameters: &Parameters) -> Result<Figures, Failure> {
    let mut engine = Engine::new(parameters.clone())?;
    let mut result = Figures::default();
    let mut waiting = VecDeque::new();
    let mut position = 0;
    let first_day = payments.first().map_or(0, |payment| payment.at_us / DAY_US);
    let mut days = BTreeMap::<i64, (u32, u32)>::new();
    for (index, payment) in payments.iter().enumerate() {
        while let Some(due) = waiting.front().copied() {
            let past: &Payment = &payments[due];
            if past.at_us + DELAY_US > payment.at_us {
                break;
            }
            waiting.pop_front();
            position += 1;
            let is_fraud = past.scenario > 0;
            engine.feedback(&Feedback {
                position,
                stored_us: payment.at_us,
                origin: "analyst",
                verdict: if is_fraud {
                    Verdict::Confirmed
                } else {
                    Verdict::Cleared
                },
                about: About::Signal(&past.observation(0)),
            })?;
        }
        position += 1;
        let anomaly = engine.observe(&payment.observation(position))?;
        let is_fraud = payment.scenario > 0;
        let day = payment.at_us / DAY_US;
        if day - first_day >= UNSCORED {
            result.frauds += u32::from(is_fraud);
            let of_day = days.entry(day).or_default();
            of_day.0 += 1;
            if let Some(anomaly) = &anomaly {
                of_day.1 += 1;
                result.alerts += 1;
                result.hits += u32::from(is_fraud);
                *result
                    .by
                    .entry((anomaly.detector, payment.scenario))
                    .or_default() += 1;
            }
        }
        let is_half = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0;
        let gets = match labels {
            Labels::None => false,
            Labels::Alerted => anomaly.is_some(),
            Labels::Half => !is_fraud || is_half,
            Labels::All => true,
        };
        if gets {
            waiting.push_back(index);
        }
    }
    let share = |(signals, alerts): &(u32, u32)| f64::from(*alerts) / f64::from(*signals);
    result.most_a_day = days.values().map(share).fold(0.0, f64::max);
    Ok(result)
}

/// Prints precision and recall of every set of payments in a folder.
pub fn print(folder: &Path, changes: &[(String, f64)]) -> Result<(), Failure> {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".signals.ndjson.gz").map(str::to_owned));
    }
    names.sort();
    let parameters = changed(changes)?;
    for name in names {
        let payments = read(folder, &name)?;
        println!("{name}: {} payments", payments.len());
        for labels in [Labels::None, Labels::Alerted, Labels::Half, Labels::All] {
            let result = run(&payments, labels, &parameters)?;
            let (hits, alerts) = (f64::from(result.hits), f64::from(result.alerts));
            println!(
                "{:8} precision {:.3} recall {:.3} alerts {} most of a day {:.2} %",
                format!("{labels:?}").to_lowercase(),
                hits / alerts.max(1.0),
                hits / f64::from(result.frauds),
                result.alerts,
                result.most_a_day * 100.0,
            );
            if changes.iter().any(|(name, _)| name == "detail") {
                println!("         {:?}", result.by);
            }
        }
    }
    Ok(())
}

fn changed(changes: &[(String, f64)]) -> Result<Parameters, Failure> {
    let mut parameters = Parameters {
        origins: vec!["analyst".to_owned()],
        ..Parameters::default()
    };
    let mut values = serde_json::to_value(&parameters)?;
    for (name, value) in changes {
        if let Some(off) = name.strip_prefix("off.") {
            let detector = serde_json::from_value(off.into())?;
            parameters.off.push(detector);
        } else if values.get(name).is_some() {
            values[name] = (*value).into();
        }
    }
    let off = parameters.off.clone();
    parameters = serde_json::from_value(values)?;
    parameters.off = off;
    Ok(parameters)
}
