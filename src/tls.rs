//! TLS: whom to trust, what to show, and what to look at when a handshake fails.

pub mod pinned;

use std::error::Error;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper_rustls::ConfigBuilderExt;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::settings::TlsFiles;

/// What is wrong with the files of a TLS connection.
#[derive(Debug, thiserror::Error)]
#[error("{section}.{key}: {what}")]
pub struct TlsError {
    section: &'static str,
    key: &'static str,
    what: String,
}

impl TlsError {
    fn new(section: &'static str, key: &'static str, what: &dyn Display) -> Self {
        let what = what.to_string();
        Self { section, key, what }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A server's side of TLS from the files of a section of the settings: its certificate with those
/// between it and its CA, and its key.
///
/// # Errors
/// As [`Side::client_config`].
pub fn server_config(
    section: &'static str,
    certificate: &Path,
    key: &Path,
) -> Result<ServerConfig, TlsError> {
    let fault = |key, what: &dyn Display| TlsError::new(section, key, what);
    let chain = certificates(certificate).map_err(|error| fault("cert_file", &error))?;
    let key = private_key(key).map_err(|error| fault("key_file", &error))?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("cert_file", &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| fault("key_file", &error))
}

/// A client's side of TLS.
#[derive(Debug, Clone)]
pub struct Side {
    section: &'static str,
    has_certificate: bool,
    was_asked: Arc<WasAsked>,
}

/// Whether a server has asked for a certificate where none is set. One that can do without asks,
/// too.
#[derive(Debug, Default)]
struct WasAsked(AtomicBool);

impl ResolvesClientCert for WasAsked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl Side {
    /// That of the files of a section of the settings.
    pub fn of(section: &'static str, files: &TlsFiles) -> Self {
        Self {
            section,
            has_certificate: files.certificate.is_some(),
            was_asked: Arc::default(),
        }
    }

    /// With the CAs named in the files, or else the system's.
    ///
    /// # Errors
    /// When a file cannot be read any more, or a key is not that of the certificate.
    pub fn client_config(&self, files: &TlsFiles) -> Result<ClientConfig, TlsError> {
        let section = self.section;
        let fault = |key, what: &dyn Display| TlsError::new(section, key, what);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| fault("tls", &error))?;
        let builder = match &files.ca {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path).map_err(|error| fault("ca_file", &error))? {
                    roots
                        .add(certificate)
                        .map_err(|error| fault("ca_file", &error))?;
                }
                builder.with_root_certificates(roots)
            }
            None => builder
                .with_native_roots()
                .map_err(|error| fault("ca_file", &format!("is unset, and {error}")))?,
        };
        let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
            return Ok(builder.with_client_cert_resolver(self.was_asked.clone()));
        };
        let chain = certificates(certificate).map_err(|error| fault("cert_file", &error))?;
        let key = private_key(key).map_err(|error| fault("key_file", &error))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| fault("key_file", &error))
    }

    /// What to look at when TLS is what failed; empty otherwise.
    pub fn advice(&self, error: &(dyn Error + 'static)) -> String {
        match find(error) {
            None => String::new(),
            Some(rustls::Error::InvalidCertificate(error)) => {
                certificate_advice(error, self.section)
            }
            Some(rustls::Error::InvalidMessage(_)) => format!(
                "; the server does not answer with TLS, and nothing is sent in plain text: look at {}",
                asks_for_tls(self.section)
            ),
            Some(rustls::Error::AlertReceived(alert)) if REFUSALS.contains(alert) => {
                self.refusal(*alert)
            }
            Some(_) => format!("; look at {}", asks_for_tls(self.section)),
        }
    }

    /// As [`Self::advice`], where of an error only its words are left.
    pub fn advice_on_words(&self, words: &str) -> String {
        let told = |alert: &&AlertDescription| {
            words.contains(&rustls::Error::AlertReceived(**alert).to_string())
        };
        REFUSALS
            .iter()
            .find(told)
            .map_or_else(String::new, |alert| self.refusal(*alert))
    }

    /// What to look at when the connection was over as soon as the handshake was, and the reason
    /// was lost: with TLS 1.3 a server refuses a client whose handshake is done.
    pub fn after_handshake(&self) -> Option<String> {
        self.lacks_certificate().then(|| self.asks())
    }

    /// What to look at when the server has closed the connection and nothing tells why.
    pub fn question(&self) -> String {
        let files = self.files();
        if self.has_certificate {
            format!("does it take the client's certificate ({files})?")
        } else {
            format!("does it ask for a certificate ({files})?")
        }
    }

    /// What a server's alert says of the client's certificate.
    fn refusal(&self, alert: AlertDescription) -> String {
        let files = self.files();
        // OpenSSL has them for the lack of a certificate with TLS 1.2, and for other things.
        let is_vague = matches!(
            alert,
            AlertDescription::HandshakeFailure | AlertDescription::AccessDenied
        );
        match (self.has_certificate, is_vague) {
            (true, true) => {
                format!("; the server may refuse the client's certificate: look at {files}")
            }
            (true, false) => {
                format!("; the server refuses the client's certificate: look at {files}")
            }
            (false, true) if !self.lacks_certificate() => {
                format!("; the server may ask for a certificate, and none is set: set {files}")
            }
            (false, _) => self.asks(),
        }
    }

    fn lacks_certificate(&self) -> bool {
        self.was_asked.0.load(Ordering::Relaxed)
    }

    fn asks(&self) -> String {
        let files = self.files();
        format!("; the server asks for a certificate, and none is set: set {files}")
    }

    fn files(&self) -> String {
        let section = self.section;
        format!("{section}.cert_file and {section}.key_file")
    }
}

fn certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

/// The parser's words may quote the key, and are not told.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_file(path).map_err(|_| "cannot be read, or holds no private key")
}

/// The alerts by which a server refuses a client's certificate, or the lack of one.
const REFUSALS: [AlertDescription; 9] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::AccessDenied,
    AlertDescription::HandshakeFailure,
];

/// Whether the connection was over before anything was sent. hyper keeps the reason to itself.
pub fn is_unstarted(error: &(dyn Error + 'static)) -> bool {
    let by_hyper = error.downcast_ref::<hyper::Error>();
    by_hyper.is_some_and(hyper::Error::is_canceled) || error.source().is_some_and(is_unstarted)
}

/// Whether the other side has closed the connection.
pub fn is_closed(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        );
    }
    let by_hyper = error.downcast_ref::<hyper::Error>();
    by_hyper.is_some_and(|error| error.is_closed() || error.is_incomplete_message())
        || error.source().is_some_and(is_closed)
}

/// The settings that ask for TLS.
fn asks_for_tls(section: &str) -> &str {
    match section {
        "nats" => "nats.url and nats.tls",
        "otel" => "otel.endpoint",
        "cache" => "cache.url",
        _ => "clickhouse.url",
    }
}

fn certificate_advice(error: &CertificateError, section: &str) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "; no CA that is trusted has signed the server's certificate: look at {section}.ca_file"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "; the server's certificate has expired: renew it, or look at this machine's clock"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "; the server's certificate is not valid yet: look at this machine's clock".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let setting = match section {
                "otel" => "otel.endpoint".to_owned(),
                _ => format!("{section}.url"),
            };
            format!("; the server's certificate is for other names: look at {setting}")
        }
        _ => "; look at the server's certificate".to_owned(),
    }
}

/// The error of TLS within an error, wherever it stands.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // That of one that is shared is not what is shared, either.
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return find(shared.as_ref());
    }
    // The source of an I/O error is not what it holds, but the source of that.
    let held = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .and_then(|held| find(held));
    held.or_else(|| find(error.source()?))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn without() -> Side {
        Side::of("nats", &TlsFiles::default())
    }

    fn with() -> Side {
        Side {
            has_certificate: true,
            ..without()
        }
    }

    fn alert(alert: AlertDescription) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, rustls::Error::AlertReceived(alert))
    }

    #[test]
    fn an_alert_tells_what_to_do_with_the_certificate() {
        for (description, asks, refuses) in [
            // By RFC 8446, for the lack of one.
            (AlertDescription::CertificateRequired, "asks for", "refuses"),
            // By Go for that, with TLS 1.2.
            (AlertDescription::BadCertificate, "asks for", "refuses"),
            (AlertDescription::UnknownCA, "asks for", "refuses"),
            // By OpenSSL for that, with TLS 1.2, but not for that alone.
            (AlertDescription::HandshakeFailure, "may ask", "may refuse"),
        ] {
            let error = alert(description);
            for (side, verb, end) in [
                (without(), asks, "set nats.cert_file and nats.key_file"),
                (with(), refuses, "look at nats.cert_file and nats.key_file"),
            ] {
                let told = side.advice(&error);
                assert!(told.contains(&format!("the server {verb} ")), "{told}");
                assert!(told.ends_with(end), "{told}");
                let words = format!("IO error: {error}");
                assert_eq!(side.advice_on_words(&words), told);
            }
        }
    }

    #[test]
    fn other_alerts_tell_nothing_of_certificates() {
        let error = alert(AlertDescription::ProtocolVersion);
        assert_eq!(without().advice(&error), "; look at nats.url and nats.tls");
        assert_eq!(without().advice_on_words(&error.to_string()), "");
        assert_eq!(without().advice(&io::Error::other("away")), "");
    }

    #[test]
    fn once_a_server_has_asked_the_lack_of_a_certificate_is_told() {
        let side = without();
        assert_eq!(side.after_handshake(), None);
        assert!(side.was_asked.resolve(&[], &[]).is_none());
        let told = side.after_handshake().unwrap();
        for description in [
            AlertDescription::CertificateRequired,
            AlertDescription::HandshakeFailure,
        ] {
            assert_eq!(told, side.advice(&alert(description)));
        }
    }

    #[test]
    fn a_refused_connection_is_not_a_closed_one() {
        for (kind, expected) in [
            (ErrorKind::ConnectionReset, true),
            (ErrorKind::UnexpectedEof, true),
            (ErrorKind::ConnectionRefused, false),
            (ErrorKind::TimedOut, false),
        ] {
            assert_eq!(is_closed(&io::Error::from(kind)), expected, "{kind}");
        }
    }
}
