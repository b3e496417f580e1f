//! Generated signals as a source.

use async_nats::subject::Subject;
use bytes::BytesMut;

use super::source::{Batch, MessageId, Origin, Outgoing, Source, SourceError, keep};
use crate::synthetic::{Generator, Kind};
use crate::wall_clock::now_ms;

/// Generated signals.
pub(super) struct Synthetic {
    generator: Generator,
    transaction: Subject,
    risk_event: Subject,
    wallet_snapshot: Subject,
    made: u64,
    limit: Option<u64>,
    arena: BytesMut,
}

impl Synthetic {
    pub(super) fn new(generator: Generator, prefix: &str, limit: Option<u64>) -> Self {
        let subject = |kind: Kind| format!("{prefix}.{}", kind.event_type()).into();
        Self {
            generator,
            transaction: subject(Kind::Transaction),
            risk_event: subject(Kind::RiskEvent),
            wallet_snapshot: subject(Kind::WalletSnapshot),
            made: 0,
            limit,
            arena: BytesMut::new(),
        }
    }
}

impl Source for Synthetic {
    fn fill(&mut self, batch: &mut Batch, messages: usize) -> Result<bool, SourceError> {
        self.generator.advance_to(now_ms());
        for _ in 0..messages {
            if self.limit.is_some_and(|limit| self.made >= limit) {
                return Ok(false);
            }
            let produced = self.generator.produce()?;
            self.made += 1;
            let subject = match produced.kind {
                Kind::Transaction => &self.transaction,
                Kind::RiskEvent => &self.risk_event,
                Kind::WalletSnapshot => &self.wallet_snapshot,
            };
            batch.messages.push(Outgoing {
                subject: subject.clone(),
                id: MessageId::Uuid(produced.trace_id),
                body: keep(&mut self.arena, produced.body),
                origin: Origin::Generated(self.made),
                invalid: produced.defect.is_some(),
            });
        }
        Ok(true)
    }
}
