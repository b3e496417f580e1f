//! Settings of metrics, health and the live page.

use std::path::PathBuf;

use net::tls::{TlsFiles, certificate_file, key_file};
use option_kit::{ListenAddress, Rule, Secret, listen_address_or_off, options, secret};

options! {
    /// Metrics, health and the live page.
    #[derive(Debug, Clone, PartialEq)]
    pub struct OpsOptions in "ops", rules RULES {
        /// Address or host, and port, of metrics, health and the live page, or off. Of a host, its
        /// first IPv4 address at the start, or else its first IPv6 address.
        listen: Option<ListenAddress> = "127.0.0.1:9464", listen_address_or_off();
        /// Asked for by metrics, status and the live page, as a bearer token or as any user's
        /// password; set it beyond loopback.
        token: Secret = "", secret(), secret;
        /// PEM file of the certificate that clients are shown over https; unset, the token, the
        /// page and the rest go in plain text.
        cert_file: Option<PathBuf> = "", certificate_file(), live;
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "", key_file(), live;
    }
}

const RULES: &[Rule<OpsOptions>] = &[Rule::certificate_with_key(
    &["ops.cert_file", "ops.key_file"],
    |s| s.cert_file.is_some() == s.key_file.is_some(),
)];

impl OpsOptions {
    /// PEM files of the listener.
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new(None, self.cert_file.as_ref(), self.key_file.as_ref())
    }
}
