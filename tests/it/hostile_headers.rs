//! Header blocks on which the client library panics.

use crate::harness::nats::DEAD_LETTERS;
use crate::harness::raw_nats::RawNats;
use crate::harness::signals::signal;
use crate::harness::{Stack, eventually};

/// EX_SOFTWARE of sysexits.h.
const EXIT_DEFECT: i32 = 70;

/// async-nats 0.51 panics at a carriage return in a value, in the task of the connection.
const PANICS: &[u8] = b"NATS/1.0\r\na: b\rc\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_the_process_each_time_until_the_signal_lands_without_its_headers() {
    let stack = Stack::start().await;
    let settings = [
        ("RISKSIGNAL__CONSUMER__ACK_WAIT", "2s"),
        ("RISKSIGNAL__CONSUMER__MAX_DELIVER", "3"),
        ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "500ms"),
        ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "1s"),
    ];
    stack.nats.create_stream().await;
    let mut raw = RawNats::connect(&stack.nats.url());
    let body = signal(1).to_string();
    raw.publish("signals.x", Some(PANICS), body.as_bytes())
        .unwrap();
    for _ in 0..3 {
        let mut daemon = stack.daemon_not_waited_for(&settings);
        assert_eq!(daemon.ended().await.code(), Some(EXIT_DEFECT));
    }
    let mut daemon = stack.daemon(&settings).await;
    eventually("it has landed", async || {
        (stack.clickhouse.counts().await == (1, 1)).then_some(())
    })
    .await;
    stack.settled().await;
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
    daemon.assert_running();
}
