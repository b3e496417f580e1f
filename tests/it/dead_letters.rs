//! The side exit: original bytes and headers, and the reason.

use async_nats::HeaderMap;
use risksignal::pipeline::log_lines::LETTER_NOT_PUBLISHED;
use testkit::nats::{DEAD_LETTERS, header};
use testkit::signals::signal;
use testkit::{Stack, eventually, setting};

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_has_the_original_bytes_and_headers_and_the_reason() {
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&[]).await;
    let nats = stack.nats.jetstream().await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "the-applications-own");
    headers.insert("traceparent", "00-abc-def-01");
    headers.insert("Risksignal-Reason", "forged");
    let mut broken = signal(1);
    broken["severity"] = 9.into();
    broken["source_id"] = "".into();
    let body = broken.to_string();
    let publish = nats.publish_with_headers("signals.risk_event", headers, body.clone().into());
    let sequence = publish.await.unwrap().await.unwrap().sequence;
    stack.settled().await;

    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let [letter] = letters.as_slice() else {
        panic!("{} letters", letters.len());
    };
    let letter_subject = letter.subject.as_str();
    assert!(letter_subject.starts_with("dlq.signals.risk_event."));
    assert_eq!(letter.payload, body);
    for (name, value) in [
        ("Risksignal-Reason", "breaks_rules"),
        (
            "Risksignal-Error",
            "source_id: must have 1 to 128 characters, has 0; severity: must be 0 to 5, is 9",
        ),
        ("Risksignal-Subject", "signals.risk_event"),
        ("Risksignal-Stream", "SIGNALS"),
        ("Risksignal-Sequence", &sequence.to_string()),
        ("Risksignal-Attempts", "1"),
        ("Risksignal-Version", env!("CARGO_PKG_VERSION")),
        ("traceparent", "00-abc-def-01"),
        ("Original-Nats-Msg-Id", "the-applications-own"),
        ("Original-Risksignal-Reason", "forged"),
    ] {
        assert_eq!(header(letter, name), value, "{name}");
    }
    let stream = nats.get_stream("SIGNALS").await.unwrap();
    let created = stream.cached_info().created.unix_timestamp_nanos();
    assert_eq!(
        header(letter, "Risksignal-Stream-Created"),
        created.to_string()
    );
    assert_eq!(
        header(letter, "Nats-Msg-Id"),
        format!("SIGNALS-{created}-{sequence}")
    );
    let published = header(letter, "Risksignal-Published");
    let first_seen = header(letter, "Risksignal-First-Seen");
    for time in [&published, &first_seen] {
        let ms = time.split_once('.').unwrap().1;
        assert!(
            time.starts_with("20") && ms.len() == 4 && ms.ends_with('Z'),
            "{time}"
        );
    }
    assert!(published <= first_seen, "{published} {first_seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_message_has_its_reason_and_stops_no_other() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    let nats = stack.nats.jetstream().await;
    let good = signal(1).to_string();
    let with_bom = format!("\u{feff}{good}");
    let cases: [(&[u8], &str); 6] = [
        (b"", "not_json"),
        (b"{\"event_time\":", "not_json"),
        (with_bom.as_bytes(), "not_json"),
        (b"{\"a\":\"\xff\"}", "not_utf8"),
        (b"[]", "breaks_rules"),
        (b"{}", "breaks_rules"),
    ];
    for (body, _) in cases {
        let body = body.to_vec().into();
        nats.publish("signals.x", body)
            .await
            .unwrap()
            .await
            .unwrap();
        let good = good.clone().into();
        nats.publish("signals.x", good)
            .await
            .unwrap()
            .await
            .unwrap();
    }
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (6, 6));
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let mut found: Vec<_> = letters
        .iter()
        .map(|letter| (letter.payload.to_vec(), header(letter, "Risksignal-Reason")))
        .collect();
    let mut expected: Vec<_> = cases
        .iter()
        .map(|(body, reason)| (body.to_vec(), reason.to_string()))
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    daemon.assert_running();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_larger_than_a_message_may_be_comes_in_parts() {
    let stack = Stack::start().await;
    let _daemon = stack
        .daemon(&[setting!(validation.max_signal_bytes = "64KiB")])
        .await;
    let nats = stack.nats.jetstream().await;
    let max = nats.client().max_payload();
    let body: Vec<u8> = (0..max).map(|at| (at % 251) as u8).collect();
    let publish = nats
        .publish("signals.x", body.clone().into())
        .await
        .unwrap();
    publish.await.unwrap();
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let parts: Vec<_> = letters
        .iter()
        .map(|part| header(part, "Risksignal-Part"))
        .collect();
    assert_eq!(parts, ["1/2", "2/2"]);
    assert_eq!(header(&letters[1], "Risksignal-First-Part"), "1");
    assert_eq!(header(&letters[0], "Risksignal-Reason"), "too_large");
    let whole: Vec<u8> = letters
        .iter()
        .flat_map(|part| part.payload.to_vec())
        .collect();
    assert!(whole == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_leave_no_room_for_the_letters_own_go_into_its_body() {
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&[]).await;
    let nats = stack.nats.jetstream().await;
    let mut headers = HeaderMap::new();
    // JetStream stores up to 64 KiB of headers.
    let large = "x".repeat(65_500);
    headers.insert("large", large.as_str());
    let body = "bad".repeat(300_000);
    let publish = nats.publish_with_headers("signals.x", headers, body.clone().into());
    publish.await.unwrap().await.unwrap();
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(header(&letters[0], "Risksignal-Reason"), "not_json");
    let whole: Vec<u8> = letters
        .iter()
        .flat_map(|part| part.payload.to_vec())
        .collect();
    let bytes: usize = header(&letters[0], "Risksignal-Header-Bytes")
        .parse()
        .unwrap();
    let (block, rest) = whole.split_at(bytes);
    let expected = format!("NATS/1.0\r\nlarge: {large}\r\n\r\n");
    assert!(block == expected.as_bytes());
    assert!(rest == body.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_not_acked_while_its_letter_cannot_be_published() {
    let stack = Stack::start().await;
    let daemon = stack
        .daemon(&[setting!(clickhouse.retry_max = "200ms")])
        .await;
    let nats = stack.nats.jetstream().await;
    let letters = nats.get_stream(DEAD_LETTERS).await.unwrap();
    let mut config = letters.cached_info().config.clone();
    config.max_message_size = 10;
    nats.update_stream(&config).await.unwrap();
    for body in ["bad".to_owned(), signal(1).to_string()] {
        let publish = nats.publish("signals.x", body.into()).await.unwrap();
        publish.await.unwrap();
    }
    daemon.logged(LETTER_NOT_PUBLISHED).await;
    eventually("the good one is acked, the bad one is not", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.num_pending == 0 && consumer.num_ack_pending == 1).then_some(())
    })
    .await;
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
    config.max_message_size = -1;
    nats.update_stream(&config).await.unwrap();
    stack.settled().await;
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_dead_letters_that_is_gone_is_recreated() {
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&[]).await;
    let nats = stack.nats.jetstream().await;
    nats.delete_stream(DEAD_LETTERS).await.unwrap();
    let publish = nats.publish("signals.x", "bad".into()).await.unwrap();
    publish.await.unwrap();
    stack.settled().await;
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 1);
}
