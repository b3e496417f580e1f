//! The claims log as the stages see it.

use std::fmt::Debug;
use std::sync::MutexGuard;

use async_trait::async_trait;
use claims::{Instance, Nonce, Record};
use claims_log::Process;

/// One process of the claims log: decides by the rules, appends and waits.
#[async_trait]
pub trait ClaimsLog: Debug + Send + Sync {
    /// The rules, with all that was read.
    fn rules(&self) -> MutexGuard<'_, Instance>;

    /// A random nonce for a record or a claim.
    fn nonce(&self) -> Nonce;

    /// The number of changes so far of what the rules decide by.
    fn changes(&self) -> u64;

    /// Has claims that are done appended soon.
    fn flush_soon(&self);

    /// Has the log checked again: the stream or the consumer was recreated.
    fn recheck(&self);

    /// Appends a record, and returns once it was read back.
    async fn append(&self, record: Record);

    /// Waits for a change after the first `since` ones.
    async fn changed(&self, since: u64);

    /// Waits until the log was read to its end and checked.
    async fn ready(&self);
}

impl dyn ClaimsLog + '_ {
    /// Has the rules decide, with all that was read.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Instance) -> T) -> T {
        decide(&mut self.rules())
    }
}

#[async_trait]
impl ClaimsLog for Process {
    fn rules(&self) -> MutexGuard<'_, Instance> {
        Self::rules(self)
    }

    fn nonce(&self) -> Nonce {
        Self::nonce(self)
    }

    fn changes(&self) -> u64 {
        Self::changes(self)
    }

    fn flush_soon(&self) {
        Self::flush_soon(self);
    }

    fn recheck(&self) {
        Self::recheck(self);
    }

    async fn append(&self, record: Record) {
        Self::append(self, record).await;
    }

    async fn changed(&self, since: u64) {
        Self::changed(self, since).await;
    }

    async fn ready(&self) {
        Self::ready(self).await;
    }
}
