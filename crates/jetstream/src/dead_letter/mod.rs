//! Format of dead letters in their stream: written in one place, read in one place.
//!
//! A dead letter is the original message on the subject `<prefix>.<original subject>.<position>`,
//! with headers that give the reason. Headers that NATS or this daemon would act on are kept under
//! [`name::ORIGINAL_PREFIX`]. A dead letter that exceeds one message is published in parts, each
//! with the sequence of the first part.

mod fields;
mod history;
mod intent;
mod letter;
mod original;
mod publish;
mod read;
mod replay;
mod scan;
mod stored;
mod stream;
mod subject;

pub use history::DeadLetterHistory;
pub use intent::{Intent, IntentOutcome};
pub use letter::{DeadLetter, Verdict};
pub use original::Original;
pub use publish::{NotStored, StoredDeadLetter, is_dead_letter_of};
pub use read::{DeadLetterHead, OriginalBody, PartNumber};
pub use scan::{Scan, Scanned};
pub use stream::{DeadLetterStream, DeadLetterStreamError, SequenceRange, WholeDeadLetter};
pub use subject::Prefixes;

/// Names of the headers.
pub mod name {
    /// Reason, as a word for programs.
    pub const REASON: &str = "Risksignal-Reason";
    /// Reason, for people.
    pub const ERROR: &str = "Risksignal-Error";
    /// Subject that the message was published on.
    pub const SUBJECT: &str = "Risksignal-Subject";
    /// Stream of the message.
    pub const STREAM: &str = "Risksignal-Stream";
    /// Creation time of that stream: nanoseconds since the epoch. A recreated stream counts its
    /// sequences from one again.
    pub const STREAM_CREATED: &str = "Risksignal-Stream-Created";
    /// Sequence of the message in that stream.
    pub const SEQUENCE: &str = "Risksignal-Sequence";
    /// Table that the message did not reach, with its database.
    pub const TABLE: &str = "Risksignal-Table";
    /// Time at which that stream stored the message (RFC 3339, milliseconds).
    pub const PUBLISHED: &str = "Risksignal-Published";
    /// Time of the first verdict (RFC 3339, milliseconds); a replay does not change it.
    pub const FIRST_SEEN: &str = "Risksignal-First-Seen";
    /// Number of deliveries, over all replays.
    pub const ATTEMPTS: &str = "Risksignal-Attempts";
    /// Version of the daemon that rejected the message.
    pub const VERSION: &str = "Risksignal-Version";
    /// Number of a part, as `<number>/<parts>`.
    pub const PART: &str = "Risksignal-Part";
    /// On every part but the first: sequence of the first.
    pub const FIRST_PART: &str = "Risksignal-First-Part";
    /// On parts: size of the whole body in bytes.
    pub const BODY_BYTES: &str = "Risksignal-Body-Bytes";
    /// Size of the original header block at the beginning of the body, if those headers could not
    /// be stored as headers.
    pub const HEADER_BYTES: &str = "Risksignal-Header-Bytes";
    /// Number of replays before this dead letter.
    pub const REPLAYS: &str = "Risksignal-Replays";
    /// Reasons of earlier dead letters, oldest first, separated by commas.
    pub const EARLIER_REASONS: &str = "Risksignal-Earlier-Reasons";
    /// On a replayed message: sequence of its dead letter.
    pub const REPLAYED: &str = "Risksignal-Replayed";
    /// On the record of a started replay: sequence of its dead letter.
    pub const REPLAY_OF: &str = "Risksignal-Replay-Of";
    /// On such a record: stream that the message is published to.
    pub const REPLAY_STREAM: &str = "Risksignal-Replay-Stream";
    /// On such a record: creation time of that stream, in nanoseconds since the epoch.
    pub const REPLAY_STREAM_CREATED: &str = "Risksignal-Replay-Stream-Created";
    /// On such a record: a sequence of that stream from before the publish.
    pub const REPLAY_AFTER: &str = "Risksignal-Replay-After";
    /// On a replayed message: prefix of original headers that are not sent again under their own
    /// names.
    pub const KEPT_PREFIX: &str = "Risksignal-Kept-";
    /// On a dead letter: prefix of original headers that NATS or the daemon would act on.
    pub const ORIGINAL_PREFIX: &str = "Original-";
}

/// Returns `text` after `prefix`, compared without regard to case.
fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}
