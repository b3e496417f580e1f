//! A link to a server that can be slowed down and cut: a TCP relay on a port of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Passed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Between two looks at a link that is cut.
const POLL: Duration = Duration::from_millis(50);
/// The rate of a link that is cut.
const CUT: u64 = 0;
/// The rate of a link that is not slowed down.
const FAST: u64 = u64::MAX;

/// The relay; it ends when this is dropped.
pub struct SlowLink {
    port: u16,
    bytes_per_second: Arc<AtomicU64>,
    _relay: JoinSet<()>,
}

impl SlowLink {
    /// Relays to a port on loopback.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes_per_second = Arc::new(AtomicU64::new(FAST));
        let mut relay = JoinSet::new();
        let rate = Arc::clone(&bytes_per_second);
        relay.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if rate.load(Ordering::Relaxed) == CUT {
                    continue;
                }
                links.spawn(relayed(client, server, Arc::clone(&rate)));
                while links.try_join_next().is_some() {}
            }
        });
        Self {
            port,
            bytes_per_second,
            _relay: relay,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Passes on so many bytes a second from each client.
    pub fn slow(&self, bytes_per_second: u64) {
        self.bytes_per_second
            .store(bytes_per_second, Ordering::Relaxed);
    }

    /// Ends every connection, and takes none.
    pub fn cut(&self) {
        self.slow(CUT);
    }

    /// Passes everything on at once again.
    pub fn mend(&self) {
        self.slow(FAST);
    }
}

/// Relays one connection until an end closes it or the link is cut.
async fn relayed(client: TcpStream, server: u16, rate: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            // A second's worth at a time: a server closes a connection that is silent for long.
            let second = usize::try_from(rate.load(Ordering::Relaxed)).unwrap_or(CHUNK_BYTES);
            let room = second.clamp(1, CHUNK_BYTES);
            let Ok(bytes @ 1..) = from_client.read(&mut chunk[..room]).await else {
                break;
            };
            let rate = rate.load(Ordering::Relaxed);
            if rate != FAST {
                sleep(Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)).await;
            }
            if to_server.write_all(&chunk[..bytes]).await.is_err() {
                break;
            }
        }
    };
    let cut = async {
        while rate.load(Ordering::Relaxed) != CUT {
            sleep(POLL).await;
        }
    };
    tokio::select! {
        () = requests => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        () = cut => {}
    }
}
