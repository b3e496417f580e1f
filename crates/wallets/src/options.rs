//! Settings of the cache.

use std::path::PathBuf;
use std::time::Duration;

use net::tls::{TlsFiles, certificate_file, key_file};
use option_kit::{
    GIB, KIB, Kind, MINUTE, Parsed, Rule, Secret, YEAR, duration, memory, ms, number, one_line,
    options, secret, text,
};
use url::Url;

options! {
    /// The cache of what is known of each wallet, in Redis.
    #[derive(Debug, Clone, PartialEq)]
    pub struct CacheOptions in "cache", rules RULES {
        /// Redis, which then knows the current state of each wallet: redis://host:6379 or
        /// rediss://host:6379, with the number of a database such as /0; unset for none.
        url: Option<String> = "", Kind::text(redis_url), alias "REDIS_URL";
        /// User, where Redis has an ACL; unset for its default user.
        user: String = "", text();
        /// The user's password.
        password: Secret = "", secret(), secret;
        /// PEM file of the CAs that are trusted with rediss, in place of the system's.
        ca_file: Option<PathBuf> = "", certificate_file();
        /// PEM file of the client's certificate, where the server asks for one.
        cert_file: Option<PathBuf> = "", certificate_file();
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "", key_file();
        /// Begins every key, so that several tables can share a Redis.
        prefix: String = "risksignal:", text();
        /// Time that a wallet stays in Redis without a new signal.
        ttl: Duration = "7d", ttl();
        /// Time in which Redis must answer; beyond it the cache is stale, and ClickHouse is asked.
        timeout: Duration = "500ms", duration(ms(10)..=MINUTE);
        /// Bytes of committed rows that wait for Redis; beyond, the cache is stale.
        max_queue_bytes: usize = "16MiB", memory(64 * KIB..=GIB);
        /// Wallets, those of the newest signals, that are brought back from ClickHouse when the
        /// cache was stale.
        max_wallets: usize = "100000", number(0..=10_000_000);
    }
}

const REDISS_ONLY: &str =
    "it takes part in rediss only; with redis everything is sent in plain text";

const RULES: &[Rule<CacheOptions>] = &[
    Rule::certificate_with_key(&["cache.cert_file", "cache.key_file"], |s| {
        s.cert_file.is_some() == s.key_file.is_some()
    }),
    Rule {
        keys: &["cache.ca_file", "cache.url"],
        holds: |s| s.ca_file.is_none() || s.url.is_none() || s.is_tls(),
        words: REDISS_ONLY,
    },
    Rule {
        keys: &["cache.cert_file", "cache.url"],
        holds: |s| s.cert_file.is_none() || s.url.is_none() || s.is_tls(),
        words: REDISS_ONLY,
    },
    Rule {
        keys: &["cache.password", "cache.user"],
        holds: |s| s.user.is_empty() || !s.password.is_empty(),
        words: "a user needs a password",
    },
];

impl CacheOptions {
    /// PEM files of the connection.
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new(
            self.ca_file.as_ref(),
            self.cert_file.as_ref(),
            self.key_file.as_ref(),
        )
    }

    /// Returns true when Redis is reached over TLS, and never in plain text.
    pub fn is_tls(&self) -> bool {
        let url = self.url.as_deref().unwrap_or_default();
        url.to_ascii_lowercase().starts_with("rediss://")
    }
}

/// The longest window of a wallet's counts is a day.
fn ttl() -> Kind<Duration> {
    duration(MINUTE..=YEAR)
}

/// The URL of a Redis server; empty means none.
fn redis_url(url: &str) -> Parsed<Option<String>> {
    const EXAMPLES: &str =
        "must look like redis://host:6379 or rediss://host:6379/0, with the number of a database";
    if url.is_empty() {
        return Ok(None);
    }
    let parsed = Url::parse(&one_line(url)?).map_err(|error| format!("is no URL: {error}"))?;
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
