//! A line to a server on which somebody listens: a TCP relay that keeps what clients send.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The relay; it ends when this is dropped.
pub struct Eavesdropper {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    _relay: JoinSet<()>,
}

impl Eavesdropper {
    /// Before a port on loopback.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let mut relay = JoinSet::new();
        let kept = Arc::clone(&heard);
        relay.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                links.spawn(relayed(client, server, Arc::clone(&kept)));
            }
        });
        Self {
            port,
            heard,
            _relay: relay,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes of all clients, one after the other.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

async fn relayed(client: TcpStream, server: u16, heard: Arc<Mutex<Vec<u8>>>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(bytes @ 1..) = from_client.read(&mut chunk).await {
            heard.lock().unwrap().extend_from_slice(&chunk[..bytes]);
            if to_server.write_all(&chunk[..bytes]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}
