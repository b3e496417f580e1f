//! One attempt to connect to one server: TCP, TLS, login, and the server's answer.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::error::{DialError, ServerError};
use crate::incoming::{Control, Incoming};
use crate::info::Info;
use crate::options::Options;
use crate::server::Address;
use crate::stream::Stream;

/// A connection that a server has accepted.
#[derive(Debug)]
pub struct Link {
    /// The server.
    pub server: Address,
    /// Its description.
    pub info: Info,
    /// The connection.
    pub stream: Stream,
    /// Bytes that were read already.
    pub incoming: Incoming,
    /// Operations that were read already.
    pub controls: Vec<Control>,
}

/// Connects to a server, by the first of its IP addresses that answers.
///
/// # Errors
/// Fails when the server does not answer, or rejects the connection.
pub async fn dial(server: &Address, options: &Options) -> Result<Link, DialError> {
    let resolved = lookup_host((server.host.as_str(), server.port));
    let resolved = timeout(options.connect_timeout, resolved).await;
    let resolved = resolved.map_err(|_| DialError::TimedOut)?;
    let mut failed = None;
    for address in resolved.map_err(DialError::Resolve)? {
        let attempt = async {
            let stream = TcpStream::connect(address).await?;
            // Acks are written in one piece; waiting for more would only delay them.
            stream.set_nodelay(true)?;
            handshake(stream, server, options).await
        };
        match timeout(options.connect_timeout, attempt).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(error)) => failed = Some(error),
            Err(_) => failed = Some(DialError::TimedOut),
        }
    }
    Err(failed.unwrap_or(DialError::Protocol("the host has no address")))
}

async fn handshake(
    stream: TcpStream,
    server: &Address,
    options: &Options,
) -> Result<Link, DialError> {
    let mut stream = Stream::Plain(stream);
    if options.tls.is_first {
        stream = secured(stream, server, options).await?;
    }
    let mut incoming = Incoming::new(options.message_max);
    let mut controls = VecDeque::new();
    let Control::Info(json) = next(&mut stream, &mut incoming, &mut controls).await? else {
        return Err(DialError::Protocol("it does not begin with INFO"));
    };
    let info = Info::parse(&json).ok_or(DialError::Protocol("its INFO is malformed"))?;
    let is_tls = options.tls.is_required || server.is_tls || info.tls_required;
    if is_tls && !options.tls.is_first {
        if incoming.has_rest() || !controls.is_empty() {
            // Bytes in plain text, which anyone on the way may have added.
            return Err(DialError::Protocol("it sends more than INFO before TLS"));
        }
        stream = secured(stream, server, options).await?;
    }
    let mut hello =
        options
            .login
            .connect(&options.name, &info.nonce, is_tls || options.tls.is_first)?;
    hello.push_str("PING\r\n");
    stream.write_all(hello.as_bytes()).await?;
    stream.flush().await?;
    let mut infos = Vec::new();
    loop {
        match next(&mut stream, &mut incoming, &mut controls).await? {
            Control::Pong => break,
            Control::Error(words) => return Err(DialError::Refused(ServerError::new(words))),
            Control::Ping => stream.write_all(b"PONG\r\n").await?,
            info @ Control::Info(_) => infos.push(info),
        }
    }
    infos.extend(controls);
    Ok(Link {
        server: server.clone(),
        info,
        stream,
        incoming,
        controls: infos,
    })
}

/// Reads the next operation that is no message. `ahead` has those that were read before.
async fn next(
    stream: &mut Stream,
    incoming: &mut Incoming,
    ahead: &mut VecDeque<Control>,
) -> Result<Control, DialError> {
    loop {
        if let Some(next) = ahead.pop_front() {
            return Ok(next);
        }
        if stream.read_buf(incoming.buffer()).await? == 0 {
            let kind = std::io::ErrorKind::UnexpectedEof;
            return Err(std::io::Error::new(kind, "the server closed the connection").into());
        }
        // There is no subscription yet, so that no message can be ours.
        let mut controls = Vec::new();
        incoming.parse(&mut Vec::new(), &mut controls)?;
        ahead.extend(controls);
    }
}

async fn secured(stream: Stream, server: &Address, options: &Options) -> Result<Stream, DialError> {
    let Stream::Plain(stream) = stream else {
        return Ok(stream);
    };
    let config = (options.tls.config)().map_err(DialError::Tls)?;
    let name = ServerName::try_from(server.tls_name.clone());
    let name = name.map_err(|error| DialError::Tls(error.into()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await?;
    Ok(Stream::Tls(Box::new(stream)))
}
