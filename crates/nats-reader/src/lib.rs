//! Reads pulled messages from one connection to NATS, and writes their acks.
//!
//! The bytes of a message stay where they were read: a [`Message`] is a place in a block, and its
//! body a slice. Headers are bytes until somebody asks. All that waits to be written goes out in
//! one piece. A connection that is lost takes its inboxes and its unwritten acks with it, so that
//! no ack goes over another connection than its message came from.
//!
//! The server's back-pressure is the socket: while an inbox holds too many bytes, the connection
//! is not read.

mod dial;
mod error;
mod inbox;
mod incoming;
mod info;
mod login;
mod message;
mod options;
mod outgoing;
pub mod parse;
mod reader;
mod serve;
mod server;
mod shared;
mod stream;
mod subjects;

pub use error::{DialError, Ended, NotConnected, ServerError, ServerErrorKind};
pub use incoming::{BLOCK_BYTES, Control, Incoming};
pub use login::{CredentialsError, Login};
pub use message::{Message, Status};
pub use options::{FailedAttempt, Options, Reports, Tls, TlsConfigError};
pub use reader::{ConnectError, Inbox, Reader};
pub use server::{Address, AddressError};
pub use subjects::Subjects;
