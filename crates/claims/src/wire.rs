//! Records as bytes: a mark, a version, then the record in postcard's compact form.

use crate::record::Record;

/// The first bytes of every record, in this form and all later ones. A message of the log without
/// them was never a record: see [`Record::foreign`].
const MARK: [u8; 4] = *b"RSCL";

/// The version that this binary writes, and the newest that it reads. A new form is written
/// only when every reader knows it: see `docs`.
const VERSION: u8 = 1;

/// Entries of a record: 20 bytes each at most, so that a record stays below 2 MB.
pub const MAX_ENTRIES: usize = 100_000;

/// A record that this binary cannot read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A newer daemon wrote it.
    #[error(
        "the record has version {version}, and this daemon reads version {VERSION}: a newer daemon wrote it; start that one"
    )]
    Version {
        /// The record's version.
        version: u8,
    },
    /// It has the mark of a record, and is none.
    #[error(
        "the record is damaged ({0}), and may have named claims; stop every daemon, purge the claims log, and start them: they rebuild it"
    )]
    Malformed(#[from] postcard::Error),
    /// Bytes follow the record.
    #[error(
        "the record is damaged ({0} bytes follow it), and may have named claims; stop every daemon, purge the claims log, and start them: they rebuild it"
    )]
    Trailing(usize),
}

/// Encodes a record.
///
/// # Errors
/// When there is no memory for it.
pub fn encode(record: &Record) -> Result<Vec<u8>, WireError> {
    let mut bytes = MARK.to_vec();
    bytes.push(VERSION);
    Ok(postcard::to_extend(record, bytes)?)
}

/// Decodes a message of the log. One that no daemon published is a [`Record::foreign`]; that depends
/// on its bytes alone, so that every reader agrees.
///
/// # Errors
/// When a daemon published it, and this binary cannot read it.
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
