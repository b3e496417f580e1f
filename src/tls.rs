//! TLS: whom to trust, what to show, and what to look at when a handshake fails.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};

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
/// As [`client_config`].
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

/// A client's side of TLS from the files of a section of the settings: with the CAs named there,
/// or else the system's.
///
/// # Errors
/// When a file cannot be read any more, or a key is not that of the certificate.
pub fn client_config(section: &'static str, files: &TlsFiles) -> Result<ClientConfig, TlsError> {
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
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate).map_err(|error| fault("cert_file", &error))?;
    let key = private_key(key).map_err(|error| fault("key_file", &error))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| fault("key_file", &error))
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

/// What to look at, in a section of the settings, when TLS is what failed; empty otherwise.
pub fn advice(error: &(dyn Error + 'static), section: &str) -> String {
    let Some(error) = find(error) else {
        return String::new();
    };
    match error {
        rustls::Error::InvalidCertificate(error) => certificate_advice(error, section),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure,
        ) => format!(
            "; the server refuses the client's certificate or the lack of one: look at {section}.cert_file and {section}.key_file"
        ),
        rustls::Error::InvalidMessage(_) => format!(
            "; the server does not answer with TLS, and nothing is sent in plain text: look at {}",
            asks_for_tls(section)
        ),
        _ => format!("; look at {}", asks_for_tls(section)),
    }
}

/// The settings that ask for TLS.
fn asks_for_tls(section: &str) -> &str {
    match section {
        "nats" => "nats.url and nats.tls",
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
            format!("; the server's certificate is for other names: look at {section}.url")
        }
        _ => "; look at the server's certificate".to_owned(),
    }
}

/// The error of TLS within an error, wherever it stands.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // The source of an I/O error is not what it holds, but the source of that.
    let held = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .and_then(|held| find(held));
    held.or_else(|| find(error.source()?))
}
