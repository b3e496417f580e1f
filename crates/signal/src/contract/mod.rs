//! Contracts of payloads, by event type.
//!
//! `transaction`, `risk_event` and `wallet_snapshot` have built-in contracts (`payload`). For any
//! other type the operator may put a JSON Schema into a folder. The payload of a type without a
//! contract is not checked.

mod budget;
mod chain;
mod fault;
mod field;
mod mode;
mod payload;
mod schema;
mod token;
pub mod typescript;

pub use fault::{PayloadFault, PayloadFaults};
pub use mode::{Mode, Modes};
pub use schema::Contract;

use crate::scan::Members;
use std::path::Path;
use std::sync::Arc;

/// Every contract, by event type.
#[derive(Debug, Clone, Default)]
pub struct Schemas(Arc<[Contract]>);

impl Schemas {
    /// Reads the built-in contracts and those of a folder, each in a file `<event_type>.json`. An
    /// empty name means no folder.
    ///
    /// # Errors
    /// Returns every fault of the folder and its files.
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

    /// Iterates over the contracts, in the order of event types.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.0.iter()
    }

    /// Finds the index of a type's contract.
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

/// Contracts with the operator's modes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contracts<'a> {
    schemas: &'a Schemas,
    modes: &'a Modes,
}

impl<'a> Contracts<'a> {
    /// Combines contracts with their modes.
    pub fn new(schemas: &'a Schemas, modes: &'a Modes) -> Self {
        Self { schemas, modes }
    }

    /// Returns true when every event type with its own mode has a contract.
    pub fn knows_all_named(self) -> bool {
        let mut named = self.modes.named();
        named.all(|event_type| self.schemas.find(event_type).is_some())
    }

    /// Iterates over the contracts with their modes, in the order of event types.
    pub fn iter(self) -> impl Iterator<Item = (&'a Contract, Mode)> {
        let contracts = self.schemas.iter();
        contracts.map(move |contract| (contract, self.modes.get(&contract.event_type)))
    }

    /// Returns the faults of a payload, a JSON object, under its type's contract.
    ///
    /// # Errors
    /// Returns the faults if the mode is [`Mode::Enforce`].
    pub(crate) fn check(
        self,
        event_type: &str,
        members: &Members<'_>,
    ) -> Result<PayloadFaults, PayloadFaults> {
        let mode = self.modes.get(event_type);
        if mode == Mode::Off {
            return Ok(PayloadFaults::default());
        }
        let Some(at) = self.schemas.find(event_type) else {
            return Ok(PayloadFaults::default());
        };
        let faults = self.schemas.0[at].faults(members);
        match mode {
            Mode::Enforce if !faults.is_empty() => Err(faults),
            _ => Ok(faults),
        }
    }
}

#[cfg(test)]
mod tests;
