//! CPU of a signal, size and time of a snapshot, at a million wallets.

use std::fmt::Write as _;

use risksignal_detect::{Amount, Engine, Observation, Parameters};

use crate::Failure;

const WALLETS: u64 = 1_000_000;
const SIGNALS: u64 = 4_000_000;

/// Number without an order, from a position.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number ^ (number >> 29)
}

/// Texts of one signal, as decoding leaves them: in the cache.
#[derive(Default)]
struct Texts {
    wallet: String,
    counterparty: String,
    amount: String,
}

impl Texts {
    fn write(&mut self, position: u64, wallet: u64, wallets: u64) -> std::fmt::Result {
        let number = mixed(position);
        // A wallet pays three others again and again.
        let counterparty = mixed(wallet * 8 + number % 3) % wallets;
        for (text, number) in [
            (&mut self.wallet, wallet),
            (&mut self.counterparty, counterparty),
        ] {
            text.clear();
            write!(text, "0x{:016x}{number:024x}", mixed(number))?;
        }
        self.amount.clear();
        write!(self.amount, "{}", (number >> 20) % 1_000_000_000)
    }

    fn signal(&self, position: u64) -> Observation<'_> {
        Observation {
            event_type: "transaction",
            wallet: &self.wallet,
            counterparty: &self.counterparty,
            asset: "USDC",
            amount: Amount::parse(&self.amount).ok(),
            ..Observation::new(position, 1_700_000_000_000_000 + position as i64 * 100_000)
        }
    }
}

/// CPU time of this process so far, in seconds: unlike wall time, others on the machine do not
/// count in it.
fn cpu_s() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().ok_or("no time")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// Prints the cost.
pub fn print(wallets: Option<f64>) -> Result<(), Failure> {
    let wallets = wallets.map_or(WALLETS, |wallets| wallets.max(1.0) as u64);
    let mut texts = Texts::default();
    let mut engine = Engine::new(Parameters::default())?;
    let mut anomalies = 0_u64;
    for position in 1..=wallets {
        texts.write(position, position - 1, wallets)?;
        engine.observe(&texts.signal(position))?;
    }
    let begin = cpu_s()?;
    for position in 1..=SIGNALS {
        texts.write(position, mixed(position) % wallets, wallets)?;
        std::hint::black_box(texts.signal(position));
    }
    let made_us = (cpu_s()? - begin) * 1e6 / SIGNALS as f64;
    let begin = cpu_s()?;
    for position in wallets + 1..=wallets + SIGNALS {
        texts.write(position, mixed(position) % wallets, wallets)?;
        anomalies += u64::from(engine.observe(&texts.signal(position))?.is_some());
    }
    let signal_us = (cpu_s()? - begin) * 1e6 / SIGNALS as f64 - made_us;
    let counts = engine.counts();
    println!(
        "{} wallets, {} counterparties: {signal_us:.2} us of CPU a signal, beside {made_us:.2} us to make it; {anomalies} anomalies",
        counts.wallets, counts.counterparties,
    );
    let begin = cpu_s()?;
    let bytes = engine.snapshot()?;
    let written_s = cpu_s()? - begin;
    let begin = cpu_s()?;
    let restored = Engine::restore(&bytes)?;
    let read_s = cpu_s()? - begin;
    println!(
        "snapshot of {:.0} MB: written in {written_s:.2} s, read in {read_s:.2} s, at position {}",
        bytes.len() as f64 / 1e6,
        restored.position(),
    );
    Ok(())
}
