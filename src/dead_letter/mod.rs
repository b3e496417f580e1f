//! What a dead letter looks like in its stream: made in one place, read in one place.
//!
//! A letter is the original message on the subject `<prefix>.<original subject>.<position>`,
//! with headers that say why it could not land. Headers that NATS or this daemon would act on are
//! kept under [`name::ORIGINAL_PREFIX`]. What does not fit into one message is published in
//! parts, each with the number of the letter's first part.

mod history;
mod intent;
mod letter;
mod publish;
mod read;
mod scan;
mod stored;
mod stream;
mod subject;

pub use history::History;
pub use intent::{Intended, Intent};
pub use letter::{Letter, Original, Verdict};
pub use publish::{NotStored, is_of};
pub use read::{Body, Head, PartNumber};
pub use scan::{Scan, Scanned};
pub use stream::{Letters, LettersError, Range, Whole};
pub use subject::Prefixes;

/// The names of the headers.
pub mod name {
    /// Why the message is dead, as a word for programs.
    pub const REASON: &str = "Risksignal-Reason";
    /// Why it is dead, for people.
    pub const ERROR: &str = "Risksignal-Error";
    /// The subject it was published on.
    pub const SUBJECT: &str = "Risksignal-Subject";
    /// The stream it was in.
    pub const STREAM: &str = "Risksignal-Stream";
    /// When that stream was created: nanoseconds since the epoch. A stream that is made anew
    /// counts its sequences from one again.
    pub const STREAM_CREATED: &str = "Risksignal-Stream-Created";
    /// Its sequence in that stream.
    pub const SEQUENCE: &str = "Risksignal-Sequence";
    /// The table that it did not land in, with its database.
    pub const TABLE: &str = "Risksignal-Table";
    /// When that stream took it (RFC 3339, milliseconds).
    pub const PUBLISHED: &str = "Risksignal-Published";
    /// When it was first judged dead (RFC 3339, milliseconds); a replay does not change that.
    pub const FIRST_SEEN: &str = "Risksignal-First-Seen";
    /// How often it was delivered, over all replays.
    pub const ATTEMPTS: &str = "Risksignal-Attempts";
    /// The version of the daemon that judged it.
    pub const VERSION: &str = "Risksignal-Version";
    /// `<number>/<parts>` of a letter in several messages.
    pub const PART: &str = "Risksignal-Part";
    /// On every part but the first: the sequence of the first.
    pub const FIRST_PART: &str = "Risksignal-First-Part";
    /// On parts: bytes of the whole body.
    pub const BODY_BYTES: &str = "Risksignal-Body-Bytes";
    /// Bytes at the beginning of the body that are the original header block, where those
    /// headers could not be headers again.
    pub const HEADER_BYTES: &str = "Risksignal-Header-Bytes";
    /// How often it was replayed before it died again.
    pub const REPLAYS: &str = "Risksignal-Replays";
    /// The reasons of its earlier letters, oldest first, separated by commas.
    pub const EARLIER_REASONS: &str = "Risksignal-Earlier-Reasons";
    /// On a replayed message: the sequence of its letter.
    pub const REPLAYED: &str = "Risksignal-Replayed";
    /// On the record of a replay that has begun: the sequence of its letter.
    pub const REPLAY_OF: &str = "Risksignal-Replay-Of";
    /// On the same: the stream that the letter's message is published to.
    pub const REPLAY_STREAM: &str = "Risksignal-Replay-Stream";
    /// On the same: when that stream was created, in nanoseconds since the epoch.
    pub const REPLAY_STREAM_CREATED: &str = "Risksignal-Replay-Stream-Created";
    /// On the same: a sequence of that stream from before the message was published.
    pub const REPLAY_AFTER: &str = "Risksignal-Replay-After";
    /// Begins, on a replayed message, the names of original headers that are not sent again
    /// under their own.
    pub const KEPT_PREFIX: &str = "Risksignal-Kept-";
    /// Begins, on a letter, the names of original headers that NATS or the daemon would act
    /// on.
    pub const ORIGINAL_PREFIX: &str = "Original-";
}

/// `text` begins with `prefix`, whatever the case; the rest of it then.
fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}
