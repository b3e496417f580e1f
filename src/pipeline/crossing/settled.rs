//! Messages that may be acked, each with its proof.

use crate::pipeline::crossing::committed::CommittedBatch;
use crate::pipeline::crossing::in_flight::Lease;
use crate::pipeline::crossing::logged::Logged;
use crate::pipeline::crossing::rejected::DeadLettered;

/// Messages that may be acked.
#[derive(Debug)]
pub enum Settled {
    /// The rows are in ClickHouse.
    Committed(CommittedBatch),
    /// The dead letter is in its stream.
    DeadLettered(DeadLettered),
    /// The log says that they are done; somebody else has completed their claim.
    Logged(Logged),
    /// A message that was delivered too often has landed all the same, or is gone.
    NoLetterNeeded(NoLetterNeeded),
}

/// An advisory that needs neither a try nor a letter: the message has landed after all, or is
/// gone, by ClickHouse's or JetStream's word.
#[derive(Debug)]
pub struct NoLetterNeeded {
    lease: Lease,
}

impl NoLetterNeeded {
    /// Settles an advisory; `None` for the lease of a signal, which needs a proof that it is
    /// stored.
    pub fn of(lease: Lease) -> Option<Self> {
        lease.is_of_advisory().then_some(Self { lease })
    }

    /// The advisory's lease, to be settled.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}
