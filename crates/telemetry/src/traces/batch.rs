//! The spans of one batch: from its first message's arrival until its last ack is sent.
//!
//! ```text
//! process SIGNALS                 links to the publishers' spans
//! ├─ collect                      until the batch closes
//! ├─ INSERT raw_signals           until it is committed; each try that failed is an event
//! │  └─ SELECT raw_signals        what is there already
//! └─ settle SIGNALS               the acks
//! ```
//!
//! A batch that is split, since some of its rows are refused, has one such insert and settle for
//! each part. Its messages that another process has claimed have none.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use jetstream::HeaderBlock;
use opentelemetry::trace::{Span as _, SpanId, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;
use store::{Receipt, StoreError};

use super::{Tracer, Traces, exception, fail, publisher, with};

/// The spans of the batch that is open.
#[derive(Debug)]
pub struct Collecting {
    tracer: Option<Arc<Tracer>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It has no messages.
    Empty,
    /// It was decided against: other batches are sampled.
    NotSampled,
    Open {
        span: Box<Span>,
        arrived: SystemTime,
        linked: HashSet<(TraceId, SpanId)>,
    },
}

impl Traces {
    /// For the stage that fills batches.
    pub fn collecting(&self) -> Collecting {
        Collecting {
            tracer: self.0.clone(),
            state: State::Empty,
        }
    }
}

impl Collecting {
    /// Adds a message to the open batch: its arrival and its headers.
    pub fn add(&mut self, arrived: SystemTime, headers: impl FnOnce() -> Option<HeaderBlock>) {
        let Some(tracer) = &self.tracer else { return };
        if matches!(self.state, State::Empty) {
            let span = tracer.root(arrived);
            self.state = match span.is_recording() {
                true => State::Open {
                    span: Box::new(span),
                    arrived,
                    linked: HashSet::new(),
                },
                false => State::NotSampled,
            };
        }
        let State::Open { span, linked, .. } = &mut self.state else {
            return;
        };
        let Some(publisher) = publisher::span(headers().as_ref()) else {
            return;
        };
        let ids = (publisher.trace_id(), publisher.span_id());
        if linked.contains(&ids) {
            return;
        }
        // The span counts what is beyond its bound, so the set need not grow.
        if linked.len() < tracer.max_links {
            linked.insert(ids);
        }
        span.add_link(publisher, Vec::new());
    }

    /// Closes the batch: its messages, its encoded bytes, and the reason.
    pub fn close(&mut self, messages: usize, bytes: usize, closed_by: &'static str) -> BatchTrace {
        let state = std::mem::replace(&mut self.state, State::Empty);
        let (
            Some(tracer),
            State::Open {
                mut span, arrived, ..
            },
        ) = (&self.tracer, state)
        else {
            return BatchTrace::default();
        };
        span.set_attributes([
            KeyValue::new("messaging.batch.message_count", count(messages)),
            KeyValue::new("risksignal.batch.bytes", count(bytes)),
            KeyValue::new("risksignal.batch.closed_by", closed_by),
        ]);
        let span = Context::new().with_span(*span);
        let collect = "collect".to_owned();
        let kind = SpanKind::Internal;
        // Ends as it is dropped.
        drop(tracer.child(&span, collect, kind, arrived, Vec::new()));
        BatchTrace(Some(Arc::new(Batch {
            tracer: Arc::clone(tracer),
            span,
            unsettled: AtomicUsize::new(messages),
        })))
    }
}

/// The spans of a batch that has closed, shared by its parts. The batch's own span ends with
/// the last of them.
#[derive(Debug, Clone, Default)]
pub struct BatchTrace(Option<Arc<Batch>>);

#[derive(Debug)]
struct Batch {
    tracer: Arc<Tracer>,
    span: Context,
    /// Messages with rows that are neither acked nor dead letters, nor left to others.
    unsettled: AtomicUsize,
}

impl BatchTrace {
    /// Starts the insert of a part.
    pub fn insert(&self) -> InsertTrace {
        InsertTrace(self.0.as_ref().map(|batch| Insert {
            span: batch.statement(&batch.span, "INSERT", SystemTime::now()),
            batch: Arc::clone(batch),
            failures: 0,
        }))
    }

    /// Starts the acks of a part.
    pub fn ack(&self, messages: usize) -> AckTrace {
        AckTrace(self.0.as_ref().map(|batch| {
            let tracer = &batch.tracer;
            let attributes = with(
                &tracer.messaging,
                [
                    KeyValue::new("messaging.operation.name", "settle"),
                    KeyValue::new("messaging.operation.type", "settle"),
                    KeyValue::new("messaging.batch.message_count", count(messages)),
                ],
            );
            let name = format!("settle {}", tracer.stream);
            let now = SystemTime::now();
            Ack {
                span: tracer.child(&batch.span, name, SpanKind::Client, now, attributes),
                batch: Arc::clone(batch),
                messages,
            }
        }))
    }

    /// Takes note of messages whose claim another process has.
    pub fn left_to_others(&self, messages: usize) {
        if let Some(batch) = &self.0 {
            batch.settled(messages);
        }
    }

    /// Records that some of its rows are refused, and their messages become dead letters.
    pub fn refused(&self, messages: usize) {
        let Some(batch) = &self.0 else { return };
        batch.settled(messages);
        let error = format!("ClickHouse refused {messages} of the rows");
        fail(&batch.span.span(), "refused_by_clickhouse", error);
    }
}

impl Batch {
    fn statement(&self, parent: &Context, operation: &'static str, start: SystemTime) -> Context {
        let tracer = &self.tracer;
        let name = format!("{operation} {}", tracer.table);
        let operation = [KeyValue::new("db.operation.name", operation)];
        let attributes = with(&tracer.store, operation);
        tracer.child(parent, name, SpanKind::Client, start, attributes)
    }

    fn settled(&self, messages: usize) {
        self.unsettled.fetch_sub(messages, Ordering::Relaxed);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let left = *self.unsettled.get_mut();
        if left > 0 {
            let error = format!("{left} messages were not acked and will be delivered again");
            fail(&self.span.span(), "not_acked", error);
        }
    }
}

/// The insert of a part of a batch, until it is committed or refused.
#[derive(Debug, Default)]
pub struct InsertTrace(Option<Insert>);

#[derive(Debug)]
struct Insert {
    batch: Arc<Batch>,
    span: Context,
    failures: usize,
}

impl InsertTrace {
    /// Records a look-up since `began`: the rows asked for and the rows found.
    pub fn looked_up(&self, began: SystemTime, asked: usize, found: usize) {
        let Some(insert) = &self.0 else { return };
        let look_up = insert.batch.statement(&insert.span, "SELECT", began);
        look_up.span().set_attributes([
            KeyValue::new("risksignal.look_up.rows", count(asked)),
            KeyValue::new("db.response.returned_rows", count(found)),
        ]);
    }

    /// Records a failed try.
    pub fn failed(&mut self, error: &StoreError) {
        let Some(insert) = &mut self.0 else { return };
        insert.failures += 1;
        let event = exception(error.kind(), error.to_string());
        insert.span.span().add_event("exception", event);
    }

    /// Ends the insert: every row is committed.
    pub fn committed(self, receipt: &Receipt) {
        let Some(insert) = &self.0 else { return };
        insert.span.span().set_attributes([
            KeyValue::new("risksignal.insert.rows", count(receipt.rows())),
            KeyValue::new("risksignal.insert.bytes", count(receipt.bytes())),
            KeyValue::new("risksignal.insert.tries", count(insert.failures + 1)),
        ]);
    }

    /// Records that ClickHouse refuses a value of at least one row.
    pub fn refused(&self, error: &StoreError) {
        let Some(insert) = &self.0 else { return };
        let span = insert.span.span();
        span.set_attribute(KeyValue::new("db.response.status_code", error.kind()));
        fail(&span, error.kind(), error.to_string());
    }
}

/// The acks of a part of a batch.
#[derive(Debug)]
pub struct AckTrace(Option<Ack>);

#[derive(Debug)]
struct Ack {
    batch: Arc<Batch>,
    span: Context,
    messages: usize,
}

impl AckTrace {
    /// Ends the acks: all are sent, or, where one ack covers all messages before it, they wait for
    /// nothing else.
    pub fn sent(self) {
        let Some(ack) = &self.0 else { return };
        ack.batch.settled(ack.messages);
        ack.span.span().end();
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
