//! Settings of the connection to NATS.

use std::path::PathBuf;
use std::time::Duration;

use net::tls::{TlsFiles, certificate_file, key_file};
use option_kit::{
    Kind, MINUTE, Parsed, Rule, Secret, duration, ms, one_line, one_of, optional_web_url, options,
    redacted_url, secret, text,
};
use url::Url;

use super::kinds::subject_prefix;

options! {
    /// Settings of the connection to NATS.
    #[derive(Debug, Clone, PartialEq)]
    pub struct NatsOptions in "nats", rules RULES {
        /// Servers to connect to, separated by commas.
        url: String = "nats://127.0.0.1:4222", Kind::text(nats_urls), alias "NATS_URL";
        /// User; unset for none.
        user: String = "", text();
        /// Password of the user.
        password: Secret = "", secret(), secret;
        /// Token, instead of user and password.
        token: Secret = "", secret(), secret;
        /// Seed of an NKey (SU...), instead of user and password.
        nkey: Secret = "", Kind::text(nkey_seed), secret;
        /// Text of a .creds file, instead of user and password; prefer its name in nats.creds_file.
        creds: Secret = "", Kind::text(nats_creds), secret;
        /// auto (TLS with tls:// URLs, a CA or a certificate, or on the server's request), on
        /// (always) or first (before the server's first message).
        tls: Tls = "auto", tls();
        /// PEM file of CAs to trust instead of the system's.
        ca_file: Option<PathBuf> = "", certificate_file();
        /// PEM file of the client's certificate, for a server that requires one.
        cert_file: Option<PathBuf> = "", certificate_file();
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "", key_file();
        /// Prefix of reply subjects. One that only this login may subscribe to hides replies from
        /// other users.
        inbox_prefix: String = "_INBOX", subject_prefix();
        /// Time limit of one attempt to connect.
        connect_timeout: Duration = "5s", duration(ms(10)..=MINUTE);
        /// Time limit of a JetStream answer.
        request_timeout: Duration = "5s", duration(ms(10)..=MINUTE);
        /// HTTP monitoring of nats-server, such as http://127.0.0.1:8222. Its /healthz shows a full
        /// disk, which NATS reports to no client. Unset for none.
        monitoring_url: Option<String> = "", optional_web_url("http://host:8222 or https://host:8222");
    }
}

const ONE_LOGIN: &str = "only one of them may be set";

const RULES: &[Rule<NatsOptions>] = &[
    Rule {
        keys: &["nats.user", "nats.token"],
        holds: |s| s.user.is_empty() || s.token.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.user", "nats.nkey"],
        holds: |s| s.user.is_empty() || s.nkey.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.user", "nats.creds"],
        holds: |s| s.user.is_empty() || s.creds.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.token", "nats.nkey"],
        holds: |s| s.token.is_empty() || s.nkey.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.token", "nats.creds"],
        holds: |s| s.token.is_empty() || s.creds.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.nkey", "nats.creds"],
        holds: |s| s.nkey.is_empty() || s.creds.is_empty(),
        words: ONE_LOGIN,
    },
    Rule::certificate_with_key(&["nats.cert_file", "nats.key_file"], |s| {
        s.cert_file.is_some() == s.key_file.is_some()
    }),
    Rule {
        keys: &["nats.password", "nats.user"],
        holds: |s| s.password.is_empty() || !s.user.is_empty(),
        words: "a password needs a user",
    },
];

impl NatsOptions {
    /// Returns the PEM files of the connection.
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new(
            self.ca_file.as_ref(),
            self.cert_file.as_ref(),
            self.key_file.as_ref(),
        )
    }

    /// Returns true if the connection is never in plain text: any setting requires TLS. One
    /// `tls://` URL counts for all, since a cluster's servers name each other without a scheme.
    pub fn requires_tls(&self) -> bool {
        let by_url = |url: &str| url.trim().to_ascii_lowercase().starts_with("tls://");
        self.tls != Tls::Auto || self.tls_files().any() || self.url.split(',').any(by_url)
    }
}

/// Use of TLS in a connection to NATS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// Required by the URL, a CA, a certificate or the server.
    #[default]
    Auto,
    /// Always.
    On,
    /// Always, before the server's first message.
    First,
}

fn tls() -> Kind<Tls> {
    one_of(&[("auto", Tls::Auto), ("on", Tls::On), ("first", Tls::First)])
}

/// Accepts the seed of a user's NKey.
fn nkey_seed(seed: &str) -> Parsed<Secret> {
    let is_user = |seed: &str| seed.starts_with("SU") && nkeys::KeyPair::from_seed(seed).is_ok();
    if seed.is_empty() || is_user(seed) {
        return Ok(Secret::new(seed));
    }
    Err("must be the seed of a user's NKey, 58 capitals and digits that begin with SU".to_owned())
}

/// Accepts the text of a `.creds` file.
fn nats_creds(creds: &str) -> Parsed<Secret> {
    if creds.is_empty() {
        return Ok(Secret::default());
    }
    // The client requires a line break at the end, which a secret's file has lost.
    let creds = format!("{creds}\n");
    if async_nats::ConnectOptions::new()
        .credentials(&creds)
        .is_ok()
    {
        return Ok(Secret::new(creds));
    }
    Err("must be the text of a .creds file, with a user's JWT and the seed of an NKey".to_owned())
}

/// Accepts one or several NATS servers.
fn nats_urls(urls: &str) -> Parsed<String> {
    for url in one_line(urls)?.split(',').map(str::trim) {
        nats_url(url).map_err(|rule| format!("{} {rule}", redacted_url(url)))?;
    }
    Ok(urls.to_owned())
}

fn nats_url(url: &str) -> Parsed<()> {
    let full = if url.contains("://") {
        url.to_owned()
    } else {
        format!("nats://{url}")
    };
    let parsed = Url::parse(&full).ok().filter(Url::has_host);
    let scheme = parsed.as_ref().map_or("", Url::scheme);
    if ["ws", "wss"].contains(&scheme) {
        return Err(
            "is a WebSocket URL, which this program does not support; use nats or tls".into(),
        );
    }
    // Text after the host has no meaning, and may be a password with an unescaped slash.
    let ends = |url: &Url| ["", "/"].contains(&&url[url::Position::BeforePath..]);
    if !["nats", "tls"].contains(&scheme) || !parsed.as_ref().is_some_and(ends) {
        return Err(
            "is not a NATS server; it must look like nats://host:4222 or tls://host:4222".into(),
        );
    }
    // The client would drop them, and log in anonymously.
    if parsed.is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        return Err("must hold no user, password or token; they have settings of their own".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_can_be_connected_to_are_accepted() {
        for url in [
            "nats://h",
            "h",
            "h:4222",
            "tls://h:4222/",
            "nats://h:1, nats://h2",
            "nats://[::1]:4222",
        ] {
            assert_eq!(nats_urls(url), Ok(url.to_owned()));
        }
    }

    #[test]
    fn others_are_refused_and_no_password_is_shown() {
        for (url, rule) in [
            ("", "is not a NATS server"),
            ("nats://", "is not a NATS server"),
            ("h,", "is not a NATS server"),
            ("ws://h:80", "is a WebSocket"),
            ("wss://hunter2@h", "is a WebSocket"),
            ("http://h", "is not a NATS server"),
            ("nats://app:hunter2@h", "must hold no user"),
            ("nats://h, nats://hunter2@h2", "must hold no user"),
            ("nats://app:hunter2/x@h:4222", "is not a NATS server"),
            ("nats://hunter2/x@h:4222", "is not a NATS server"),
            ("nats://app:hunter2,x@h:4222", "is not a NATS server"),
            ("nats://h:4222/?password=hunter2", "is not a NATS server"),
            ("nats://h\n:4222", "must hold no line break"),
        ] {
            let fault = nats_urls(url).unwrap_err();
            assert!(fault.contains(rule), "{url}: {fault}");
            assert!(!fault.contains("hunter2"), "{url}: {fault}");
        }
    }
}
