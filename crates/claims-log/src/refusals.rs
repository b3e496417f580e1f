//! Records that the claims log does not take.

use tracing::{info, warn};

use crate::error::ClaimsLogError;

/// Records that the log has refused since it took the last one.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    last: Option<String>,
    tries: u64,
}

impl Refusals {
    /// Takes note of an answer. A line goes to the log for the first refusal, the second, the
    /// fourth and so on, and one for the next record that was taken.
    pub fn note(&mut self, refusal: Option<&ClaimsLogError>) {
        let Some(error) = refusal else {
            if self.last.take().is_some() {
                info!(tries = self.tries, "The claims log takes records again");
            }
            self.tries = 0;
            return;
        };
        self.tries += 1;
        if self.tries.is_power_of_two() {
            warn!(%error, tries = self.tries, "Record not appended to the claims log; trying again");
        }
        self.last = Some(error.to_string());
    }

    /// The reason for the last refusal; `None` once a record was taken.
    pub fn last(&self) -> Option<String> {
        self.last.clone()
    }
}
