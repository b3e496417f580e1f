//! The protocol once more, slow and straightforward: what the parser is compared with, here and by
//! the fuzz target.

/// An operation, with copies of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Message {
        sid: u64,
        subject: Vec<u8>,
        reply: Option<Vec<u8>>,
        headers: Option<Vec<u8>>,
        body: Vec<u8>,
    },
    Info(Vec<u8>),
    Error(String),
    Ping,
    Pong,
}

/// All that can be read from some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub ops: Vec<Op>,
    /// No further bytes make the rest valid.
    pub is_broken: bool,
}

const NAMES: [&[u8]; 7] = [
    b"MSG ", b"HMSG ", b"PING", b"PONG", b"+OK", b"-ERR ", b"INFO ",
];

/// Reads all operations; a message may have `max` bytes.
pub fn read(mut bytes: &[u8], max: usize) -> Read {
    let mut read = Read::default();
    loop {
        match next(bytes, max) {
            Next::Op(op, rest) => {
                read.ops.extend(op);
                bytes = rest;
            }
            Next::More => return read,
            Next::Broken => {
                read.is_broken = true;
                return read;
            }
        }
    }
}

enum Next<'a> {
    Op(Option<Op>, &'a [u8]),
    More,
    Broken,
}

fn next(bytes: &[u8], max: usize) -> Next<'_> {
    let is_begun = |name: &&&[u8]| bytes.starts_with(name) || name.starts_with(bytes);
    let Some(name) = NAMES.iter().find(is_begun) else {
        return Next::Broken;
    };
    let Some(feed) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Next::More;
    };
    let (line, rest) = (&bytes[..feed], &bytes[feed + 1..]);
    let Some(line) = line
        .strip_suffix(b"\r")
        .and_then(|line| line.strip_prefix(*name))
    else {
        return Next::Broken;
    };
    match *name {
        b"MSG " => message(line, rest, max, false),
        b"HMSG " => message(line, rest, max, true),
        b"INFO " => Next::Op(Some(Op::Info(line.to_vec())), rest),
        b"-ERR " => {
            let words = String::from_utf8_lossy(line).into_owned();
            let words = words.trim_matches(|c| c == '\'' || c == ' ').to_owned();
            Next::Op(Some(Op::Error(words)), rest)
        }
        name => {
            if line.iter().any(|byte| *byte != b' ') {
                return Next::Broken;
            }
            match name {
                b"PING" => Next::Op(Some(Op::Ping), rest),
                b"PONG" => Next::Op(Some(Op::Pong), rest),
                _ => Next::Op(None, rest),
            }
        }
    }
}

fn message<'a>(line: &[u8], rest: &'a [u8], max: usize, has_headers: bool) -> Next<'a> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if fields.iter().any(|field| field.is_empty()) {
        return Next::Broken;
    }
    let (subject, sid, reply, head, total) = match (fields.as_slice(), has_headers) {
        ([subject, sid, total], false) => (subject, sid, None, None, total),
        ([subject, sid, reply, total], false) => (subject, sid, Some(reply), None, total),
        ([subject, sid, head, total], true) => (subject, sid, None, Some(head), total),
        ([subject, sid, reply, head, total], true) => {
            (subject, sid, Some(reply), Some(head), total)
        }
        _ => return Next::Broken,
    };
    let number = |digits: &[u8]| -> Option<u64> {
        let is_number = digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
    };
    let (Some(sid), Some(total)) = (number(sid), number(total)) else {
        return Next::Broken;
    };
    let Some(head) = head.map_or(Some(0), |head| number(head)) else {
        return Next::Broken;
    };
    if head > total || total > max as u64 {
        return Next::Broken;
    }
    let (head, total) = (head as usize, total as usize);
    for (at, byte) in [(total, b'\r'), (total + 1, b'\n')] {
        match rest.get(at) {
            None => return Next::More,
            Some(found) if *found == byte => {}
            Some(_) => return Next::Broken,
        }
    }
    let op = Op::Message {
        sid,
        subject: subject.to_vec(),
        reply: reply.map(|reply| reply.to_vec()),
        headers: has_headers.then(|| rest[..head].to_vec()),
        body: rest[head..total].to_vec(),
    };
    Next::Op(Some(op), &rest[total + 2..])
}
