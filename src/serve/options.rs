//! Settings of `risksignal serve`.

use std::path::PathBuf;
use std::time::Duration;

use net::tls::{TlsFiles, certificate_file, key_file};
use option_kit::{
    GIB, HOUR, KIB, Kind, ListenAddress, MIB, Parsed, Rule, duration, listen_address, memory, ms,
    number, one_line, options, yes_or_no,
};
use url::Url;

use super::tokens::{self, Token};

options! {
    /// The way in, and back, over HTTP.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ServeOptions in "serve", rules RULES {
        /// Address or host, and port, on which `risksignal serve` takes signals over HTTP. Of a
        /// host, its first IPv4 address at the start, or else its first IPv6 address.
        listen: Option<ListenAddress> = "127.0.0.1:9465", listen_address();
        /// `risksignal run` serves too, in the same process.
        with_run: bool = "false", yes_or_no();
        /// TOML file of the tokens that clients may show; `risksignal serve token` creates its
        /// entries.
        tokens as "tokens_file": Vec<Token> = "", Kind::text(tokens::read), live;
        /// PEM file of the certificate that clients are shown over https; unset, signals and tokens
        /// come in plain text.
        cert_file: Option<PathBuf> = "", certificate_file(), live;
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "", key_file(), live;
        /// Origins whose pages may send, such as https://app.example.com, separated by commas;
        /// unset for none.
        cors_origins: Vec<String> = "", Kind::text(origins);
        /// Connections at once; beyond, a new one takes the place of one that waits for its client.
        max_connections: usize = "256", number(1..=65_536);
        /// Connections of one address (IPv6: of one /64) at once; behind a proxy as many as
        /// serve.max_connections.
        max_connections_per_client: usize = "64", number(1..=65_536);
        /// Bytes of a request's body, as it is sent and after decompression.
        max_body_bytes: usize = "8MiB", memory(KIB..=256 * MIB);
        /// Bytes of all bodies that are not answered yet; beyond, clients are put off.
        max_held_bytes: usize = "64MiB", memory(KIB..=2 * GIB);
        /// Signals of a request.
        max_signals: usize = "1000", number(1..=100_000);
        /// Signals published without JetStream's answer yet, at most; beyond, clients are put
        /// off.
        max_unanswered: usize = "10000", unanswered();
        /// Questions that ClickHouse is asked at once for clients; more wait for their turn.
        max_queries: usize = "16", number(1..=1000);
        /// Time in which ClickHouse must answer one of them.
        query_timeout: Duration = "5s", duration(ms(100)..=HOUR);
        /// Time in which a request's body must arrive.
        body_timeout: Duration = "10s", duration(ms(100)..=HOUR);
        /// Time in which a client must read an answer.
        answer_timeout: Duration = "30s", duration(ms(100)..=HOUR);
    }
}

const RULES: &[Rule<ServeOptions>] = &[
    Rule::certificate_with_key(&["serve.cert_file", "serve.key_file"], |s| {
        s.cert_file.is_some() == s.key_file.is_some()
    }),
    Rule {
        keys: &["serve.with_run", tokens::KEY],
        holds: |s| !s.with_run || !s.tokens.is_empty(),
        words: "nobody is served without a token",
    },
    Rule {
        keys: &["serve.max_body_bytes", "serve.max_held_bytes"],
        holds: |s| s.max_body_bytes <= s.max_held_bytes,
        words: "a full body must fit into the bytes held at once",
    },
    Rule {
        keys: &["serve.max_signals", "serve.max_unanswered"],
        holds: |s| s.max_signals <= s.max_unanswered,
        words: "a full request must fit into the signals published at once",
    },
];

impl ServeOptions {
    /// PEM files of the listener.
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new(None, self.cert_file.as_ref(), self.key_file.as_ref())
    }
}

/// An inbox's channel has room for more.
fn unanswered() -> Kind<usize> {
    number(1..=100_000)
}

/// Origins of web pages, separated by commas, as a browser sends them.
fn origins(origins: &str) -> Parsed<Vec<String>> {
    let origin = |origin: &str| {
        let url = Url::parse(origin).ok()?;
        let is_origin = ["http", "https"].contains(&url.scheme())
            && url.origin().ascii_serialization() == origin;
        is_origin.then(|| origin.to_owned())
    };
    let given = one_line(origins)?;
    let given = given
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty());
    given
        .map(|given| {
            origin(given).ok_or_else(|| {
                "must be origins such as https://app.example.com, without a path, in small letters, separated by commas".to_owned()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_a_browser_sends_them() {
        let two = ["https://a.example", "http://localhost:3000"].map(str::to_owned);
        assert_eq!(
            origins("https://a.example, http://localhost:3000"),
            Ok(two.to_vec())
        );
        assert_eq!(origins(""), Ok(Vec::new()));
        for bad in [
            "*",
            "https://a.example/",
            "https://A.example",
            "a.example",
            "null",
        ] {
            assert!(origins(bad).is_err(), "{bad}");
        }
    }
}
