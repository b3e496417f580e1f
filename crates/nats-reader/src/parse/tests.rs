use super::*;

fn frame(bytes: &[u8]) -> Frame {
    match parse(bytes, 1000) {
        Ok(Parsed::Whole(Operation::Message(frame), length)) if length == bytes.len() => frame,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_has_the_places_of_all_parts() {
    let bytes = b"HMSG sub.ject 7 re.ply 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
    let frame = frame(bytes);
    assert_eq!(frame.sid, 7);
    assert_eq!(&bytes[frame.subject()], b"sub.ject");
    assert_eq!(&bytes[frame.reply().unwrap()], b"re.ply");
    assert_eq!(&bytes[frame.headers().unwrap()], b"NATS/1.0\r\n\r\n");
    assert_eq!(&bytes[frame.body()], b"hi");
    assert_eq!(frame.length(), 8 + 6 + 14);
    let moved = frame.moved(3);
    assert_eq!(moved.body(), frame.body().start + 3..frame.body().end + 3);
}

#[test]
fn a_frame_without_reply_and_headers_has_neither() {
    let frame = frame(b"MSG s 0 0\r\n\r\n");
    assert_eq!((frame.reply(), frame.headers()), (None, None));
    assert!(frame.body().is_empty());
    assert_eq!(frame.length(), 1);
}

#[test]
fn a_partial_message_says_how_many_bytes_it_has_once_its_line_is_there() {
    assert_eq!(parse(b"MSG s 1 10\r\nhe", 10), Ok(Parsed::Partial(24)));
    assert!(matches!(parse(b"MSG s 1 10", 10), Ok(Parsed::Partial(_))));
    let expected = ParseError::TooLarge { bytes: 11, max: 10 };
    assert_eq!(parse(b"MSG s 1 11\r\n", 10), Err(expected));
}
