use bytes::Bytes;
use claims::{Cause, Position};
use jetstream::{AckPolicy, Incoming, PulledMessage};
use signal::{Invalid, Signal};
use store::Block;
use store::row::RowOrigin;
use uuid::Uuid;

use crate::pipeline::crossing::in_flight::{InFlight, Lease};
use crate::pipeline::crossing::source::SignalSource;
use crate::settings::Settings;

use super::*;

async fn delivery(stream_seq: u64) -> Delivery {
    Delivery {
        message: PulledMessage::of_parts(b"signals.t", None, b""),
        position: Position {
            stream_created_ns: 0,
            stream_seq,
            published_ns: 0,
        },
        attempt: 1,
        given_up: None,
        lease: Lease::none(),
    }
}

fn sequences(batch: &ClosedBatch) -> Vec<u64> {
    let deliveries = batch.messages();
    deliveries
        .map(|delivery| delivery.position.stream_seq)
        .collect()
}

/// Bytes that are sent for the batch, which have each payload somewhere.
fn sent(batch: &ClosedBatch) -> String {
    let mut rows = Rows::default();
    for index in 0..batch.rows.len() {
        rows.push_from(&batch.rows, index);
    }
    let chunks: Vec<Bytes> = Block::new(Uuid::nil(), rows).chunks(0, 1 << 20).collect();
    String::from_utf8_lossy(&chunks.concat()).into_owned()
}

async fn push(batch: &mut OpenBatch, payload: &str, stream_seq: u64) {
    let delivery = delivery(stream_seq).await;
    let pushed = batch.push(delivery, |delivery, rows| {
        let body = Bytes::from(format!(
            r#"{{"event_time":0,"source_id":"s","payload":{payload},"severity":1,"trace_id":"3b32aef0-228a-5924-a25d-9362bb7bf65d"}}"#
        ));
        let limits = Settings::default().validation;
        let subject = delivery.subject();
        let signal = Signal::parse(&body, &subject, &limits).unwrap();
        let origin = RowOrigin {
            subject: &subject,
            stream_created_ns: 0,
            stream_seq,
            published_ns: 0,
        };
        rows.push(&signal, &body, &origin);
        Ok(())
    });
    assert!(pushed);
}

fn bounds(max_rows: usize, max_bytes: usize) -> BatchBounds {
    BatchBounds {
        max_rows,
        max_bytes,
    }
}

#[tokio::test]
async fn a_batch_is_full_with_its_last_row() {
    let mut batch = OpenBatch::new(bounds(3, 10_000));
    push(&mut batch, "{}", 1).await;
    push(&mut batch, "{}", 2).await;
    assert_eq!(batch.full(), None);
    push(&mut batch, "{}", 3).await;
    assert_eq!(batch.full(), Some(CloseReason::MaxRows));
    let closed = batch.close(CloseReason::MaxRows).unwrap();
    assert_eq!(closed.close_reason, CloseReason::MaxRows);
    assert_eq!(closed.rows.len(), 3);
    assert_eq!(sequences(&closed), [1, 2, 3]);
    assert!(batch.is_empty());
}

#[tokio::test]
async fn a_batch_is_full_when_it_reaches_its_bytes() {
    let mut batch = OpenBatch::new(bounds(100, 1_000));
    push(&mut batch, "{}", 1).await;
    assert_eq!(batch.full(), None);
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(900));
    push(&mut batch, &long, 2).await;
    assert_eq!(batch.full(), Some(CloseReason::MaxBytes));
    let closed = batch.close(CloseReason::MaxBytes).unwrap();
    assert!(closed.rows.bytes() > 1_000);
}

#[tokio::test]
async fn an_empty_batch_does_not_close() {
    let mut batch = OpenBatch::new(bounds(3, 10_000));
    assert!(batch.close(CloseReason::Wait).is_none());
    push(&mut batch, "{}", 1).await;
    let closed = batch.close(CloseReason::Drain).unwrap();
    assert_eq!(closed.close_reason, CloseReason::Drain);
    assert!(batch.close(CloseReason::Drain).is_none());
}

#[tokio::test]
async fn what_has_no_row_is_in_the_batch_with_its_reason() {
    let mut batch = OpenBatch::new(bounds(3, 10_000));
    let reason = Reason::Invalid(Invalid::NotJson("no".to_owned()));
    assert!(!batch.push(delivery(1).await, |_, _| Err(reason.clone())));
    let closed = batch.close(CloseReason::Drain).unwrap();
    assert_eq!((closed.len(), closed.rows.len()), (1, 0));
    assert_eq!(closed.rejects[0].reason, reason);
}

#[tokio::test]
async fn a_split_keeps_each_row_with_its_message() {
    let mut batch = OpenBatch::new(bounds(5, 10_000));
    for (stream_seq, payload) in [(1, r#"{"one":1}"#), (2, "{}"), (3, r#"{"three":3}"#)] {
        push(&mut batch, payload, stream_seq).await;
    }
    for stream_seq in [4, 5] {
        let reason = Reason::Claimed(claims::Cause::Refused);
        batch.push(delivery(stream_seq).await, |_, _| Err(reason));
    }
    let closed = batch.close(CloseReason::Drain).unwrap();
    let is_even = |delivery: &Delivery| delivery.position.stream_seq.is_multiple_of(2);
    let (even, odd) = closed.split(is_even);
    assert_eq!(sequences(&even), [2, 4]);
    assert!(!sent(&even).contains("one") && !sent(&even).contains("three"));
    assert_eq!(sequences(&odd), [1, 3, 5]);
    let both = sent(&odd);
    assert!(both.find("one").unwrap() < both.find("three").unwrap());
    let (none, mut all) = odd.split(|_| false);
    assert!(none.is_empty());
    assert_eq!(sequences(&all), [1, 3, 5]);
    all.refuse(&Reason::Claimed(claims::Cause::Refused));
    assert_eq!((all.rows.len(), all.rejects.len()), (0, 3));
}

/// A small message that is held for longer than its neighbors would pin their block.
#[tokio::test]
async fn a_rejected_message_leaves_the_block_that_it_was_read_into() {
    let mut incoming = Incoming::new(1_000);
    let read = b"HMSG signals.t 1 re.ply 12 20\r\nNATS/1.0\r\n\r\n12345678\r\n".repeat(2);
    incoming.buffer().extend_from_slice(&read);
    let mut messages = Vec::new();
    incoming.parse(&mut messages, &mut Vec::new()).unwrap();
    let message = messages.remove(0).1;
    assert_eq!(message.block().len(), read.len());
    let mut room = InFlight::new(1, 100).reserve(1, 100).await;
    let source = SignalSource::test(1, AckPolicy::Explicit);
    let rejected = Delivery {
        lease: room.holding(Some(source), 1).lease(b"re.ply", 100),
        message,
        ..delivery(1).await
    };
    let mut batch = OpenBatch::new(bounds(10, 1_000));
    assert!(!batch.push(rejected, |_, _| Err(Reason::Claimed(Cause::Invalid))));
    let closed = batch.close(CloseReason::Drain).unwrap();
    let kept = &closed.rejects[0].delivery;
    assert_eq!((kept.subject().len(), kept.body().len()), (9, 8));
    assert_eq!(kept.headers().unwrap().bytes().len(), 12);
    assert_eq!(kept.message.block().len(), 9 + 12 + 8);
}
