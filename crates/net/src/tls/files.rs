//! PEM files of a TLS connection.

use std::path::{Path, PathBuf};

use option_kit::{Kind, Parsed};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// PEM files of a TLS connection. The check of the settings has read each and found its kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TlsFiles {
    /// CAs to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Certificate that this side presents, with those between it and its CA.
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// Collects the files that a section of the settings names.
    pub fn new(ca: Option<&PathBuf>, certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Self {
        Self {
            ca: ca.cloned(),
            certificate: certificate.cloned(),
            key: key.cloned(),
        }
    }

    /// Returns true when any file is set.
    pub fn any(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some()
    }
}

/// Rule that TLS files require https.
pub const HTTPS_ONLY: &str = "it requires https; with http everything is sent in plain text";

/// Accepts a PEM file of certificates.
pub fn certificate_file() -> Kind<Option<PathBuf>> {
    Kind::text(|path| {
        pem_file(path, |path| {
            let certificates = CertificateDer::pem_file_iter(path)?;
            let certificates = certificates.collect::<Result<Vec<_>, _>>();
            certificates.map(|found| found.len())
        })
    })
}

/// Accepts a PEM file of a private key.
pub fn key_file() -> Kind<Option<PathBuf>> {
    Kind::text(|path| pem_file(path, |path| PrivateKeyDer::from_pem_file(path).map(|_| 1)))
}

/// Returns the path of a file in which `count` finds an item; empty means none. Without this check,
/// each attempt to connect would report the file.
fn pem_file(
    path: &str,
    count: impl Fn(&Path) -> Result<usize, pem::Error>,
) -> Parsed<Option<PathBuf>> {
    if path.is_empty() {
        return Ok(None);
    }
    match count(Path::new(path)) {
        Ok(1..) => Ok(Some(PathBuf::from(path))),
        Ok(0) | Err(pem::Error::NoItemsFound) => {
            Err("must be a PEM file, and holds no such item".to_owned())
        }
        Err(pem::Error::Io(error)) => Err(format!("cannot be read: {error}")),
        // The parser's words may quote a line, and with it a key.
        Err(_) => Err("must be a PEM file, and is damaged".to_owned()),
    }
}
