//! Certificates that a test makes for itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use time::{Duration, OffsetDateTime};

/// A CA, with its certificate in a PEM file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    name: String,
}

/// A certificate and its private key in PEM files.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A CA whose files are made in `folder` and begin with `name`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder: folder.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The PEM file of the CA's own certificate.
    pub fn file(&self) -> String {
        let path = self.folder.join(format!("{}.pem", self.name));
        path.display().to_string()
    }

    /// A certificate for `host`, an IP address or a name, that is valid now.
    pub fn issue(&self, host: &str) -> Certificate {
        self.issue_until(host, OffsetDateTime::now_utc() + Duration::DAY)
    }

    /// Like [`Self::issue`], which was valid until yesterday.
    pub fn issue_expired(&self, host: &str) -> Certificate {
        self.issue_until(host, OffsetDateTime::now_utc() - Duration::DAY)
    }

    fn issue_until(&self, host: &str, end: OffsetDateTime) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        params.not_before = end - 2 * Duration::DAY;
        params.not_after = end;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let stem = format!("{}-{}", self.name, end.unix_timestamp_nanos());
        let paths = Certificate {
            certificate: self.folder.join(format!("{stem}.pem")),
            key: self.folder.join(format!("{stem}.key")),
        };
        std::fs::write(&paths.certificate, certificate.pem()).unwrap();
        std::fs::write(&paths.key, key.serialize_pem()).unwrap();
        paths
    }
}

impl Certificate {
    pub fn certificate(&self) -> String {
        self.certificate.display().to_string()
    }

    pub fn key(&self) -> String {
        self.key.display().to_string()
    }

    /// A server's side of TLS with this certificate, which asks clients for one of `clients`
    /// where that is given.
    pub fn server_config(
        &self,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(Path::new(&authority.file())));
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let chain = certificates(&self.certificate);
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

/// The certificates of a PEM file.
pub fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(file).unwrap();
    found.map(Result::unwrap).collect()
}
