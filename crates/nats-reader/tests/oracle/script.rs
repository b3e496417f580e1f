//! Operations of a server, as nats-server writes them.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::peer::SID;

/// Largest body, more than two blocks of the reader.
const BODY_BYTES_MAX: usize = 150_000;

/// Bytes of a message to this subscription.
pub fn message(
    sid: u64,
    subject: &[u8],
    reply: Option<&[u8]>,
    headers: Option<&[u8]>,
    body: &[u8],
) -> Vec<u8> {
    let name = if headers.is_some() { "HMSG" } else { "MSG" };
    let mut line = [name.as_bytes(), b" ", subject, format!(" {sid}").as_bytes()].concat();
    if let Some(reply) = reply {
        line.extend([b" ", reply].concat());
    }
    let block = headers.unwrap_or_default();
    if headers.is_some() {
        line.extend(format!(" {}", block.len()).bytes());
    }
    line.extend(format!(" {}\r\n", block.len() + body.len()).bytes());
    [&line, block, body, b"\r\n"].concat()
}

/// Text that a publisher may use as a subject: anything but spaces.
fn subject() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z0-9_$-]{1,12}(\\.[A-Za-z0-9_$-]{1,12}){0,5}",
        1 => "[!-~¡-ÿа-яあ-ん😀-😎]{1,40}",
        1 => "\\$JS\\.ACK\\.[A-Z]{1,9}\\.[a-z]{1,9}(\\.[1-9][0-9]{0,18}){5}",
    ]
}

/// A line of a header block, as clients write them: mixed case, names that come again, and spaces.
fn header() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[!-9;-~]{1,20}",
        "[Nn][Aa][Tt][Ss]-[Mm][Ss][Gg]-[Ii][Dd]",
        "(Nats-Expected-Stream|Nats-Rollup|traceparent|[ab])",
    ];
    let space = prop::sample::select(vec!["", " ", "  ", "\t"]);
    let value = "[ -~\t¡-ÿа-я😀-😎]{0,40}";
    (name, space, value).prop_map(|(name, space, value)| format!("{name}:{space}{value}\r\n"))
}

/// A header block of a client, or a status of a server.
fn headers() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        4 => Just(String::new()),
        1 => "[1-9][0-9]{2}",
        2 => "[1-9][0-9]{2} [!-~]{1,10}( [!-~]{1,10}){0,3}",
        1 => Just("408 Request Timeout".to_owned()),
    ];
    (status, vec(header(), 0..6)).prop_map(|(status, lines)| {
        let space = if status.is_empty() { "" } else { " " };
        format!("NATS/1.0{space}{status}\r\n{}\r\n", lines.concat()).into_bytes()
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(Vec::new()),
        8 => vec(any::<u8>(), 0..300),
        // Looks like the protocol.
        2 => "(MSG a 1 3\r\n|PING\r\n|\r|\n|[a-z]){0,20}".prop_map(String::into_bytes),
        1 => (0..BODY_BYTES_MAX, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
    ]
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    // Others are those of subscriptions that have ended.
    let sid = prop_oneof![8 => Just(SID), 1 => any::<u64>()];
    let reply = prop::option::of(subject());
    let headers = prop::option::of(headers());
    let parts = (sid, subject(), reply, headers, body());
    parts.prop_map(|(sid, subject, reply, headers, body)| {
        let reply = reply.as_ref().map(String::as_bytes);
        message(sid, subject.as_bytes(), reply, headers.as_deref(), &body)
    })
}

fn info() -> impl Strategy<Value = Vec<u8>> {
    let urls = vec("127\\.0\\.0\\.1:[1-9]", 0..50);
    (any::<u32>(), prop::bool::weighted(0.2), urls).prop_map(|(max, ldm, urls)| {
        let ldm = if ldm { ",\"ldm\":true" } else { "" };
        let info = format!(
            "INFO {{\"server_id\":\"N\",\"version\":\"2.12.0\",\"headers\":true,\
             \"max_payload\":{max},\"connect_urls\":{urls:?}{ldm}}} \r\n"
        );
        info.into_bytes()
    })
}

/// Errors after which a server goes on.
fn error() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "Permissions Violation for (Publish|Subscription) to \"[a-z.>*é]{1,20}\"",
        Just("Invalid Subject".to_owned()),
        Just("maximum subscriptions exceeded".to_owned()),
    ];
    text.prop_map(|text| format!("-ERR '{text}'\r\n").into_bytes())
}

/// Any operation.
pub fn operation() -> impl Strategy<Value = Vec<u8>> {
    let control = prop::sample::select(vec!["PING\r\n", "PONG\r\n", "+OK\r\n"]);
    prop_oneof![
        12 => any_message(),
        2 => control.prop_map(|line| line.as_bytes().to_vec()),
        1 => info(),
        1 => error(),
    ]
}

/// Places to cut at: many within the first bytes, or anywhere.
pub fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(0..2_000_usize, 0..40), vec(any::<usize>(), 0..12)]
}
