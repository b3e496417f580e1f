//! Reasons for which a message cannot land.

use claims::Cause;
use signal::Invalid;
use store::StoreError;

/// Reason for which a message cannot land.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is no valid signal.
    #[error(transparent)]
    Invalid(Invalid),
    /// ClickHouse refuses one of its values. Displayed with ClickHouse's words, for the letter
    /// alone.
    #[error("{}", .0.words)]
    Refused(Refusal),
    /// JetStream delivered it as often as it may, and nobody acked it.
    #[error(
        "it was delivered {deliveries} times (consumer.max_deliver), then tried alone {tries} times, and never acked; it may be what ends the process"
    )]
    MaxDeliveries {
        /// Number of its deliveries.
        deliveries: u64,
        /// Number of earlier deliveries of its advisory.
        tries: u64,
    },
    /// Another process claimed it as a dead letter; its words are not known here.
    #[error(
        "another instance of the daemon found that it cannot land ({0:?}), and stopped before it had stored the letter"
    )]
    Claimed(Cause),
}

/// A refusal of a value by ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code, its name and what to do.
    pub public: String,
    /// ClickHouse's words, which may quote the value.
    pub words: String,
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        Self {
            public: error.to_string(),
            words: error.with_words(),
        }
    }
}

impl Reason {
    /// The reason in words for logs, spans and pages, which quote no value and no name of a field
    /// that a sender made up.
    pub fn public(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.public.clone(),
            Self::Invalid(Invalid::BreaksContract(faults)) => faults.public(),
            _ => self.to_string(),
        }
    }

    /// The cause that the claims log has for it.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Invalid(_) => Cause::Invalid,
            Self::Refused(_) => Cause::Refused,
            Self::MaxDeliveries { .. } => Cause::MaxDeliveries,
            Self::Claimed(cause) => *cause,
        }
    }

    /// The code that a letter has in its header.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(invalid) => invalid.code(),
            Self::Refused(_) | Self::Claimed(Cause::Refused) => "refused_by_clickhouse",
            Self::MaxDeliveries { .. } | Self::Claimed(Cause::MaxDeliveries) => "max_deliveries",
            Self::Claimed(Cause::Invalid) => "invalid",
        }
    }
}
