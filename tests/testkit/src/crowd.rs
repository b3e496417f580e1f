//! Clients that hold connections and give nothing for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The least that the kernel takes in for a client that does not read.
const RECEIVE_BYTES: u32 = 4096;
/// A server that takes no more for this long has as much as it holds for the client.
const STUCK: Duration = Duration::from_secs(1);
/// Requests that are written at a time.
const AT_ONCE: usize = 16;

/// Connections from one address of loopback.
pub struct Crowd {
    clients: Vec<TcpStream>,
}

impl Crowd {
    /// Connects `count` clients. No address of loopback but 127.0.0.1 is another test's.
    pub async fn from(source: Ipv4Addr, server: &str, count: usize) -> Self {
        let server: SocketAddr = server.parse().unwrap();
        let mut clients = Vec::new();
        for _ in 0..count {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
            socket.bind((source, 0).into()).unwrap();
            clients.push(socket.connect(server).await.unwrap());
        }
        Self { clients }
    }

    /// Lets each client write these bytes, and no more.
    pub async fn write(&mut self, bytes: &str) {
        for client in &mut self.clients {
            // One that the server has closed is as good as one that holds nothing.
            let _ = client.write_all(bytes.as_bytes()).await;
        }
    }

    /// Lets each client repeat a request and read no answer, until the server takes no more.
    pub async fn never_read(&mut self, request: &str) {
        let requests = request.repeat(AT_ONCE);
        let each = self.clients.iter_mut().map(async |client| {
            while let Ok(Ok(())) = timeout(STUCK, client.write_all(requests.as_bytes())).await {}
        });
        join_all(each).await;
    }
}
