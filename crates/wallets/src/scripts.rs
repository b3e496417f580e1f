//! Scripts that run within Redis, so that each step sees and leaves an entry whole.

use redis::Script;

macro_rules! on_entry {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("scripts/common.lua"),
            include_str!(concat!("scripts/", $name, ".lua"))
        ))
    };
}

/// Each in a file of its name.
pub(super) struct Scripts {
    pub beat: Script,
    pub begin: Script,
    pub feed: Script,
    pub held: Script,
    pub read: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            beat: Script::new(include_str!("scripts/beat.lua")),
            begin: on_entry!("begin"),
            feed: on_entry!("feed"),
            held: Script::new(include_str!("scripts/held.lua")),
            read: on_entry!("read"),
        }
    }
}

/// The keys. What a client chooses comes last, so that no two are the same.
pub(super) mod keys {
    /// State of all entries: a hash with the generation.
    pub fn state(prefix: &str) -> String {
        format!("{prefix}state")
    }

    /// Until when the lease of each feeder lasts: a hash of milliseconds since the epoch.
    pub fn feeders(prefix: &str) -> String {
        format!("{prefix}feeders")
    }

    /// An entry: a hash.
    pub fn wallet(prefix: &str, address: &str) -> String {
        format!("{prefix}wallet:{address}")
    }

    /// The positions of its signals by when they happened: a sorted set.
    pub fn recent(prefix: &str, address: &str) -> String {
        format!("{prefix}recent:{address}")
    }
}
