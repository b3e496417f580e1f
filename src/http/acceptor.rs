//! The TLS of a listener, whose certificate can be renewed.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tracing::error;

use crate::settings::TlsFiles;
use crate::tls::{self, TlsError};

/// The TLS of a listener, if any. Clones share it.
#[derive(Clone)]
pub(crate) struct Acceptor {
    section: &'static str,
    current: Arc<RwLock<Option<TlsAcceptor>>>,
}

impl Acceptor {
    /// Encrypts by the certificate of a section of the settings; plain text where it has none.
    ///
    /// # Errors
    /// When the certificate or its key cannot be used.
    pub fn new(section: &'static str, files: &TlsFiles) -> Result<Self, TlsError> {
        let acceptor = config(section, files)?.map(acceptor);
        Ok(Self {
            section,
            current: Arc::new(RwLock::new(acceptor)),
        })
    }

    /// Reports whether it encrypts.
    pub fn is_tls(&self) -> bool {
        self.get().is_some()
    }

    /// Encrypts new connections by the files as they are now. Without a certificate, or with one
    /// that cannot be used, it goes on with the one that it has.
    pub async fn renew(&self, files: &TlsFiles) {
        let (section, files) = (self.section, files.clone());
        // From a thread of its own, since a file may be on a disk that is away.
        match spawn_blocking(move || config(section, &files)).await {
            Ok(Ok(Some(config))) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Some(acceptor(config));
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => error!(%error, "The certificate stays as it was"),
            Err(error) => error!(%error, "The certificate was not read"),
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
