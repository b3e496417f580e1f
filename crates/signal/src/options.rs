//! Limits of a signal.

use option_kit::{KIB, Kind, MIB, Rule, memory, number, options};

use crate::contract::{Contracts, Modes, Schemas};

options! {
    /// Limits of a signal.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Limits in "validation", rules RULES {
        /// Largest message in bytes.
        max_signal_bytes: usize = "1MiB", memory(KIB..=64 * MIB), live;
        /// Longest source_id in characters.
        source_id_max_chars: usize = "128", chars(), live;
        /// Longest event_type in characters.
        event_type_max_chars: usize = "128", chars(), live;
        /// Longest user_id in characters.
        user_id_max_chars: usize = "256", chars(), live;
        /// Longest wallet_address in characters.
        wallet_address_max_chars: usize = "256", chars(), live;
        /// Highest severity; the lowest is 0.
        severity_max: u8 = "5", number(0..=255), live;
        /// Treatment of payloads that break their type's contract: off (not checked), warn
        /// (counted, and noted in the row) or enforce (dead letters). Event types may differ: warn,
        /// transaction=enforce, risk_event=off.
        payload: Modes = "warn", Kind::text(Modes::parse), live;
        /// Folder of JSON Schemas (2020-12). Each file <event_type>.json is the contract of that
        /// event type.
        schemas: Schemas = "", Kind::text(Schemas::read), live;
    }
}

const RULES: &[Rule<Limits>] = &[Rule {
    keys: &["validation.payload", "validation.schemas"],
    holds: |s| s.contracts().knows_all_named(),
    words: "a named event type needs a contract, <event_type>.json in that folder; those of transaction, risk_event and wallet_snapshot are built in",
}];

impl Limits {
    /// Returns the contracts of payloads with their modes.
    pub fn contracts(&self) -> Contracts<'_> {
        Contracts::new(&self.schemas, &self.payload)
    }
}

fn chars() -> Kind<usize> {
    number(1..=65_536)
}
