//! The parser and the reader against async-nats, which reads the same bytes from a socket.
//!
//! Both read alike what a server sends: subject, reply, body, headers as a map, status, and the
//! effects of `PING`, `-ERR` and `INFO`. `differences` has the differences, with examples:
//!
//! - Headers that are no list of ASCII names and UTF-8 values: async-nats ends the connection, or
//!   panics. Ours has them as bytes, and makes no map of them.
//! - A header that goes on in the next line: async-nats joins the lines. Ours makes no map.
//! - Unicode spaces around a header's value: async-nats removes them. Ours keeps them.
//! - A first line of headers that is not the protocol's, or a line of spaces: async-nats ends the
//!   connection. Ours makes a map without the line.
//! - A subject that is no UTF-8, or has a Unicode space and comes with headers: async-nats ends the
//!   connection, or misreads the line. Ours has the bytes.
//! - A status with a reply or a body: async-nats has it. Ours has none: a publisher made it up.
//! - Lines that no server sends (two spaces, tabs, `+1`, `PINGS`), and a body that is not followed
//!   by CRLF: async-nats takes them. Ours ends the connection.
//! - A message above our bound: async-nats waits for it. Ours ends the connection.
//! - JSON of an `INFO` and text of an `-ERR` of other types and bytes: async-nats ends the
//!   connection. Our parser leaves them to the reader, which checks what it needs.
//!
//! `PROPTEST_CASES=10000` runs more cases than the 256 of a test run.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test stops at the first surprise.

mod compare;
mod differences;
mod ours;
mod peer;
mod script;
mod theirs;

/// The map that the daemon makes of a header block.
#[allow(dead_code)] // The rest is used by the daemon.
#[path = "../../../jetstream/src/header_block.rs"]
mod header_block;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use compare::{map, same};
use ours::Ours;
use peer::{pieces, run};
use theirs::Theirs;

/// Fails unless the reader has what the parser has.
fn same_from_a_socket(parsed: &Ours, read: &Ours) -> Result<(), TestCaseError> {
    let parts = |ours: &Ours| -> Vec<_> {
        let messages = ours.messages.iter();
        let messages = messages.map(|one| {
            let parts = [
                Some(one.subject()),
                one.reply(),
                one.headers(),
                Some(one.body()),
            ];
            parts.map(|part| part.map(<[u8]>::to_vec))
        });
        messages.collect()
    };
    prop_assert_eq!(parts(read), parts(parsed));
    prop_assert_eq!(&read.effects.errors, &parsed.effects.errors);
    prop_assert_eq!(read.effects.lame_ducks, parsed.effects.lame_ducks);
    prop_assert_eq!(read.max_payload, parsed.max_payload);
    prop_assert!(!read.is_broken);
    Ok(())
}

proptest! {
    /// Every operation of a server is read alike, wherever the reads end; a last one that is cut
    /// off is waited for.
    #[test]
    fn a_server_is_read_alike(
        operations in vec(script::operation(), 0..20),
        rest in prop::option::of((script::operation(), any::<Index>())),
        cuts in script::cuts(),
    ) {
        let mut bytes = operations.concat();
        if let Some((operation, end)) = rest {
            bytes.extend(&operation[..end.index(operation.len())]);
        }
        let pieces = pieces(&bytes, &cuts);
        let ours = ours::parse(&pieces);
        let (theirs, effects, read) = run(async {
            let mut theirs = Theirs::read(&pieces).await;
            let effects = theirs.effects(&ours.effects).await;
            (theirs, effects, ours::read(&pieces).await)
        });
        prop_assert!(!theirs.is_broken, "async-nats refuses it");
        prop_assert!(!ours.is_broken, "ours refuses it");
        prop_assert_eq!(ours.messages.len(), theirs.messages.len());
        for (ours, theirs) in ours.messages.iter().zip(&theirs.messages) {
            same(ours, theirs, map(ours).map(|map| map.expect("a map of valid headers")))?;
        }
        prop_assert_eq!(&ours.effects, &effects);
        same_from_a_socket(&ours, &read)?;
    }

    /// With bytes replaced, removed and added, one reads no other messages than the other, and
    /// fewer only if it refuses the next bytes.
    #[test]
    fn garbage_is_read_alike_until_it_is_refused(
        operations in vec(script::operation(), 1..8),
        faults in vec((any::<Index>(), 0..3_u8, any::<u8>()), 1..4),
        cuts in script::cuts(),
    ) {
        let mut bytes = operations.concat();
        for (at, kind, byte) in faults {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        let pieces = pieces(&bytes, &cuts);
        let ours = ours::parse(&pieces);
        let theirs = run(Theirs::read(&pieces));
        for (ours, theirs) in ours.messages.iter().zip(&theirs.messages) {
            if differences::is_misread(ours) {
                return Ok(());
            }
            differences::same_headers(ours, theirs)?;
        }
        let (count, theirs_count) = (ours.messages.len(), theirs.messages.len());
        prop_assert!(count >= theirs_count || ours.is_broken);
        prop_assert!(theirs_count >= count || theirs.is_broken);
    }
}
