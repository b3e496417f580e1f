//! Everything that our parser, and a whole reader, make of a server's bytes.

use std::sync::{Arc, Mutex};

use bytes::BufMut;
use risksignal_nats_reader::{
    Address, Control, Ended, FailedAttempt, Incoming, Login, Message, Options, Reader, Reports,
    ServerError, Tls,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;

use crate::peer::{DEADLINE, MAX_PAYLOAD, Peer, SID, until};
use crate::theirs::Effects;

/// Largest message that ours reads.
pub const MESSAGE_MAX: usize = 300_000;

/// Everything that was read.
#[derive(Default)]
pub struct Ours {
    /// Messages of the subscription.
    pub messages: Vec<Message>,
    /// It has refused bytes.
    pub is_broken: bool,
    /// Other effects.
    pub effects: Effects,
    /// `max_payload` of the last `INFO`.
    pub max_payload: usize,
}

/// Parses these pieces.
pub fn parse(pieces: &[&[u8]]) -> Ours {
    let mut incoming = Incoming::new(MESSAGE_MAX);
    let (mut messages, mut controls) = (Vec::new(), Vec::new());
    let mut is_broken = false;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() && !is_broken {
            let buffer = incoming.buffer();
            let room = (buffer.capacity() - buffer.len()).min(rest.len());
            buffer.put_slice(&rest[..room]);
            rest = &rest[room..];
            is_broken = incoming.parse(&mut messages, &mut controls).is_err();
        }
    }
    let mut ours = Ours {
        is_broken,
        max_payload: MAX_PAYLOAD,
        ..Ours::default()
    };
    messages.retain(|(sid, _)| *sid == SID);
    ours.messages = messages.into_iter().map(|(_, message)| message).collect();
    for control in controls {
        match control {
            Control::Ping => ours.effects.pongs += 1,
            Control::Pong => {}
            Control::Error(words) => ours.effects.errors.push(words),
            Control::Info(json) => {
                // A client that reads the JSON refuses what is none.
                let info: Value = serde_json::from_slice(&json).unwrap_or_default();
                ours.effects.lame_ducks += usize::from(info["ldm"] == true);
                let max_payload = info["max_payload"].as_u64().unwrap_or_default();
                ours.max_payload = usize::try_from(max_payload).unwrap();
            }
        }
    }
    ours
}

/// Reports of a reader.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Logged>>);

#[derive(Default)]
struct Logged {
    ended: Option<String>,
    effects: Effects,
}

impl Reports for Log {
    fn connected(&self, _: &Address, _: bool) {}

    fn ended(&self, why: &Ended) {
        let mut logged = self.0.lock().unwrap();
        logged.ended.get_or_insert(why.to_string());
    }

    fn failed(&self, _: &[FailedAttempt]) {}

    fn refused(&self, error: &ServerError) {
        let mut logged = self.0.lock().unwrap();
        logged.effects.errors.push(error.words.clone());
    }

    fn leaving(&self, _: &Address) {
        self.0.lock().unwrap().effects.lame_ducks += 1;
    }
}

/// Reads these pieces with a reader, from a socket. Its answers to pings are not counted.
pub async fn read(pieces: &[&[u8]]) -> Ours {
    let (peer, log) = (Peer::start().await, Log::default());
    let options = options(&peer, &log);
    let subscribe = async {
        let reader = Reader::connect(options).await.unwrap();
        let inbox = reader.subscribe().unwrap();
        (reader, inbox)
    };
    let ((reader, inbox), mut socket) = tokio::join!(subscribe, peer.accept());
    for piece in pieces {
        socket.write_all(piece).await.unwrap();
        // Twice: once for the socket to be ready, once to be read.
        yield_now().await;
        yield_now().await;
    }
    socket.shutdown().await.unwrap();
    until(|| log.0.lock().unwrap().ended.is_some()).await;
    let mut logged = log.0.lock().unwrap();
    let closed = Ended::Closed.to_string();
    Ours {
        messages: inbox.take_received(),
        is_broken: logged.ended != Some(closed),
        effects: std::mem::take(&mut logged.effects),
        max_payload: reader.max_payload(),
    }
}

fn options(peer: &Peer, log: &Log) -> Options {
    Options {
        servers: vec![Address::parse(&peer.address()).unwrap()],
        name: "oracle".to_owned(),
        login: Login::None,
        tls: Tls {
            is_required: false,
            is_first: false,
            config: Box::new(|| Err("there is no TLS in this test".into())),
        },
        connect_timeout: DEADLINE,
        ping_interval: DEADLINE,
        inbox_prefix: "_INBOX".to_owned(),
        message_max: MESSAGE_MAX,
        inbox_max: usize::MAX,
        reports: Box::new(log.clone()),
    }
}
