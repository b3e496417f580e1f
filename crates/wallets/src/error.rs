//! Errors of Redis, with their remedies.

use redis::{ErrorKind, RedisError};
use store::StoreError;

/// Reasons for which the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A setting cannot be used.
    #[error("{setting}: {what}")]
    Setting {
        /// Its key.
        setting: &'static str,
        /// Its fault.
        what: String,
    },
    /// Redis gave no answer, or refuses.
    #[error("cannot {doing} Redis at {url}: {error}{advice}")]
    Redis {
        /// The attempt, as a verb.
        doing: &'static str,
        /// The server, without a password.
        url: String,
        /// The error.
        error: RedisError,
        /// The remedy; empty where none is known.
        advice: String,
    },
    /// Redis has forgotten that it is a cache.
    #[error("Redis has lost the cache; it was flushed, or another process has deleted {key}")]
    Lost {
        /// The key that is gone.
        key: String,
    },
    /// Committed rows found no room in the queue.
    #[error(
        "Redis does not keep up with what is committed, and the queue for it is full (cache.max_queue_bytes)"
    )]
    Overrun,
    /// ClickHouse did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const LOGIN: &str = "; look at cache.user and cache.password";

/// Remedy of an error of Redis'; empty where none is known.
pub(super) fn advice(error: &RedisError) -> &'static str {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return LOGIN;
    }
    match error.code() {
        Some("WRONGPASS" | "NOAUTH") => LOGIN,
        Some("NOPERM") => {
            "; the user's ACL is too narrow: infra/redis/users.acl has the one that is needed"
        }
        Some("OOM") => "; raise its maxmemory, or set its maxmemory-policy to volatile-lru",
        Some("READONLY") => "; it is a replica: cache.url must name the primary",
        Some("MISCONF") => {
            "; it cannot write its snapshots to disk, and takes no writes until it can"
        }
        _ if error.is_timeout() => "; it took longer than cache.timeout",
        _ if error.is_connection_refusal() => "; is it running? Look at cache.url",
        _ => "",
    }
}
