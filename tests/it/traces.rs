//! The spans of batches and dead letters, as a receiver of OTLP gets them.

use std::collections::BTreeSet;

use async_nats::HeaderMap;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use risksignal::pipeline::log_lines::INSERTS_PROBE;
use testkit::otlp::{Receiver, Span};
use testkit::signals::signal;
use testkit::{Stack, setting};

const ROOT: &str = "process SIGNALS";
const INSERT: &str = "INSERT raw_signals";
const LOOK_UP: &str = "SELECT raw_signals";

/// Trace and span number `number` as a `traceparent` has them.
fn publisher(number: u64) -> String {
    format!("{:032x}-{:016x}", u128::from(number) << 64 | 7, number)
}

/// Publishes a body under these headers.
async fn publish(stack: &Stack, body: String, headers: &[(&str, &str)]) {
    let nats = stack.nats.jetstream().await;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    let publish = nats.publish_with_headers("signals.risk_event", map, body.into());
    publish.await.unwrap().await.unwrap();
}

/// Every span below another one.
fn below<'s>(spans: &'s [Span], parent: &Span) -> Vec<&'s Span> {
    let parent = (&parent.trace, &parent.id);
    let spans = spans.iter();
    spans
        .filter(|span| (&span.trace, &span.parent) == parent)
        .collect()
}

/// The one span of a name among these.
fn the<'s>(name: &str, spans: &[&'s Span]) -> &'s Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    let (Some(span), None) = (named.next(), named.next()) else {
        panic!("not one {name} in {spans:#?}");
    };
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_have_spans_that_link_to_the_publishers() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    stack.nats.create_stream().await;
    let sampled = |number| format!("00-{}-01", publisher(number));
    for number in 0..60 {
        // Each publisher's span published twice, Go's clients with a capital.
        let value = sampled(1 + number / 2);
        let name = ["traceparent", "Traceparent"][number as usize % 2];
        publish(&stack, signal(number).to_string(), &[(name, &value)]).await;
    }
    for (number, malformed) in (60..).zip([
        "".to_owned(),
        "00-abc-def-01".to_owned(),
        "no traceparent at all \u{e9}".to_owned(),
        "-".repeat(50_000),
        format!("00-{}-00", publisher(99)),
    ]) {
        let headers = [("traceparent", malformed.as_str()), ("tracestate", "==,,")];
        publish(&stack, signal(number).to_string(), &headers).await;
    }
    let mut daemon = stack
        .daemon(&[
            setting!(otel.endpoint = &receiver.url()),
            setting!(otel.resource_attributes = "deployment.environment.name=a%20test"),
        ])
        .await;
    stack.settled().await;
    // What a stop finds in the queue is sent.
    assert!(daemon.stop().await.success());
    assert_eq!(stack.clickhouse.counts().await, (65, 65));

    let spans = receiver.spans();
    let roots = receiver.named(ROOT);
    let messages = |root: &Span| root.number("messaging.batch.message_count");
    assert_eq!(roots.iter().map(messages).sum::<u64>(), 65);
    let mut linked = BTreeSet::new();
    for root in &roots {
        let links: BTreeSet<_> = root.links.iter().cloned().collect();
        assert_eq!(links.len(), root.links.len(), "twice in {root:?}");
        linked.extend(links);
        assert_batch(&stack, root, &spans);
    }
    assert_eq!(linked, (1..=30).map(publisher).collect());
    for request in receiver.requests() {
        for (name, value) in [
            ("service.name", "risksignal-ingest"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("telemetry.sdk.language", "rust"),
            ("deployment.environment.name", "a test"),
        ] {
            assert_eq!(request.resource[name], value, "{name}");
        }
        assert_eq!(request.resource["service.instance.id"].len(), 36);
    }
}

/// The spans of a batch that landed at once.
fn assert_batch(stack: &Stack, root: &Span, spans: &[Span]) {
    let children = below(spans, root);
    let (collect, insert) = (the("collect", &children), the(INSERT, &children));
    let settle = the("settle SIGNALS", &children);
    assert_eq!(children.len(), 3, "{children:#?}");
    assert_eq!(root.parent, "");
    assert_eq!(collect.start, root.start);
    assert!(collect.end <= insert.start && insert.end <= settle.start);
    assert!(root.start < root.end && settle.end <= root.end);
    let port = stack.clickhouse.port().to_string();
    let messages = root.attribute("messaging.batch.message_count");
    for (span, kind, attributes) in [
        (
            root,
            SpanKind::Consumer,
            &[
                ("messaging.system", "nats"),
                ("messaging.destination.name", "SIGNALS"),
                ("messaging.consumer.group.name", "signals-to-clickhouse"),
                ("messaging.operation.type", "process"),
            ][..],
        ),
        (collect, SpanKind::Internal, &[]),
        (
            insert,
            SpanKind::Client,
            &[
                ("db.system.name", "clickhouse"),
                ("db.namespace", "risksignal"),
                ("db.collection.name", "raw_signals"),
                ("db.operation.name", "INSERT"),
                ("server.address", "127.0.0.1"),
                ("server.port", &port),
                ("risksignal.insert.rows", messages),
                ("risksignal.insert.tries", "1"),
            ],
        ),
        (
            settle,
            SpanKind::Client,
            &[
                ("messaging.system", "nats"),
                ("messaging.operation.type", "settle"),
                ("messaging.batch.message_count", messages),
            ],
        ),
    ] {
        assert_eq!(span.kind, kind, "{span:?}");
        assert_eq!(span.status, StatusCode::Unset, "{span:?}");
        for (name, value) in attributes {
            assert_eq!(span.attribute(name), *value, "{name} of {span:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_bounded_and_what_is_beyond_is_counted() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    stack.nats.create_stream().await;
    for number in 0..40 {
        let value = format!("00-{}-01", publisher(1 + number));
        publish(
            &stack,
            signal(number).to_string(),
            &[("traceparent", &value)],
        )
        .await;
    }
    let mut daemon = stack
        .daemon(&[
            setting!(otel.endpoint = &receiver.url()),
            setting!(otel.max_links = "3"),
        ])
        .await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    let roots = receiver.named(ROOT);
    for root in &roots {
        let messages = root.number("messaging.batch.message_count");
        assert_eq!(root.links.len() as u64, messages.min(3), "{root:?}");
        assert_eq!(u64::from(root.dropped_links), messages.saturating_sub(3));
    }
    assert!(roots.iter().any(|root| root.dropped_links > 0), "{roots:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_while_clickhouse_is_away_are_events_of_the_insert() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    let mut daemon = stack
        .daemon(&[
            setting!(otel.endpoint = &receiver.url()),
            setting!(clickhouse.retry_max = "500ms"),
        ])
        .await;
    stack.clickhouse.kill();
    stack.produce(&["--count=50", "--seed=1"]).await;
    daemon.logged(INSERTS_PROBE).await;
    stack.clickhouse.restart().await;
    stack.settled().await;
    assert!(daemon.stop().await.success());

    let spans = receiver.spans();
    let inserts = receiver.named(INSERT);
    let tried = inserts.iter().filter(|insert| !insert.events.is_empty());
    let tried: Vec<_> = tried.collect();
    assert!(!tried.is_empty());
    for insert in tried {
        for (name, attributes) in &insert.events {
            assert_eq!(name, "exception");
            assert_eq!(attributes["exception.type"], "network", "{insert:?}");
            let message = &attributes["exception.message"];
            assert!(message.contains("Connection refused"), "{message}");
        }
        let tries = insert.number("risksignal.insert.tries");
        assert_eq!(tries, insert.events.len() as u64 + 1);
        assert_eq!(insert.status, StatusCode::Unset, "it landed in the end");
        // After a failure, what may be there is looked up, and an OK is no proof by itself.
        let mut look_ups = below(&spans, insert);
        look_ups.retain(|span| span.name == LOOK_UP);
        look_ups.sort_by_key(|span| span.start);
        let rows = insert.attribute("risksignal.insert.rows");
        let found: Vec<_> = look_ups
            .iter()
            .map(|look_up| {
                assert_eq!(look_up.attribute("db.operation.name"), "SELECT");
                assert_eq!(look_up.attribute("risksignal.look_up.rows"), rows);
                look_up.attribute("db.response.returned_rows")
            })
            .collect();
        assert_eq!(found, ["0", rows]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_land_has_a_span_with_its_reason_and_its_publisher() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    stack.refuse_source_seven().await;
    stack.nats.create_stream().await;
    let mut refused = signal(2);
    refused["source_id"] = "seven".into();
    for (number, body) in [
        (1, signal(1).to_string()),
        (2, refused.to_string()),
        (3, "no signal".to_owned()),
    ] {
        let value = format!("00-{}-01", publisher(number));
        publish(&stack, body, &[("traceparent", &value)]).await;
    }
    let mut daemon = stack
        .daemon(&[setting!(otel.endpoint = &receiver.url())])
        .await;
    let rows = 1 + stack.settled_beside_others().await;
    assert!(daemon.stop().await.success());
    assert_eq!(stack.clickhouse.counts().await, (rows, rows));

    let letters: Vec<_> = receiver.named(ROOT);
    let letter = |reason: &str| {
        let letters = letters.iter().filter(|span| {
            span.attributes
                .contains_key("risksignal.dead_letter.sequence")
                && span.attribute("error.type") == reason
        });
        the(ROOT, &letters.collect::<Vec<_>>())
    };
    for (reason, number, words) in [
        ("not_json", 3, "JSON"),
        ("refused_by_clickhouse", 2, "VIOLATED_CONSTRAINT"),
    ] {
        let span = letter(reason);
        assert_eq!(span.links, [publisher(number)], "{span:?}");
        assert_eq!(span.status, StatusCode::Error);
        assert!(span.message.contains(words), "{span:?}");
        assert_eq!(span.attribute("risksignal.subject"), "signals.risk_event");
    }

    // The batch says so too, and so does the insert that was refused.
    let batches = letters.iter().filter(|span| {
        span.attributes
            .contains_key("messaging.batch.message_count")
    });
    let failed: Vec<_> = batches
        .filter(|span| span.status == StatusCode::Error)
        .collect();
    let batch = the(ROOT, &failed);
    assert_eq!(batch.attribute("error.type"), "refused_by_clickhouse");
    let spans = receiver.spans();
    let inserts = below(&spans, batch);
    let refusals = inserts
        .iter()
        .filter(|span| span.name == INSERT && span.status == StatusCode::Error);
    let refusals: Vec<_> = refusals.collect();
    assert!(!refusals.is_empty(), "{inserts:#?}");
    for insert in refusals {
        assert_eq!(insert.attribute("error.type"), "469", "{insert:?}");
        assert_eq!(insert.attribute("db.response.status_code"), "469");
        let message = &insert.message;
        assert!(message.contains("VIOLATED_CONSTRAINT"), "{insert:?}");
        assert!(!message.contains("no_seven"), "{insert:?}");
    }
}
