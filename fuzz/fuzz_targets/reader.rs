//! Any bytes from a server, cut anywhere: the reader's parser does not panic, and reads what a slow
//! parser reads.

#![no_main]

#[path = "../../crates/nats-reader/tests/protocol/feed.rs"]
mod feed;
#[path = "../../crates/nats-reader/tests/protocol/reference.rs"]
mod reference;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

use feed::{feed, messages_first};

/// Small enough for the fuzzer to exceed.
const MAX: usize = 500;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    cuts: [u8; 4],
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let cuts = input.cuts.map(usize::from);
    let expected = messages_first(reference::read(input.bytes, MAX));
    assert_eq!(messages_first(feed(input.bytes, &cuts, MAX)), expected);
});
