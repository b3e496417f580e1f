//! Snapshots: the engine's state as bytes, with a mark, a version and a checksum.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::engine::{Engine, State};
use crate::parameters::{ENGINE_VERSION, Parameters};

/// First bytes of every snapshot.
const MARK: [u8; 4] = *b"RSDT";
/// Form of snapshots that this binary writes, and the only one that it reads.
const FORM: u8 = 1;
/// Bytes before the body: mark, form, version of the engine, checksum.
const HEAD: usize = 4 + 1 + 2 + 8;

/// Snapshot that this binary cannot start from. Replay the stream instead, or its history.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is no snapshot.
    #[error("the bytes are no snapshot of a detector")]
    Foreign,
    /// Another version wrote it: its state may differ from what this one would have.
    #[error(
        "the snapshot has form {form} of engine {engine}, and this binary has form {FORM} of engine {ENGINE_VERSION}; replay the stream"
    )]
    Version {
        /// Form of the snapshot.
        form: u8,
        /// Version of the engine that wrote it.
        engine: u16,
    },
    /// Its checksum differs.
    #[error(
        "the snapshot is damaged: its checksum differs; use an older one, or replay the stream"
    )]
    Checksum,
    /// Its body cannot be read or written.
    #[error("the snapshot is damaged; use an older one, or replay the stream")]
    Body(#[from] postcard::Error),
    /// Its parts contradict each other.
    #[error("the snapshot contradicts itself; use an older one, or replay the stream")]
    Unsound,
}

#[derive(Serialize)]
struct Written<'a> {
    parameters: &'a Parameters,
    state: &'a State,
}

#[derive(Deserialize)]
struct Read {
    parameters: Parameters,
    state: State,
}

impl Engine {
    /// Writes a snapshot, which holds for [`Engine::position`]. About 75 bytes a wallet.
    ///
    /// # Errors
    /// Fails when memory is exhausted.
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = MARK.to_vec();
        bytes.push(FORM);
        bytes.extend(ENGINE_VERSION.to_le_bytes());
        bytes.extend([0; 8]);
        let written = Written {
            parameters: self.parameters(),
            state: self.state(),
        };
        let mut bytes = postcard::to_extend(&written, bytes)?;
        let checksum = XxHash3_64::oneshot(&bytes[HEAD..]);
        bytes[HEAD - 8..HEAD].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads a snapshot. The engine goes on as the one that wrote it.
    ///
    /// # Errors
    /// Fails for bytes that are damaged, foreign, or of another version.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (head, body) = bytes.split_at_checked(HEAD).ok_or(SnapshotError::Foreign)?;
        let [a, b, c, d, form, low, high, checksum @ ..] = head else {
            return Err(SnapshotError::Foreign);
        };
        if [*a, *b, *c, *d] != MARK {
            return Err(SnapshotError::Foreign);
        }
        let (form, engine) = (*form, u16::from_le_bytes([*low, *high]));
        if (form, engine) != (FORM, ENGINE_VERSION) {
            return Err(SnapshotError::Version { form, engine });
        }
        if checksum != XxHash3_64::oneshot(body).to_le_bytes() {
            return Err(SnapshotError::Checksum);
        }
        let (mut read, rest) = postcard::take_from_bytes::<Read>(body)?;
        let is_sound =
            rest.is_empty() && read.state.rebuild() && read.parameters.validate().is_ok();
        if is_sound {
            Ok(Self::with_state(read.parameters, read.state))
        } else {
            Err(SnapshotError::Unsound)
        }
    }
}
