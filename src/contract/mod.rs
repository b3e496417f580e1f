//! Contracts: what the payload of each type of event has to be.
//!
//! `transaction`, `risk_event` and `wallet_snapshot` have theirs here (`payload`); for any other
//! type the operator may put a JSON Schema into a folder. A type without a contract is not
//! looked at.

mod chain;
mod fault;
mod field;
mod mode;
mod payload;
mod schema;
pub mod typescript;

pub use fault::{Fault, Faults};
pub use mode::{Mode, Modes};
pub use schema::Contract;

use std::path::Path;
use std::sync::Arc;

/// Every contract there is, by event type.
#[derive(Debug, Clone, Default)]
pub struct Schemas(Arc<[Contract]>);

impl Schemas {
    /// Those that this program brings, and those in a folder, each in a file
    /// `<event_type>.json`; an empty name is no folder.
    ///
    /// # Errors
    /// All that is wrong with the folder and its files.
    pub fn read(folder: &str) -> Result<Self, String> {
        let mut contracts = schema::built_in()?;
        if !folder.is_empty() {
            for contract in schema::in_folder(Path::new(folder))? {
                if contracts
                    .iter()
                    .any(|other| other.event_type == contract.event_type)
                {
                    return Err(format!(
                        "must have no {}.json, since that type's contract is built in",
                        contract.event_type
                    ));
                }
                contracts.push(contract);
            }
        }
        contracts.sort_by(|one, two| one.event_type.cmp(&two.event_type));
        Ok(Self(contracts.into()))
    }

    /// Each contract, in the order of event types.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.0.iter()
    }

    /// The place of a type's contract.
    fn find(&self, event_type: &str) -> Option<usize> {
        let by_type = |contract: &Contract| contract.event_type.as_str().cmp(event_type);
        self.0.binary_search_by(by_type).ok()
    }
}

impl PartialEq for Schemas {
    fn eq(&self, other: &Self) -> bool {
        let documents = |schemas: &Self| -> Vec<_> {
            let each = schemas.0.iter();
            each.map(|contract| (contract.event_type.clone(), contract.document.clone()))
                .collect()
        };
        documents(self) == documents(other)
    }
}

/// The contracts, and what is made of payloads that do not keep them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contracts {
    schemas: Schemas,
    modes: Modes,
    /// The mode of each contract, in the schemas' order; empty when none is looked at.
    in_force: Vec<Mode>,
}

impl Contracts {
    /// The contracts with their modes.
    pub fn new(schemas: Schemas, modes: Modes) -> Self {
        let mut in_force: Vec<Mode> = schemas
            .iter()
            .map(|contract| modes.of(&contract.event_type))
            .collect();
        if in_force.iter().all(|mode| *mode == Mode::Off) {
            in_force.clear();
        }
        Self {
            schemas,
            modes,
            in_force,
        }
    }

    /// Whether every event type that has a mode of its own has a contract too.
    pub fn knows_all_named(&self) -> bool {
        let mut named = self.modes.named();
        named.all(|event_type| self.schemas.find(event_type).is_some())
    }

    /// Each contract with its mode, in the order of event types.
    pub fn iter(&self) -> impl Iterator<Item = (&Contract, Mode)> {
        let contracts = self.schemas.iter();
        contracts.map(|contract| (contract, self.modes.of(&contract.event_type)))
    }

    /// What of a payload, a JSON object, breaks its type's contract.
    ///
    /// # Errors
    /// The same, where the payload must not land.
    pub fn check(&self, event_type: &str, payload: &str) -> Result<Faults, Faults> {
        if self.in_force.is_empty() {
            return Ok(Faults::default());
        }
        let Some(at) = self.schemas.find(event_type) else {
            return Ok(Faults::default());
        };
        let mode = self.in_force[at];
        if mode == Mode::Off {
            return Ok(Faults::default());
        }
        let faults = self.schemas.0[at].faults(payload);
        match mode {
            Mode::Enforce if !faults.is_empty() => Err(faults),
            _ => Ok(faults),
        }
    }
}

#[cfg(test)]
mod tests;
