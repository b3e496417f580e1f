//! Memory stays fixed, however much there is and however slow ClickHouse is.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::{Context, stream};
use bytes::Bytes;
use testkit::nats::STREAM;
use testkit::signals::signal;
use testkit::slow_link::SlowLink;
use testkit::{Daemon, Stack, setting};
use tokio::time::sleep;

/// Memory of its own that a daemon with default settings may have at once.
const PEAK_MIB_MAX: u64 = 256;
const MIB: usize = 1024 * 1024;
/// Size of the stream, so that the test needs little disk: a full one refuses messages
/// until others are acked.
const STREAM_BYTES_MAX: usize = 512 * MIB;
/// Publishes without an answer yet.
const PENDING_MAX: usize = 64;
/// Sizes of payloads, in turn: small ones, and up to what NATS takes.
const PAYLOAD_BYTES: [usize; 6] = [300, 1_000_000, 20_000, 64_000, 500_000, 150_000];

/// State of ClickHouse while a part of the signals is published.
#[derive(Debug, Clone, Copy)]
enum Weather {
    Fine,
    /// A batch takes seconds.
    Slow,
    Away,
}

/// JSON that LZ4 does not make small and ClickHouse's ZSTD does: what repeats lies further
/// apart than LZ4 looks back.
fn pattern() -> String {
    const PERIOD: usize = 100_000;
    let mut state = 1_u64;
    let mut text = String::with_capacity(2 * MIB);
    for _ in 0..PERIOD {
        // The generator of Knuth's MMIX, of which the upper bits are random enough.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(b'0' + (state >> 58) as u8));
    }
    // Quotes and backslashes would end or escape the text.
    text.replace('\\', "/").repeat(2 * MIB / PERIOD)
}

/// Publishes signals; waits while the stream is full.
struct Publisher {
    nats: Context,
    pattern: String,
    pending: VecDeque<(Bytes, PublishAckFuture)>,
    published: u64,
}

impl Publisher {
    async fn new(stack: &Stack) -> Self {
        Self {
            nats: stack.nats.jetstream().await,
            pattern: pattern(),
            pending: VecDeque::new(),
            published: 0,
        }
    }

    /// Publishes so many bytes.
    async fn publish(&mut self, bytes: usize) {
        let mut rest = bytes;
        while rest > 0 {
            let body = self.body();
            rest = rest.saturating_sub(body.len());
            self.send(body).await;
            while self.pending.len() >= PENDING_MAX {
                self.confirm().await;
            }
        }
    }

    fn body(&self) -> Bytes {
        let size = PAYLOAD_BYTES[self.published as usize % PAYLOAD_BYTES.len()];
        let mut signal = signal(self.published);
        signal["payload"] = serde_json::json!({"text": self.pattern[..size]});
        signal.to_string().into()
    }

    async fn send(&mut self, body: Bytes) {
        let ack = self.nats.publish("signals.load", body.clone()).await;
        self.pending.push_back((body, ack.unwrap()));
        self.published += 1;
    }

    /// Waits for the oldest answer, and publishes again what was refused.
    async fn confirm(&mut self) {
        let Some((body, ack)) = self.pending.pop_front() else {
            return;
        };
        if let Err(error) = ack.await {
            assert_ne!(error.kind(), PublishErrorKind::StreamNotFound, "{error}");
            // The stream is full.
            sleep(Duration::from_millis(20)).await;
            self.published -= 1;
            self.send(body).await;
        }
    }

    async fn confirm_all(&mut self) {
        while !self.pending.is_empty() {
            self.confirm().await;
        }
    }
}

/// A stream that removes what is acked.
async fn create_small_stream(stack: &Stack) {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["signals.>".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        discard: stream::DiscardPolicy::New,
        max_bytes: STREAM_BYTES_MAX as i64,
        ..Default::default()
    };
    let nats = stack.nats.jetstream().await;
    nats.create_stream(config).await.unwrap();
}

/// Feeds so many bytes through a daemon with default settings while ClickHouse is fine, slow,
/// away and fine again. Returns the most that was resident, in MiB.
async fn feed(bytes: usize) -> u64 {
    let stack = Stack::start().await;
    create_small_stream(&stack).await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let mut daemon: Daemon = stack
        .daemon(&[setting!(clickhouse.url = &link.url())])
        .await;
    let mut publisher = Publisher::new(&stack).await;
    for (weather, bytes) in [
        (Weather::Fine, bytes / 4),
        (Weather::Slow, bytes / 8),
        (Weather::Away, bytes / 8),
        (Weather::Fine, bytes / 2),
    ] {
        let mend = match weather {
            Weather::Fine => Duration::ZERO,
            Weather::Slow | Weather::Away => Duration::from_secs(8),
        };
        match weather {
            Weather::Fine => link.mend(),
            Weather::Slow => link.slow(3 * MIB as u64),
            Weather::Away => link.cut(),
        }
        // The stream may be full by then: ClickHouse has to come back for the rest.
        let mended = async {
            sleep(mend).await;
            link.mend();
        };
        tokio::join!(publisher.publish(bytes), mended);
        let peak = daemon.peak_mib();
        println!(
            "{weather:?}: {} signals, {peak} MiB at most",
            publisher.published
        );
    }
    publisher.confirm_all().await;
    stack.settled().await;
    let peak = daemon.peak_mib();
    let published = publisher.published;
    assert_eq!(stack.clickhouse.counts().await, (published, published));
    assert!(daemon.stop().await.success());
    println!("{published} signals, {peak} MiB at most");
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_gib_through_a_slow_clickhouse_stays_below_256_mib() {
    let peak = feed(512 * MIB).await;
    assert!(peak < PEAK_MIB_MAX, "{peak} MiB were resident");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `make memory` runs it"]
async fn five_gib_through_a_slow_clickhouse_stay_below_256_mib() {
    let peak = feed(5 * 1024 * MIB).await;
    assert!(peak < PEAK_MIB_MAX, "{peak} MiB were resident");
}
