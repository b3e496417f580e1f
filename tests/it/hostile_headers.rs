//! Header blocks on which the client library panics.

use crate::harness::Stack;
use crate::harness::raw_nats::RawNats;
use crate::harness::signals::signal;

/// EX_SOFTWARE of sysexits.h.
const EXIT_DEFECT: i32 = 70;

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_the_process_and_leaves_none_that_does_nothing() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let mut raw = RawNats::connect(&stack.nats.url());
    let body = signal(1).to_string();
    // async-nats 0.51 panics at a carriage return in a value, in the task of the connection.
    let block = b"NATS/1.0\r\na: b\rc\r\n\r\n";
    raw.publish("signals.x", Some(block), body.as_bytes())
        .unwrap();
    let mut daemon = stack.daemon_not_waited_for(&[]);
    assert_eq!(daemon.ended().await.code(), Some(EXIT_DEFECT));
}
