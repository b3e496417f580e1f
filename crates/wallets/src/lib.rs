//! The state of each wallet, in Redis, for the applications that ask (`serve`).
//!
//! ClickHouse has the truth; Redis may lose anything at any time. So clients get an entry
//! only when it is known to hold every committed signal:
//!
//! - An entry is *begun* in Redis, then ClickHouse is asked for the wallet, then the entry is
//!   *filled* with the answer. What is committed before the question is in the answer, and what is
//!   committed later is added to an entry that is there ([`Feed`], an
//!   [`AfterCommit`](store::AfterCommit) of the pipeline). A signal that comes twice, or
//!   late, changes nothing: it is a member of a set, by its position.
//! - Each daemon that commits is a *feeder* with a lease. Where one may have failed to feed
//!   a signal, the *generation* changes, and with it every entry is as good as absent.
//!   Clients are answered out of Redis while every feeder's lease lasts, and otherwise out of
//!   ClickHouse.
//! - The feeder that has begun a generation brings the wallets back from ClickHouse.
//!
//! Nothing here holds up a batch: committed rows are offered to a bounded queue, and a full queue
//! only makes the cache stale.

mod connection;
mod entry;
mod error;
mod feeder;
mod fill;
mod lease;
pub mod log_lines;
mod metrics;
mod options;
mod queue;
mod reader;
mod rebuild;
mod scripts;
mod wanted;

pub use connection::Redis;
pub use error::CacheError;
pub use feeder::Feeder;
pub use metrics::CacheMetrics;
pub use options::CacheOptions;
pub use queue::Feed;
pub use reader::{Found, Reader};
pub use rebuild::{Rebuilt, rebuild};
