//! TLS configuration, and advice on failed handshakes.

mod files;
pub mod pinned;

pub use files::{HTTPS_ONLY, TlsFiles, certificate_file, key_file};

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

/// A fault of the files of a TLS connection.
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

/// Creates a server's side of TLS from the files of a section of the settings: its key, and its
/// certificate with those between it and its CA.
///
/// # Errors
/// Fails as [`ClientTls::client_config`] does.
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

/// The client's side of TLS.
#[derive(Debug, Clone)]
pub struct ClientTls {
    section: &'static str,
    has_certificate: bool,
    was_asked: Arc<WasAsked>,
}

/// Notes that a server has asked for a certificate while none is set. Servers for which it is
/// optional ask too.
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

impl ClientTls {
    /// Creates it from the files of a section of the settings.
    pub fn new(section: &'static str, files: &TlsFiles) -> Self {
        Self {
            section,
            has_certificate: files.certificate.is_some(),
            was_asked: Arc::default(),
        }
    }

    /// Trusts the CAs named in the files, or else the system's.
    ///
    /// # Errors
    /// Fails when a file can no longer be read, or a key does not belong to the certificate.
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

    /// Returns advice if TLS caused the failure; empty otherwise.
    pub fn advice(&self, error: &(dyn Error + 'static)) -> String {
        match find(error) {
            None => String::new(),
            Some(rustls::Error::InvalidCertificate(error)) => {
                certificate_advice(error, self.section)
            }
            Some(rustls::Error::InvalidMessage(_)) => format!(
                "; the server does not answer with TLS, and nothing is sent in plain text: check {}",
                tls_settings(self.section)
            ),
            Some(rustls::Error::AlertReceived(alert)) if REFUSALS.contains(alert) => {
                self.refusal(*alert)
            }
            Some(_) => format!("; check {}", tls_settings(self.section)),
        }
    }

    /// Like [`Self::advice`], for an error of which only the words are left.
    pub fn advice_on_words(&self, words: &str) -> String {
        let is_named = |alert: &&AlertDescription| {
            words.contains(&rustls::Error::AlertReceived(**alert).to_string())
        };
        REFUSALS
            .iter()
            .find(is_named)
            .map_or_else(String::new, |alert| self.refusal(*alert))
    }

    /// Returns advice for a connection that ended right after the handshake, without a reason: with
    /// TLS 1.3 a server rejects a client after the handshake.
    pub fn after_handshake(&self) -> Option<String> {
        self.lacks_certificate().then(|| self.require_advice())
    }

    /// Returns the question to examine when the server closed the connection without a reason.
    pub fn advice_on_close(&self) -> String {
        let files = self.files();
        if self.has_certificate {
            format!("does it accept the client's certificate ({files})?")
        } else {
            format!("does it require a certificate ({files})?")
        }
    }

    /// Explains a server's alert about the client's certificate.
    fn refusal(&self, alert: AlertDescription) -> String {
        let files = self.files();
        // OpenSSL sends them for a missing certificate with TLS 1.2, and for other reasons.
        let is_vague = matches!(
            alert,
            AlertDescription::HandshakeFailure | AlertDescription::AccessDenied
        );
        match (self.has_certificate, is_vague) {
            (true, true) => {
                format!("; the server may reject the client's certificate: check {files}")
            }
            (true, false) => {
                format!("; the server rejects the client's certificate: check {files}")
            }
            (false, true) if !self.lacks_certificate() => {
                format!("; the server may require a certificate, and none is set: set {files}")
            }
            (false, _) => self.require_advice(),
        }
    }

    fn lacks_certificate(&self) -> bool {
        self.was_asked.0.load(Ordering::Relaxed)
    }

    fn require_advice(&self) -> String {
        let files = self.files();
        format!("; the server requires a certificate, and none is set: set {files}")
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

/// Reads a private key. Drops the parser's error text, which may quote the key.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_file(path).map_err(|_| "cannot be read, or holds no private key")
}

/// Alerts with which a server rejects a client's certificate, or a missing one.
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

/// Reports whether the connection ended before anything was sent. hyper hides the reason.
pub fn is_unstarted(error: &(dyn Error + 'static)) -> bool {
    let by_hyper = error.downcast_ref::<hyper::Error>();
    by_hyper.is_some_and(hyper::Error::is_canceled) || error.source().is_some_and(is_unstarted)
}

/// Reports whether the peer has closed the connection.
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

/// Returns the settings that turn TLS on.
fn tls_settings(section: &str) -> &str {
    match section {
        "nats" => "nats.url and nats.tls",
        "otel" => "otel.endpoint",
        "cache" => "cache.url",
        _ => "clickhouse.url",
    }
}

fn certificate_advice(error: &CertificateError, section: &str) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("; no trusted CA has signed the server's certificate: check {section}.ca_file")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "; the server's certificate has expired: renew it, or check this machine's clock"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "; the server's certificate is not valid yet: check this machine's clock".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let setting = match section {
                "otel" => "otel.endpoint".to_owned(),
                _ => format!("{section}.url"),
            };
            format!("; the server's certificate is for other names: check {setting}")
        }
        _ => "; check the server's certificate".to_owned(),
    }
}

/// Finds the TLS error in a chain of errors.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // The source of a shared error is not the shared error itself.
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return find(shared.as_ref());
    }
    // The source of an I/O error is not the error it holds, but the source of that one.
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

    fn without() -> ClientTls {
        ClientTls::new("nats", &TlsFiles::default())
    }

    fn with() -> ClientTls {
        ClientTls {
            has_certificate: true,
            ..without()
        }
    }

    fn alert(alert: AlertDescription) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, rustls::Error::AlertReceived(alert))
    }

    #[test]
    fn an_alert_leads_to_advice_on_the_certificate() {
        for (description, requires, rejects) in [
            // RFC 8446 defines it for a missing certificate.
            (AlertDescription::CertificateRequired, "requires", "rejects"),
            // Go sends it for that with TLS 1.2.
            (AlertDescription::BadCertificate, "requires", "rejects"),
            (AlertDescription::UnknownCA, "requires", "rejects"),
            // OpenSSL sends it for that with TLS 1.2, among other reasons.
            (
                AlertDescription::HandshakeFailure,
                "may require",
                "may reject",
            ),
        ] {
            let error = alert(description);
            for (side, verb, end) in [
                (without(), requires, "set nats.cert_file and nats.key_file"),
                (with(), rejects, "check nats.cert_file and nats.key_file"),
            ] {
                let advice = side.advice(&error);
                assert!(advice.contains(&format!("the server {verb} ")), "{advice}");
                assert!(advice.ends_with(end), "{advice}");
                let words = format!("IO error: {error}");
                assert_eq!(side.advice_on_words(&words), advice);
            }
        }
    }

    #[test]
    fn other_alerts_lead_to_no_advice_on_certificates() {
        let error = alert(AlertDescription::ProtocolVersion);
        assert_eq!(without().advice(&error), "; check nats.url and nats.tls");
        assert_eq!(without().advice_on_words(&error.to_string()), "");
        assert_eq!(without().advice(&io::Error::other("away")), "");
    }

    #[test]
    fn a_missing_certificate_is_reported_after_a_server_required_it() {
        let side = without();
        assert_eq!(side.after_handshake(), None);
        assert!(side.was_asked.resolve(&[], &[]).is_none());
        let advice = side.after_handshake().unwrap();
        for description in [
            AlertDescription::CertificateRequired,
            AlertDescription::HandshakeFailure,
        ] {
            assert_eq!(advice, side.advice(&alert(description)));
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
