//! TLS before a server that has none: libchdb, which tests run as ClickHouse, has no https
//! listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Authority, Certificate};

/// A TLS server on loopback that passes on what it decrypts; it ends when this is dropped.
pub struct TlsServer {
    port: u16,
    handshakes: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

impl TlsServer {
    /// Before a port on loopback, with a certificate; it closes what it accepts where nobody
    /// listens there.
    pub async fn before(server: u16, certificate: &Certificate) -> Self {
        Self::with(server, certificate.server_config(None, ALL_VERSIONS)).await
    }

    /// Like [`Self::before`], only for clients with a certificate of a CA, and over one version.
    pub async fn asking(
        server: u16,
        certificate: &Certificate,
        clients: &Authority,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Self::with(server, certificate.server_config(Some(clients), &[version])).await
    }

    async fn with(server: u16, config: Arc<ServerConfig>) -> Self {
        let acceptor = TlsAcceptor::from(config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let handshakes = Arc::<AtomicU64>::default();
        let done = Arc::clone(&handshakes);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (acceptor, done) = (acceptor.clone(), Arc::clone(&done));
                links.spawn(async move {
                    let mut client = match acceptor.accept(client).into_fallible().await {
                        Ok(client) => client,
                        // The handshake has reported the refusal. Closing with something unread
                        // would take that back.
                        Err((_, mut client)) => {
                            let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
                            return;
                        }
                    };
                    done.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                while links.try_join_next().is_some() {}
            }
        });
        Self {
            port,
            handshakes,
            _server: tasks,
        }
    }

    /// Its URL by a name or an address of this machine.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Handshakes that succeeded.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }
}
