//! Encoding of records: a mark, a version, then the record in postcard's compact form.

use crate::record::Record;

/// First bytes of every record, in this form and all later ones. A message of the log without them
/// was never a record: see [`Record::foreign`].
const MARK: [u8; 4] = *b"RSCL";

/// Version that this binary writes, and the newest that it reads. A daemon writes a new form only
/// when every reader knows it: see `docs`.
const VERSION: u8 = 1;

/// Most entries of a record: 20 bytes each at most, so that a record stays below 2 MB.
pub const MAX_ENTRIES: usize = 100_000;

/// A record that this binary cannot read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A newer daemon wrote it.
    #[error(
        "the record has version {version}, and this daemon reads version {VERSION}: a newer daemon wrote it; start that version"
    )]
    Version {
        /// Version of the record.
        version: u8,
    },
    /// The message has the mark of a record, and is none.
    #[error(
        "the record is damaged ({0}), and may contain claims; stop every daemon, purge the claims log, and start them: they rebuild it"
    )]
    Malformed(#[from] postcard::Error),
    /// Bytes follow the record.
    #[error(
        "the record is damaged ({0} bytes follow it), and may contain claims; stop every daemon, purge the claims log, and start them: they rebuild it"
    )]
    Trailing(usize),
}

/// Encodes a record.
///
/// # Errors
/// Fails when memory is exhausted.
pub fn encode(record: &Record) -> Result<Vec<u8>, WireError> {
    let mut bytes = MARK.to_vec();
    bytes.push(VERSION);
    Ok(postcard::to_extend(record, bytes)?)
}

/// Decodes a message of the log. A message from another program becomes a [`Record::foreign`]. This
/// depends on its bytes alone, so that every reader agrees.
///
/// # Errors
/// Fails when a daemon published it, and this binary cannot read it.
pub fn decode(bytes: &[u8]) -> Result<Record, WireError> {
    let marked = bytes.strip_prefix(&MARK);
    match marked.and_then(|marked| marked.split_first()) {
        None => Ok(Record::foreign(bytes)),
        Some((&VERSION, rest)) => {
            let (record, rest) = postcard::take_from_bytes(rest)?;
            if rest.is_empty() {
                Ok(record)
            } else {
                Err(WireError::Trailing(rest.len()))
            }
        }
        Some((&version, _)) => Err(WireError::Version { version }),
    }
}
