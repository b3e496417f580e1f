//! What the operator may set of the cache, and how its texts are read.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::values::{self, Parsed};
use super::{Secret, TlsFiles, redacted_url};

/// The cache of what is known of each wallet, in Redis.
#[derive(Clone, PartialEq)]
pub struct Cache {
    /// The server and the number of its database; `None` is no cache.
    pub url: Option<String>,
    /// The user; empty means Redis' default user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Whom to trust with `rediss://`, and what to show.
    pub tls_files: TlsFiles,
    /// Begins every key.
    pub prefix: String,
    /// How long a wallet stays without a new signal.
    pub ttl: Duration,
    /// How long Redis may take for an answer.
    pub timeout: Duration,
    /// Bytes of committed rows that wait to be told to Redis.
    pub max_queue_bytes: usize,
    /// Wallets that are brought back from ClickHouse.
    pub max_wallets: usize,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            user,
            password,
            tls_files,
            prefix,
            ttl,
            timeout,
            max_queue_bytes,
            max_wallets,
        } = self;
        f.debug_struct("Cache")
            .field("url", &url.as_deref().map(redacted_url))
            .field("user", user)
            .field("password", password)
            .field("tls_files", tls_files)
            .field("prefix", prefix)
            .field("ttl", ttl)
            .field("timeout", timeout)
            .field("max_queue_bytes", max_queue_bytes)
            .field("max_wallets", max_wallets)
            .finish()
    }
}

impl Cache {
    /// Whether Redis is spoken to over TLS, and never in plain text.
    pub fn is_tls(&self) -> bool {
        let url = self.url.as_deref().unwrap_or_default();
        url.to_ascii_lowercase().starts_with("rediss://")
    }
}

/// The URL of a Redis server; empty means none.
pub(super) fn redis_url(url: &str) -> Parsed<Option<String>> {
    const EXAMPLES: &str =
        "must look like redis://host:6379 or rediss://host:6379/0, with the number of a database";
    if url.is_empty() {
        return Ok(None);
    }
    let parsed = Url::parse(&values::text(url)?).map_err(|error| format!("is no URL: {error}"))?;
    let has_login = !parsed.username().is_empty() || parsed.password().is_some();
    // An unescaped slash makes the rest of a password a path.
    if has_login || parsed.path().contains('@') {
        return Err(
            "must hold no user and no password; they have settings of their own".to_owned(),
        );
    }
    let database = parsed.path().trim_start_matches('/');
    let is_database = database.is_empty() || database.parse::<u16>().is_ok();
    let is_plain = parsed.query().is_none() && parsed.fragment().is_none();
    if !["redis", "rediss"].contains(&parsed.scheme())
        || !parsed.has_host()
        || !is_database
        || !is_plain
    {
        return Err(EXAMPLES.to_owned());
    }
    Ok(Some(url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_and_its_database_are_a_cache() {
        assert_eq!(redis_url(""), Ok(None));
        for url in ["redis://h", "redis://h:6379/2", "rediss://[::1]:6380/"] {
            assert_eq!(redis_url(url), Ok(Some(url.to_owned())));
        }
        for url in [
            "h:6379",
            "http://h",
            "redis://",
            "redis://h/name",
            "redis://h/0?a=b",
            "redis://h#f",
            "unix:///run/redis.sock",
        ] {
            assert!(redis_url(url).is_err(), "{url}");
        }
        for url in [
            "redis://u:p@h",
            "redis://:secret@h",
            "redis://u@h:1/0",
            "redis://:a/b@h",
        ] {
            let rule = redis_url(url).unwrap_err();
            assert!(!rule.contains("secret"), "{rule}");
        }
    }
}
