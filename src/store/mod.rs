//! ClickHouse: the connection, the schema, the rows and the inserts.

mod block;
mod connect;
mod dependents;
mod engine;
mod failure;
mod http;
mod insert;
mod lookup;
pub mod migrations;
mod pinned;
mod profile;
pub mod row;
pub mod schema;
mod signals;
mod wallets;

pub use block::{Block, Rows};
pub use connect::Store;
pub use dependents::RepeatingView;
pub use failure::{Remedy, StoreError};
pub use insert::Receipt;
pub use profile::ProfileError;
pub use row::StoredRow;
pub use signals::{Limits, OfWallet, Place, StoredSignal, rfc3339};
pub use wallets::For;
