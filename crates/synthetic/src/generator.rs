//! Generates one signal after the other.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use signal::Limits;
use uuid::Uuid;

use super::chain::AddressFormat;
use super::clock::Clock;
use super::payload::{self, Decimal, Payload, TransactionIds};
use super::text;
use super::wallets::Wallets;
use super::{Defect, Mix, SignalKind, SyntheticError};

/// Number of recent transactions that a risk event may refer to.
const RECENT_TRANSACTIONS: usize = 64;
/// Share of risk events that refer to a transaction.
const RELATED_TRANSACTION: f64 = 0.7;

const RISK_ENGINES: [&str; 3] = ["risk-engine-eu-1", "risk-engine-eu-2", "risk-engine-us-1"];
const BAD_TRACE_IDS: [&str; 3] = ["", "not-a-uuid", "f81d4fae-7dec-11d0-a765-00a0c91e6bfg"];
const BAD_TIMES: [&str; 4] = ["", "yesterday", "2026-02-30T12:00:00.000Z", "12:00:00"];

/// Content and rate of the generated signals.
#[derive(Debug, Clone)]
pub struct GeneratorOptions {
    /// Seed. Equal seeds give equal trace ids and content.
    pub seed: u64,
    /// Time of the first signal, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Mean time between two signals, in microseconds.
    pub mean_gap_us: u64,
    /// Kinds of signals.
    pub mix: Mix,
    /// Share of bad signals, from 0 to 1.
    pub invalid_share: f64,
    /// Rules that good signals satisfy and bad ones break.
    pub limits: Limits,
    /// Number of wallets.
    pub wallets: usize,
    /// Unevenness of their activity: the exponent of Zipf's law.
    pub skew: f64,
}

impl GeneratorOptions {
    /// Generates only good signals of every kind.
    pub fn new(seed: u64, start_ms: i64, limits: Limits) -> Self {
        Self {
            seed,
            start_ms,
            mean_gap_us: 5,
            mix: Mix::Mixed,
            invalid_share: 0.0,
            limits,
            wallets: 4_000,
            skew: 1.1,
        }
    }
}

/// One signal.
#[derive(Debug, Clone, Copy)]
pub struct Produced<'a> {
    /// Kind of the signal.
    pub kind: SignalKind,
    /// Identifier, even if the text of a bad signal has another one or none.
    pub trace_id: Uuid,
    /// Defect; `None` for a good signal.
    pub defect: Option<Defect>,
    /// JSON text.
    pub body: &'a [u8],
}

/// Generates signals without end.
#[derive(Debug)]
pub struct Generator {
    rng: ChaCha8Rng,
    clock: Clock,
    wallets: Wallets,
    mix: Mix,
    invalid_share: f64,
    severity_max: i64,
    long_source_id: String,
    long_event_type: String,
    scratch: Scratch,
    body: Vec<u8>,
}

/// Buffers that are reused for each signal.
#[derive(Debug, Default)]
struct Scratch {
    /// Newest hashes; the oldest is overwritten next.
    recent: Vec<(AddressFormat, String)>,
    next: usize,
    reasons: Vec<&'static str>,
    balances: Vec<(&'static str, Decimal)>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    event_time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<&'a str>,
    event_type: &'a str,
    payload: Payload<'a>,
    severity: Severity,
    trace_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    wallet_address: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Severity {
    Number(i64),
    Text(&'static str),
}

impl Generator {
    /// Creates a generator at its first signal.
    ///
    /// # Errors
    /// Returns [`SyntheticError::Population`] if there are no wallets or the skew is negative.
    pub fn new(options: &GeneratorOptions) -> Result<Self, SyntheticError> {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let wallets = Wallets::new(options.wallets, options.skew, &mut rng)?;
        Ok(Self {
            rng,
            clock: Clock::new(options.start_ms, options.mean_gap_us),
            wallets,
            mix: options.mix,
            invalid_share: options.invalid_share.clamp(0.0, 1.0),
            severity_max: i64::from(options.limits.severity_max),
            long_source_id: "s".repeat(options.limits.source_id_max_chars.saturating_add(1)),
            long_event_type: "t".repeat(options.limits.event_type_max_chars.saturating_add(1)),
            scratch: Scratch::default(),
            body: Vec::with_capacity(1024),
        })
    }

    /// Moves the time of the next signal to `now_ms` since the epoch, unless it is already past.
    /// The time affects block numbers only, not the random draws.
    pub fn advance_to(&mut self, now_ms: i64) {
        self.clock.advance_to(now_ms);
    }

    /// Returns the next signal, in the order of time.
    ///
    /// # Errors
    /// Returns [`SyntheticError::Json`] if the signal cannot be written, which memory does not
    /// cause.
    pub fn produce(&mut self) -> Result<Produced<'_>, SyntheticError> {
        let rng = &mut self.rng;
        self.clock.step(rng);
        let time_ms = self.clock.now_ms();
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let trace_id = uuid::Builder::from_random_bytes(id).into_uuid();
        let mut text = Uuid::encode_buffer();
        let trace_text: &str = trace_id.hyphenated().encode_lower(&mut text);
        let defect = (self.invalid_share > 0.0 && rng.random_bool(self.invalid_share))
            .then(|| Defect::ALL[rng.random_range(0..Defect::ALL.len())]);
        let kind = self.mix.draw(rng);
        let wallet = self.wallets.draw(rng);
        let nonce = self.wallets.next_nonce(wallet);
        let (source_id, payload, severity) = content(
            &self.wallets,
            wallet,
            kind,
            nonce,
            time_ms,
            &mut self.scratch,
            rng,
        );
        let wallet = self.wallets.get(wallet);
        let mut envelope = Envelope {
            event_time: self.clock.rfc3339(),
            source_id: Some(source_id),
            event_type: kind.event_type(),
            payload,
            severity: Severity::Number(severity.min(self.severity_max)),
            trace_id: trace_text,
            user_id: wallet.user_id.as_deref(),
            wallet_address: &wallet.address,
        };
        match defect {
            Some(Defect::SourceIdTooLong) => envelope.source_id = Some(&self.long_source_id),
            Some(Defect::EventTypeTooLong) => envelope.event_type = &self.long_event_type,
            Some(defect) => spoil_field(&mut envelope, defect, self.severity_max, rng),
            None => {}
        }
        self.body.clear();
        serde_json::to_writer(&mut self.body, &envelope)?;
        match defect {
            // The closing brace is the last byte; without it the text is no JSON.
            Some(Defect::NotJson) => self.body.truncate(rng.random_range(1..self.body.len())),
            Some(Defect::NotUtf8) => spoil_text(&mut self.body),
            _ => {}
        }
        Ok(Produced {
            kind,
            trace_id,
            defect,
            body: &self.body,
        })
    }
}

/// Returns the source, the payload and its severity.
fn content<'a>(
    wallets: &'a Wallets,
    index: usize,
    kind: SignalKind,
    nonce: u64,
    time_ms: i64,
    scratch: &'a mut Scratch,
    rng: &mut ChaCha8Rng,
) -> (&'static str, Payload<'a>, i64) {
    let wallet = wallets.get(index);
    let chain = wallet.chain;
    match kind {
        SignalKind::Transaction => {
            let ids = TransactionIds {
                hash: scratch.next_hash(wallet.chain.family, rng),
                from: &wallet.address,
                to: &wallets.counterparty(index, rng).address,
                nonce,
            };
            let (transaction, severity) = payload::transaction(chain, ids, time_ms, rng);
            (chain.source_id, Payload::Transaction(transaction), severity)
        }
        SignalKind::RiskEvent => {
            let tx_hash = rng
                .random_bool(RELATED_TRANSACTION)
                .then(|| recent_hash(&scratch.recent, chain.family, rng))
                .flatten();
            let (event, severity) = payload::risk_event(chain, tx_hash, &mut scratch.reasons, rng);
            let engine = RISK_ENGINES[index % RISK_ENGINES.len()];
            (engine, Payload::RiskEvent(event), severity)
        }
        SignalKind::WalletSnapshot => {
            let balances = &mut scratch.balances;
            let (snapshot, severity) =
                payload::wallet_snapshot(chain, nonce, time_ms, balances, rng);
            (
                "portfolio-indexer",
                Payload::WalletSnapshot(snapshot),
                severity,
            )
        }
    }
}

impl Scratch {
    fn next_hash(&mut self, family: AddressFormat, rng: &mut ChaCha8Rng) -> &str {
        if self.recent.len() < RECENT_TRANSACTIONS {
            self.next = self.recent.len();
            self.recent.push((family, String::new()));
        } else {
            self.next = (self.next + 1) % RECENT_TRANSACTIONS;
        }
        let (of, hash) = &mut self.recent[self.next];
        *of = family;
        text::transaction_id(family, rng, hash);
        hash
    }
}

/// Returns a recent hash of a chain's family, if there is one.
fn recent_hash<'a>(
    recent: &'a [(AddressFormat, String)],
    family: AddressFormat,
    rng: &mut ChaCha8Rng,
) -> Option<&'a str> {
    let last = recent.len().checked_sub(1)?;
    let (before, after) = recent.split_at(rng.random_range(0..=last));
    let mut around = after.iter().chain(before);
    let (_, hash) = around.find(|(of, _)| *of == family)?;
    Some(hash)
}

/// Applies the defects of one field; those of the whole text follow after it is written.
fn spoil_field(
    envelope: &mut Envelope<'_>,
    defect: Defect,
    severity_max: i64,
    rng: &mut ChaCha8Rng,
) {
    match defect {
        Defect::SourceIdMissing => envelope.source_id = None,
        Defect::SourceIdEmpty => envelope.source_id = Some(""),
        Defect::SeverityOutOfRange => {
            let above = severity_max + rng.random_range(1..100);
            let severity = if rng.random() { above } else { -1 };
            envelope.severity = Severity::Number(severity);
        }
        Defect::SeverityText => envelope.severity = Severity::Text("high"),
        Defect::TraceIdMalformed => {
            envelope.trace_id = BAD_TRACE_IDS[rng.random_range(0..BAD_TRACE_IDS.len())];
        }
        Defect::PayloadNotObject => envelope.payload = Payload::Text("see attachment"),
        Defect::EventTimeMalformed => {
            envelope.event_time = BAD_TIMES[rng.random_range(0..BAD_TIMES.len())];
        }
        Defect::NotJson | Defect::NotUtf8 | Defect::SourceIdTooLong | Defect::EventTypeTooLong => {}
    }
}

/// Puts a byte that is invalid in UTF-8 into the wallet's address, which comes last.
fn spoil_text(body: &mut [u8]) {
    // The signal ends in `x"}`.
    if let Some(position) = body.len().checked_sub(3) {
        body[position] = 0xff;
    }
}

#[cfg(test)]
mod tests;
