//! The differences, each with examples, and header blocks of any bytes.

use async_nats::HeaderMap;
use async_nats::header::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;
use risksignal_nats_reader::Message;

use crate::compare::{map, same};
use crate::ours;
use crate::peer::{SID, pieces, run};
use crate::script::message;
use crate::theirs::Theirs;

/// Reports whether async-nats splits a line within this subject or reply: it does so at any Unicode
/// space if the message has headers.
pub fn is_misread(ours: &Message) -> bool {
    let has_space = |part: &[u8]| String::from_utf8_lossy(part).contains(char::is_whitespace);
    ours.headers().is_some()
        && [ours.subject(), ours.reply().unwrap_or_default()]
            .into_iter()
            .any(has_space)
}

/// Compares a message that both have, whose headers may be any that async-nats takes: it joins
/// lines that begin with a space, and removes Unicode spaces around a value and a CR among them.
pub fn same_headers(ours: &Message, theirs: &async_nats::Message) -> Result<(), TestCaseError> {
    let trimmed = |headers: HeaderMap| {
        let mut trimmed = HeaderMap::new();
        for (name, values) in headers.iter() {
            for value in values {
                trimmed.append(name.clone(), HeaderValue::from(value.as_str().trim()));
            }
        }
        trimmed
    };
    let headers = match map(ours) {
        Some(None) => {
            let block = ours.headers().unwrap_or_default();
            let is_known = has_folded_line(block) || has_cr_behind_unicode_space(block);
            prop_assert!(is_known, "{ours:?}");
            theirs.headers.clone()
        }
        Some(Some(headers)) => Some(trimmed(headers)),
        None => None,
    };
    same(ours, theirs, headers)
}

fn lines(block: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(block);
    text.lines().map(str::to_owned).collect()
}

/// Reports whether a line may continue the one before.
fn has_folded_line(block: &[u8]) -> bool {
    let lines = lines(block);
    let mut after_first = lines.iter().skip(2);
    after_first.any(|line| line.starts_with(char::is_whitespace))
}

/// Reports whether a CR may be among the Unicode spaces around a value. Ours removes ASCII spaces.
fn has_cr_behind_unicode_space(block: &[u8]) -> bool {
    let is_other = |c: char| c.is_whitespace() && !c.is_ascii_whitespace();
    let lines = lines(block);
    let mut headers = lines.iter().skip(1);
    headers.any(|line| line.contains('\r') && line.contains(is_other))
}

/// Reports whether a line is nothing but spaces: async-nats takes it for a header without a colon.
fn has_line_of_spaces(block: &[u8]) -> bool {
    let lines = lines(block);
    let mut headers = lines.iter().skip(1);
    headers.any(|line| !line.is_empty() && line.trim().is_empty())
}

/// Reports whether the first line is one of the protocol. Ours does not look at it.
fn has_version(block: &[u8]) -> bool {
    let lines = lines(block);
    let first = lines.first().and_then(|line| line.strip_prefix("NATS/1.0"));
    first.is_some_and(|rest| {
        let code = rest.split_whitespace().next().unwrap_or("100");
        code.len() == 3 && code.parse().is_ok_and(|code: u16| code >= 100)
    })
}

fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => "[A-Za-z-]{1,8}: ?[a-z ]{0,8}\r\n".prop_map(String::into_bytes),
        2 => "[ -~\r\n\t\u{b}\u{85}\u{a0}é]{0,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..4),
        1 => prop::sample::select(vec!["\r\n", "\n", "\r", ":", " ", "\t", " x\r\n", "a:\rb\r\n"])
            .prop_map(|part| part.as_bytes().to_vec()),
    ];
    let version = prop_oneof![
        6 => Just("NATS/1.0\r\n".to_owned()),
        2 => "NATS/1\\.0 {0,2}[0-9]{3}( {1,2}[A-Za-z]{1,8}){0,2} {0,2}\r\n",
        1 => "(NATS/1\\.0 [0-9]{1,5}|NATS/1\\.1|nats/1\\.0|NATS/1\\.0 [+-][0-9]{2}|)\r\n",
        1 => Just(String::new()),
    ];
    (version, vec(part, 0..5), any::<bool>()).prop_map(|(version, parts, has_end)| {
        let end: &[u8] = if has_end { b"\r\n" } else { b"" };
        [version.as_bytes(), &parts.concat(), end].concat()
    })
}

proptest! {
    /// Ours has every header block as it came. It makes the same map as async-nats, or none; what
    /// async-nats refuses is no map for ours, but for lines that it does not look at.
    #[test]
    fn headers_are_the_same_map_or_bytes(block in any_block(), body in vec(any::<u8>(), 0..20)) {
        let reply = Some(&b"r"[..]);
        let around = message(SID, b"a", reply, None, b"");
        let odd = message(SID, b"a.b", reply, Some(&block), &body);
        let bytes = [&around[..], &odd, &around].concat();
        let ours = ours::parse(&[&bytes]);
        prop_assert_eq!(ours.messages.len(), 3);
        let message = &ours.messages[1];
        prop_assert_eq!(message.headers(), Some(&block[..]));
        prop_assert_eq!(message.body(), &body);
        let theirs = run(Theirs::read(&[&bytes]));
        if theirs.is_broken {
            prop_assert_eq!(theirs.messages.len(), 1);
            let is_map = map(message).flatten().is_some();
            prop_assert!(!is_map || !has_version(&block) || has_line_of_spaces(&block));
        } else {
            prop_assert_eq!(theirs.messages.len(), 3);
            same_headers(message, &theirs.messages[1])?;
        }
    }
}

/// Result of one of both: the messages of two around the bytes and in them, and whether it went on.
fn counts(bytes: &[u8]) -> [(usize, bool); 2] {
    let around = message(SID, b"a", None, None, b"x");
    let bytes = [&around, bytes, &around].concat();
    let ours = ours::parse(&[&bytes]);
    let theirs = run(Theirs::read(&[&bytes]));
    [
        (theirs.messages.len(), theirs.is_broken),
        (ours.messages.len(), ours.is_broken),
    ]
}

#[test]
fn headers_that_end_a_connection_of_async_nats_are_bytes_of_ours() {
    for block in [
        &b""[..],
        b"\r\n",
        b"NATS/1.1\r\n\r\n",
        b"nats/1.0\r\n\r\n",
        b"NATS/1.0 99\r\n\r\n",
        b"NATS/1.0 4o8\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\na name: 1\r\n\r\n",
        b"NATS/1.0\r\nn\xc3\xa4me: 1\r\n\r\n",
        b"NATS/1.0\r\na: \xff\r\n\r\n",
        b"NATS/1.0\r\n \r\n\r\n",
        // It panics.
        b"NATS/1.0\r\na: 1\r2\r\n\r\n",
    ] {
        let text = String::from_utf8_lossy(block);
        let bytes = message(SID, b"a", Some(b"r"), Some(block), b"x");
        assert_eq!(counts(&bytes), [(1, true), (3, false)], "{text:?}");
    }
}

#[test]
fn a_line_that_goes_on_is_joined_by_async_nats_alone() {
    let block = b"NATS/1.0\r\na: 1\r\n 2\r\n\r\n";
    let bytes = message(SID, b"a", None, Some(block), b"");
    let ours = ours::parse(&[&bytes]).messages.remove(0);
    assert_eq!((ours.headers(), map(&ours)), (Some(&block[..]), Some(None)));
    let theirs = run(Theirs::read(&[&bytes])).messages.remove(0);
    let headers = theirs.headers.unwrap();
    assert_eq!(headers.get("a").unwrap().as_str(), "1 2");
}

#[test]
fn unicode_spaces_around_a_value_are_removed_by_async_nats_alone() {
    for (value, ours) in [("\u{a0}1", Some("\u{a0}1")), ("\u{a0}\r1", None)] {
        let block = format!("NATS/1.0\r\na: {value}\r\n\r\n");
        let bytes = message(SID, b"a", None, Some(block.as_bytes()), b"");
        let read = ours::parse(&[&bytes]).messages.remove(0);
        let headers = map(&read).flatten();
        let found = headers
            .as_ref()
            .map(|headers| headers.get("a").unwrap().as_str());
        assert_eq!(found, ours);
        let theirs = run(Theirs::read(&[&bytes])).messages.remove(0);
        assert_eq!(theirs.headers.unwrap().get("a").unwrap().as_str(), "1");
    }
}

#[test]
fn subjects_are_bytes_of_ours() {
    let headers = Some(&b"NATS/1.0\r\n\r\n"[..]);
    for (subject, headers) in [
        (&b"a\xff"[..], None),
        (b"a\xff", headers),
        ("a\u{a0}b".as_bytes(), headers),
        ("a\u{2003}b".as_bytes(), headers),
    ] {
        let bytes = message(SID, subject, None, headers, b"");
        assert_eq!(counts(&bytes), [(1, true), (3, false)], "{subject:?}");
    }
    // Without headers it splits at spaces only.
    let bytes = message(SID, "a\u{a0}b".as_bytes(), None, None, b"");
    assert_eq!(counts(&bytes), [(3, false), (3, false)]);
    // It takes the rest for the number of another subscription.
    let bytes = message(SID, "a\u{a0}7".as_bytes(), None, headers, b"");
    assert_eq!(counts(&bytes), [(2, false), (3, false)]);
}

#[test]
fn a_status_with_a_reply_or_a_body_is_none_of_ours() {
    let block = Some(&b"NATS/1.0 408 Request Timeout\r\n\r\n"[..]);
    for (reply, body, is_ours) in [
        (None, &b""[..], true),
        (Some(&b"r"[..]), b"", false),
        (None, b"x", false),
    ] {
        let bytes = message(SID, b"a", reply, block, body);
        let ours = ours::parse(&[&bytes]).messages.remove(0);
        assert_eq!(
            ours.status().map(|status| status.code),
            is_ours.then_some(408)
        );
        let theirs = run(Theirs::read(&[&bytes])).messages.remove(0);
        assert_eq!(theirs.status.map(|code| code.as_u16()), Some(408));
    }
}

#[test]
fn lines_that_no_server_sends_are_refused_by_ours() {
    let is_taken: [(&[u8], usize); 12] = [
        (b"MSG  a 1 0\r\n\r\n", 3),
        (b"MSG a  1 0\r\n\r\n", 3),
        (b"MSG a 1 0 \r\n\r\n", 3),
        (b"MSG a\nb 1 0\r\n\r\n", 3),
        (b"MSG a +1 0\r\n\r\n", 3),
        (b"MSG a 1 +1\r\nx\r\n", 3),
        (b"HMSG a\t1 12 12\r\nNATS/1.0\r\n\r\n\r\n", 3),
        (b"MSG a 1 1\r\nx!!", 3),
        (b"PINGS\r\n", 2),
        (b"PONG 1\r\n", 2),
        (b"+OKAY\r\n", 2),
        (b"-ERR:'x'\r\n", 2),
    ];
    for (bytes, count) in is_taken {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(counts(bytes), [(count, false), (1, true)], "{text:?}");
    }
    // It waits for any number of bytes.
    let large = format!("MSG a 1 {}\r\n", ours::MESSAGE_MAX + 1);
    assert_eq!(counts(large.as_bytes()), [(1, false), (1, true)]);
}

#[test]
fn bytes_that_are_no_protocol_are_refused_by_both() {
    for bytes in [
        &b"msg a 1 0\r\n\r\n"[..],
        b"Msg a 1 0\r\n\r\n",
        b"hmsg a 1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"ping\r\n",
        b"+ok\r\n",
        b"-err 'x'\r\n",
        b"info {}\r\n",
        b"\r\n",
        b"PUB a 0\r\n\r\n",
        b"MSG\ta 1 0\r\n\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 r 0 0\r\n\r\n",
        b"MSG a b 0\r\n\r\n",
        b"MSG a 1 -1\r\n\r\n",
        b"MSG a 18446744073709551616 0\r\n\r\n",
        b"MSG a 1 99999999999999999999\r\n\r\n",
        b"HMSG a 1 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"HMSG a 1 13 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"HMSG a 1 r r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        // It panics.
        b"MSG a 1 18446744073709551615\r\n\r\n",
        b"-ERR\r\n",
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(counts(bytes), [(1, true), (1, true)], "{text:?}");
    }
}

/// The reader refuses what it needs and cannot read.
#[test]
fn the_parser_leaves_json_and_texts_to_the_reader() {
    for bytes in [
        &b"INFO [\r\n"[..],
        b"INFO {\"port\":\"x\"}\r\n",
        b"-ERR '\xff'\r\n",
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(counts(bytes), [(1, true), (3 - 1, false)], "{text:?}");
    }
    let read = |bytes: &[u8]| run(ours::read(&[bytes])).is_broken;
    assert!(read(b"INFO [\r\n"));
    assert!(!read(b"INFO {\"port\":\"x\",\"max_payload\":5}\r\n"));
}

/// Cuts may be anywhere, at the same place, and beyond the end.
#[test]
fn pieces_are_the_whole() {
    assert_eq!(pieces(b"abc", &[1, 1, 7, 0]), [&b"a"[..], b"bc"]);
    assert_eq!(pieces(b"abc", &[]), [b"abc"]);
    assert!(pieces(b"", &[3]).is_empty());
}
