//! A TCP proxy between a daemon and a server, whose weather changes while it runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use testkit::lying_proxy::{Lie, LyingProxy};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::http;
use super::journal::Journal;

/// Bytes that pass at a time, at most.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Treatment of passing bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Every piece takes so long.
    Slow(Duration),
    /// Nothing passes. What was on its way arrives when it clears, even when its sender has
    /// long given up.
    Stalled,
    /// Nothing passes, and every connection of this time is reset when it clears.
    BlackHole,
    /// Every connection is reset, new ones too.
    Reset,
    /// Only so many bytes of an answer of the server pass, modulo its length; then the
    /// connection is reset.
    HalfAnswer(usize),
    /// ClickHouse executes every request, but its answer is replaced by an exception.
    ErrorAfter,
    /// ClickHouse never sees the request; an exception is the answer.
    ErrorInstead,
    /// Connections lead through a proxy that lies about inserts.
    Lying(Lie),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// ClickHouse's.
    Http,
    /// NATS's, or any other: only bytes.
    Raw,
}

pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
    /// Before the same server.
    lying: LyingProxy,
}

impl Proxy {
    /// Listens on a free port of loopback, for connections to `target` on loopback.
    #[expect(clippy::disallowed_methods, reason = "a watch holds one value")]
    pub async fn start(
        protocol: Protocol,
        target: u16,
        journal: &Arc<Journal>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (weather, seen) = watch::channel(Weather::Clear);
        let lying = LyingProxy::before(target).await;
        let lying_port = lying.port();
        let link = Link {
            weather: seen,
            journal: Arc::clone(journal),
        };
        let accepting = tokio::spawn(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    let target = match link.now() {
                        Weather::Lying(_) => lying_port,
                        _ => target,
                    };
                    tokio::spawn(connection(client, target, protocol, link.clone()));
                }
            }
        });
        Ok(Self {
            port,
            weather,
            accepting,
            lying,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, weather: Weather) {
        if let Weather::Lying(lie) = weather {
            self.lying.set_lie(lie);
        }
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The weather as one connection sees it.
#[derive(Clone)]
pub struct Link {
    weather: watch::Receiver<Weather>,
    journal: Arc<Journal>,
}

impl Link {
    pub fn now(&self) -> Weather {
        *self.weather.borrow()
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Waits until a piece may pass.
    pub async fn pass(&self) {
        if let Weather::Slow(pause) = self.now() {
            sleep(pause).await;
        }
        let is_still = |weather: &Weather| matches!(weather, Weather::Stalled | Weather::BlackHole);
        // Without a sender the run is over.
        let mut weather = self.weather.clone();
        let _ = weather.wait_for(|weather| !is_still(weather)).await;
    }

    /// Waits until the connection is to be reset.
    async fn cut(&mut self) {
        loop {
            let before = *self.weather.borrow_and_update();
            if before == Weather::Reset || self.weather.changed().await.is_err() {
                return;
            }
            let way = |weather: &Weather| matches!(weather, Weather::Lying(_));
            let other_way = way(&before) != way(&self.weather.borrow());
            if before == Weather::BlackHole || other_way {
                return;
            }
        }
    }
}

async fn connection(mut client: TcpStream, target: u16, protocol: Protocol, mut link: Link) {
    let _ = client.set_nodelay(true);
    if link.now() == Weather::Reset {
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = server.set_nodelay(true);
    let talk = link.clone();
    let ended = tokio::select! {
        ended = converse(&mut client, &mut server, protocol, &talk) => ended,
        () = link.cut() => Err(io::ErrorKind::ConnectionReset.into()),
    };
    if ended.is_err() {
        // Dropped, they now send RST.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Passes on what both sides say until one has ended; an error resets both.
async fn converse(
    client: &mut TcpStream,
    server: &mut TcpStream,
    protocol: Protocol,
    link: &Link,
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    match protocol {
        Protocol::Http => {
            http::converse(from_client, to_client, from_server, to_server, link).await
        }
        Protocol::Raw => {
            let there = pump(from_client, to_server, link, false);
            let back = pump(from_server, to_client, link, true);
            tokio::try_join!(there, back).map(drop)
        }
    }
}

/// Passes on one direction until its end, and then its end.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &Link,
    answers: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        link.pass().await;
        if length == 0 {
            return to.shutdown().await;
        }
        if let Weather::HalfAnswer(bytes) = link.now()
            && answers
        {
            link.journal().count("NATS's words cut off");
            to.write_all(&buffer[..bytes % length]).await?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        to.write_all(&buffer[..length]).await?;
    }
}
