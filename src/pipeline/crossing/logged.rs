//! The proof that messages are done by the log, whichever process completed their claims.

use claims::{Position, Standing};

use crate::pipeline::crossing::in_flight::Lease;
use crate::pipeline::port::claims_log::ClaimsLog;

/// Messages that the log says are done. Made only where the log was asked.
#[derive(Debug)]
pub struct Logged {
    leases: Vec<Lease>,
}

impl Logged {
    /// Asks the log for messages: those that are done, and those that wait for it. The others are
    /// given back.
    pub fn of(
        process: &dyn ClaimsLog,
        messages: Vec<(Position, Lease)>,
    ) -> (Self, Vec<(Position, Lease)>) {
        let (mut leases, mut open) = (Vec::new(), Vec::new());
        process.with(|instance| {
            for (position, lease) in messages {
                match instance.standing(position) {
                    Standing::Done => leases.push(lease),
                    // Other: the log is checked, or the stream went back and is rewound first.
                    Standing::Claimed(_) | Standing::Other => open.push((position, lease)),
                    // Delivered again, it is claimed by itself.
                    Standing::Free | Standing::Doubtful => {}
                }
            }
        });
        (Self { leases }, open)
    }

    /// Messages.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// The leases, to be settled.
    pub fn into_leases(self) -> Vec<Lease> {
        self.leases
    }
}
