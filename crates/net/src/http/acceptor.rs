//! TLS of a listener, whose certificate can be renewed.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tracing::error;

use crate::log_lines::CERTIFICATE_KEPT;
use crate::tls::TlsFiles;
use crate::tls::{self, TlsError};

/// TLS of a listener, if any. Clones share it.
#[derive(Clone)]
pub struct Acceptor {
    section: &'static str,
    current: Arc<RwLock<Option<TlsAcceptor>>>,
}

impl Acceptor {
    /// Creates TLS from the certificate of a section of the settings; plain text where it has none.
    ///
    /// # Errors
    /// Fails when the certificate or its key cannot be used.
    pub fn new(section: &'static str, files: &TlsFiles) -> Result<Self, TlsError> {
        let acceptor = config(section, files)?.map(acceptor);
        Ok(Self {
            section,
            current: Arc::new(RwLock::new(acceptor)),
        })
    }

    /// Reports whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.get().is_some()
    }

    /// Reads the files again for new connections. Keeps the current certificate when the files hold
    /// none or one that cannot be used.
    pub async fn renew(&self, files: &TlsFiles) {
        let (section, files) = (self.section, files.clone());
        // Reads on its own thread, since the file may be on a disk that does not answer.
        match spawn_blocking(move || config(section, &files)).await {
            Ok(Ok(Some(config))) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Some(acceptor(config));
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => error!(%error, "{CERTIFICATE_KEPT}"),
            Err(error) => error!(%error, "The certificate cannot be read"),
        }
    }

    pub(super) fn get(&self) -> Option<TlsAcceptor> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

fn acceptor(config: ServerConfig) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(config))
}

fn config(section: &'static str, files: &TlsFiles) -> Result<Option<ServerConfig>, TlsError> {
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Ok(None);
    };
    tls::server_config(section, certificate, key).map(Some)
}
