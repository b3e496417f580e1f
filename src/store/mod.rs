//! ClickHouse: the connection, the schema, the rows and the inserts.

mod block;
mod claims_logs;
mod codes;
mod connect;
mod dependents;
mod disk;
mod engine;
mod failure;
mod http;
mod identity;
mod insert;
mod lookup;
pub mod migrations;
mod pinned;
mod pins;
mod post;
mod profile;
mod receipt;
mod remedy;
pub mod row;
pub mod schema;
mod signals;
mod wallets;

pub use block::{Block, Rows};
pub use claims_logs::LedgerEntry;
pub use connect::Store;
pub use dependents::RepeatingView;
pub use failure::StoreError;
pub use identity::TableId;
pub use profile::ProfileError;
pub use receipt::Receipt;
pub use remedy::Remedy;
pub use row::StoredRow;
pub use signals::{Limits, OfWallet, Place, StoredSignal, rfc3339};
pub use wallets::For;
