//! Records that the claims log rejects.

use tracing::{info, warn};

use crate::error::ClaimsLogError;
use crate::log_lines::RECORD_NOT_APPENDED;

/// Records that the log has rejected since it accepted the last one.
#[derive(Debug, Default)]
pub(crate) struct AppendRefusals {
    last: Option<String>,
    tries: u64,
}

impl AppendRefusals {
    /// Notes an answer. Logs the first rejection, the second, the fourth and so on, and the next
    /// accepted record.
    pub fn note(&mut self, refusal: Option<&ClaimsLogError>) {
        let Some(error) = refusal else {
            if self.last.take().is_some() {
                info!(tries = self.tries, "The claims log accepts records again");
            }
            self.tries = 0;
            return;
        };
        self.tries += 1;
        if self.tries.is_power_of_two() {
            warn!(%error, tries = self.tries, "{RECORD_NOT_APPENDED}");
        }
        self.last = Some(error.to_string());
    }

    /// Returns the reason for the last rejection; `None` once a record was accepted.
    pub fn last(&self) -> Option<String> {
        self.last.clone()
    }
}
