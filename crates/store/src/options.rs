//! Settings of the connection to ClickHouse, of the table, and of the inserts.

use std::path::PathBuf;
use std::time::Duration;

use net::tls::{HTTPS_ONLY, TlsFiles, certificate_file, key_file};
use option_kit::{
    HOUR, Kind, MINUTE, Parsed, Rule, Secret, YEAR, duration, duration_or_zero, ms, number, one_of,
    options, secret, text, web_url, yes_or_no,
};

options! {
    /// Settings of the connection to ClickHouse and of inserts.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ClickHouseOptions in "clickhouse", rules RULES {
        /// URL of the HTTP interface.
        url: String = "http://127.0.0.1:8123", Kind::text(http_url), alias "CLICKHOUSE_URL";
        /// User.
        user: String = "admin", text(), alias "CLICKHOUSE_USER";
        /// Password of the user.
        password: Secret = "", secret(), secret, alias "CLICKHOUSE_PASSWORD";
        /// PEM file of CAs to trust with https instead of the system's.
        ca_file: Option<PathBuf> = "", certificate_file();
        /// PEM file of the client's certificate, for a server that requires one.
        cert_file: Option<PathBuf> = "", certificate_file();
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "", key_file();
        /// Database; created if absent.
        database: String = "risksignal", identifier(), alias "CLICKHOUSE_DATABASE";
        /// Table of signals; created if absent.
        table: String = "raw_signals", identifier();
        /// Compression of batches in transit: auto (none to this machine, otherwise lz4), lz4 or
        /// none.
        compression: Compression = "auto", compression();
        /// Longest time that sending a part of a batch may block.
        send_timeout: Duration = "5s", duration(ms(100)..=HOUR);
        /// Time limit of ClickHouse's answer to an insert or a query.
        end_timeout: Duration = "15s", duration(ms(100)..=HOUR);
        /// Time from a claim until ClickHouse rejects its block. The daemon then sends unfinished
        /// rows again.
        fence: Duration = "2m", duration(ms(1000)..=HOUR);
        /// Longest time from a fence to a late commit of its block, and largest backward step of
        /// ClickHouse's clock.
        late_commit: Duration = "30s", duration(ms(1000)..=HOUR);
        /// Concurrent inserts.
        max_concurrent_inserts: usize = "2", number(1..=32);
        /// Pause before the first retry; it doubles with each retry, with jitter.
        retry_min: Duration = "100ms", duration(ms(1)..=MINUTE);
        /// Longest pause between two retries.
        retry_max: Duration = "10s", duration(ms(1)..=HOUR);
        /// Brings the schema up to date when `risksignal run` starts.
        migrate: bool = "true", yes_or_no();
        /// Age after arrival at which ClickHouse removes rows; 0s sets no TTL.
        retention: Duration = "0s", retention();
    }
}

/// Longest fence; migration 5 contains it, too.
const FENCE_MAX: Duration = Duration::from_secs(3600);

const RULES: &[Rule<ClickHouseOptions>] = &[
    Rule {
        keys: &["clickhouse.fence", "clickhouse.late_commit"],
        holds: |s| s.fence + s.late_commit <= FENCE_MAX,
        words: "together they are an hour at most, since the table rejects a fence that is further ahead",
    },
    Rule {
        keys: &["clickhouse.retry_min", "clickhouse.retry_max"],
        holds: |s| s.retry_min <= s.retry_max,
        words: "the shortest pause must not be longer than the longest",
    },
    Rule::certificate_with_key(&["clickhouse.cert_file", "clickhouse.key_file"], |s| {
        s.cert_file.is_some() == s.key_file.is_some()
    }),
    Rule {
        keys: &["clickhouse.ca_file", "clickhouse.url"],
        holds: |s| s.ca_file.is_none() || s.is_https(),
        words: HTTPS_ONLY,
    },
    Rule {
        keys: &["clickhouse.cert_file", "clickhouse.url"],
        holds: |s| s.cert_file.is_none() || s.is_https(),
        words: HTTPS_ONLY,
    },
];

impl ClickHouseOptions {
    /// Returns the PEM files of the connection.
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new(
            self.ca_file.as_ref(),
            self.cert_file.as_ref(),
            self.key_file.as_ref(),
        )
    }

    /// Returns true if the connection is over TLS, and never in plain text.
    pub fn is_https(&self) -> bool {
        self.url.to_ascii_lowercase().starts_with("https://")
    }

    /// Returns the table's name with its database.
    pub fn full_table(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }
}

/// Smallest number of deduplication tokens that a table must keep, with any settings.
pub const TOKENS_MIN: u64 = 10_000;

/// Compression of batches in transit to ClickHouse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// None to this machine, LZ4 to any other.
    #[default]
    Auto,
    /// LZ4 frames.
    Lz4,
    /// Uncompressed.
    None,
}

fn compression() -> Kind<Compression> {
    one_of(&[
        ("auto", Compression::Auto),
        ("lz4", Compression::Lz4),
        ("none", Compression::None),
    ])
}

/// Accepts a retention that ClickHouse can add to an arrival: its DateTime ends in 2106.
fn retention() -> Kind<Duration> {
    duration_or_zero(HOUR..=50 * YEAR)
}

/// Accepts a URL of ClickHouse's HTTP interface.
fn http_url(url: &str) -> Parsed<String> {
    web_url(url, "http://host:8123 or https://host:8443")
}

/// Accepts a name that ClickHouse allows without quotes.
fn identifier() -> Kind<String> {
    Kind::text(|name| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(
                "must be letters, digits and underscores, not beginning with a digit".to_owned(),
            );
        }
        Ok(name.to_owned())
    })
}
