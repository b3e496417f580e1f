//! Faults of parameters, all at once.

use core::fmt;

/// Fault of one parameter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParameterFault {
    /// A number is outside its range.
    #[error("{name} is {value}; set it from {low} to {high}")]
    OutOfRange {
        /// Name of the parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Least value.
        low: f64,
        /// Greatest value.
        high: f64,
    },
    /// The short window is not shorter than the long one.
    #[error("fast_hours is not below slow_days; a rate is compared with that of a longer time")]
    WindowsCross,
}

/// Every fault of a set of parameters; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterFaults(Vec<ParameterFault>);

impl ParameterFaults {
    /// Succeeds if there is no fault.
    pub(super) fn none_of(faults: Vec<ParameterFault>) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self(faults))
        }
    }

    /// The faults, in the order of the parameters.
    pub fn iter(&self) -> impl Iterator<Item = &ParameterFault> {
        self.0.iter()
    }
}

impl fmt::Display for ParameterFaults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ParameterFaults {}
