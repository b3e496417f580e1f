//! Records as bytes: a version, then the record in postcard's compact form.

use crate::record::Record;

/// The version that this binary writes, and the newest that it reads. A new form is written
/// only when every reader knows it: see `docs`.
const VERSION: u8 = 1;

/// The highest version that there will ever be. What begins with another byte is no record.
const VERSION_MAX: u8 = 31;

/// Entries of a record: 20 bytes each at most, so that a record stays below 2 MB.
pub const MAX_ENTRIES: usize = 100_000;

/// Bytes that are no record that this binary reads.
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
    /// It begins with no version.
    #[error(
        "not a record of a claims log: it begins with byte {first}, which is no version; something else publishes to the log: allow the daemon's user alone to"
    )]
    Foreign {
        /// The first byte.
        first: u8,
    },
    /// It was not written by a daemon.
    #[error("not a record of a claims log: {0}; did something else publish to the log?")]
    Malformed(#[from] postcard::Error),
    /// There are no bytes.
    #[error("an empty message in the claims log; did something else publish to the log?")]
    Empty,
    /// Bytes follow the record.
    #[error("{0} bytes behind a record of the claims log")]
    Trailing(usize),
}

/// Encodes a record.
///
/// # Errors
/// When there is no memory for it.
pub fn encode(record: &Record) -> Result<Vec<u8>, WireError> {
    Ok(postcard::to_extend(record, vec![VERSION])?)
}

/// Decodes a record.
///
/// # Errors
/// When the bytes are not one that this binary reads.
pub fn decode(bytes: &[u8]) -> Result<Record, WireError> {
    match bytes.split_first() {
        None => Err(WireError::Empty),
        Some((&VERSION, rest)) => {
            let (record, rest) = postcard::take_from_bytes(rest)?;
            if rest.is_empty() {
                Ok(record)
            } else {
                Err(WireError::Trailing(rest.len()))
            }
        }
        Some((&version, _)) if version <= VERSION_MAX => Err(WireError::Version { version }),
        Some((&first, _)) => Err(WireError::Foreign { first }),
    }
}
