//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const ACK_POLICY_KEPT: &str = "The consumer keeps its ack policy, which consumer.ack_policy \
    does not change; adapt the setting, or delete the consumer while no daemon runs";
pub const HANGS: &str = "The pipeline hangs; the service manager gets no more heartbeats";
pub const STREAM_WENT_BACK: &str = "The stream of signals went back: it was restored, or lost its \
    last messages; messages above `to` are looked up and landed again where they are not stored";
pub const LOOKING_UP: &str = "Looking up messages that are in doubt, or were acked without a \
    claim; those that are stored nowhere land now";
pub const SPLIT: &str = "ClickHouse does not take a batch as it is; it is split";
pub const OUTSIDE_FENCE: &str = "Insert came outside its fence; its claim is settled";
pub const VIEW_REFUSED: &str =
    "A materialized view refused rows that the table has; the view lacks them";
pub const OTHER_TABLE: &str =
    "The table is another one than at the first try; its claim is settled";
pub const CLAIMS_WAIT: &str = "Claims wait";
pub const LETTERS_PUBLISHED: &str = "All dead letters that waited are published";
pub const LETTER_NOT_PUBLISHED: &str = "Dead letter not published; it is tried again";
pub const LETTERS_NOT_PUBLISHED: &str = "Dead letters are not published; they are tried again";
pub const EXHAUSTED_STORED: &str = "Message was delivered too often, but is in ClickHouse";
pub const EXHAUSTED_ALONE: &str = "Message was delivered too often; it is tried alone";
pub const EXHAUSTED_GONE: &str = "Message was delivered too often, but is gone from the stream, \
    or a new consumer delivers it again; it gets no dead letter";
pub const ADVISORIES_LOST: &str = "Messages were delivered too often, and the advisories on them \
    are lost; they may have neither row nor dead letter";
pub const INSERT_REFUSED: &str =
    "Insert refused; pulling stops until this is mended, nothing is acked";
pub const INSERT_FAILED: &str = "Insert failed; the same batch is sent again";
pub const INSERTS_PROBE: &str =
    "ClickHouse fails again and again; one insert at a time asks whether it is back";
pub const SETTLED: &str = "A claim is settled";
pub const SETTLE_WAITS: &str =
    "A claim waits for its fence; then the daemon counts its rows in ClickHouse";
pub const SETTLE_UNANSWERED: &str =
    "ClickHouse does not answer how many rows of a claim it has; the claim waits";
pub const TAKEN_OVER: &str = "Completing a claim that another process has left open";
pub const PULL_FAILED: &str = "Pull failed; it is repeated";
pub const LOST: &str = "Messages are lost: they are in no table, in no dead letter, and gone from \
    the stream";
pub const EXPIRED: &str = "Messages are lost: they left the stream before they were committed, by \
    its max_age, at one of its bounds, or by hand";
pub const FENCE_AT_STOP: &str = "A claim still waits for its fence at the stop; another process or \
    the next start settles it, and none of its messages is acked before";
