//! Generated signals as a source.

use async_nats::subject::Subject;
use bytes::BytesMut;
use clock::now_ms;
use synthetic::{Generator, SignalKind};

use super::source::{
    MessageId, MessageOrigin, MessageSource, Outgoing, OutgoingBatch, SourceError, keep,
};

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
        let subject = |kind: SignalKind| format!("{prefix}.{}", kind.event_type()).into();
        Self {
            generator,
            transaction: subject(SignalKind::Transaction),
            risk_event: subject(SignalKind::RiskEvent),
            wallet_snapshot: subject(SignalKind::WalletSnapshot),
            made: 0,
            limit,
            arena: BytesMut::new(),
        }
    }
}

impl MessageSource for Synthetic {
    fn fill(&mut self, batch: &mut OutgoingBatch, messages: usize) -> Result<bool, SourceError> {
        self.generator.advance_to(now_ms());
        for _ in 0..messages {
            if self.limit.is_some_and(|limit| self.made >= limit) {
                return Ok(false);
            }
            let produced = self.generator.produce()?;
            self.made += 1;
            let subject = match produced.kind {
                SignalKind::Transaction => &self.transaction,
                SignalKind::RiskEvent => &self.risk_event,
                SignalKind::WalletSnapshot => &self.wallet_snapshot,
            };
            batch.messages.push(Outgoing {
                subject: subject.clone(),
                id: MessageId::Uuid(produced.trace_id),
                body: keep(&mut self.arena, produced.body),
                origin: MessageOrigin::Generated(self.made),
                invalid: produced.defect.is_some(),
            });
        }
        Ok(true)
    }
}
