//! The comparison of a message that both read.

use async_nats::HeaderMap;
use proptest::prelude::*;
use risksignal_nats_reader::Message;

use crate::header_block::HeaderBlock;

/// Fails unless both have the same parts; `headers` is ours as a map.
pub fn same(
    ours: &Message,
    theirs: &async_nats::Message,
    headers: Option<HeaderMap>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.subject(), theirs.subject.as_bytes());
    let reply = theirs.reply.as_ref().map(|reply| reply.as_bytes());
    prop_assert_eq!(ours.reply(), reply);
    prop_assert_eq!(ours.body(), &theirs.payload[..]);
    prop_assert_eq!(ours.length(), theirs.length);
    prop_assert_eq!(headers.as_ref(), theirs.headers.as_ref());
    same_status(ours, theirs)
}

/// Returns our headers as a map: `Some(None)` if ours refuses to make one.
pub fn map(ours: &Message) -> Option<Option<HeaderMap>> {
    let block = ours.headers()?;
    Some(HeaderBlock::new(block.to_vec()).headers())
}

/// Fails unless both have the same status. Ours is none for a message with a reply or a body, which
/// a publisher may have sent.
fn same_status(ours: &Message, theirs: &async_nats::Message) -> Result<(), TestCaseError> {
    let is_servers = theirs.reply.is_none() && theirs.payload.is_empty();
    let expected = theirs.status.filter(|_| is_servers).map(|code| {
        let description = theirs.description.clone().unwrap_or_default();
        (code.as_u16(), description)
    });
    let found = ours
        .status()
        .map(|status| (status.code, status.description));
    prop_assert_eq!(found, expected);
    Ok(())
}
