//! Rows that ClickHouse refuses: the row's fault, or the table's for a while.

use testkit::nats::{DEAD_LETTERS, header};
use testkit::ops::{ANY_PORT, Ops};
use testkit::signals::signal;
use testkit::{Stack, eventually};

use crate::takeover::usual;

async fn publish(stack: &Stack, source: &str, number: u64) {
    let mut one = signal(number);
    one["source_id"] = source.into();
    let nats = stack.nats.jetstream().await;
    let sent = nats.publish("signals.risk_event", one.to_string().into());
    sent.await.unwrap().await.unwrap();
}

/// Waits for so many refusals in all.
async fn refusals(ops: &Ops, count: f64) {
    eventually("rows are refused", async || {
        let refused = ops.metric("risksignal_insert_retries_total").await;
        (refused? >= count).then_some(())
    })
    .await;
}

/// A constraint that is wrong for a while refuses good rows, and one that is to blame.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_waited_while_the_table_was_at_fault_are_tried_once_more_before_they_are_blamed()
{
    let stack = Stack::start().await;
    stack.refuse_source_seven().await;
    stack.nats.create_stream().await;
    let daemon = stack.daemon(&usual(&[ANY_PORT])).await;
    let ops = Ops::of(&daemon).await;
    publish(&stack, "good", 0).await;
    stack.settled().await;
    let alter = "ALTER TABLE raw_signals";
    let add = format!("{alter} ADD CONSTRAINT nothing CHECK severity > 9");
    stack.clickhouse.execute(&add).await;
    for (number, source) in (1..).zip(["good", "good", "seven", "good", "good"]) {
        publish(&stack, source, number).await;
        refusals(&ops, number as f64).await;
    }
    let drop = format!("{alter} DROP CONSTRAINT nothing");
    stack.clickhouse.execute(&drop).await;
    publish(&stack, "good", 6).await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let errors: Vec<_> = letters
        .iter()
        .map(|letter| header(letter, "Risksignal-Error"))
        .collect();
    assert_eq!(stack.clickhouse.counts().await, (6, 6), "{errors:#?}");
    assert!(
        errors.len() == 1 && errors[0].contains("no_seven"),
        "{errors:#?}"
    );
}
