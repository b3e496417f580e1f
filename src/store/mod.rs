//! ClickHouse: the connection, the schema, the rows and the inserts.

mod connect;
mod failure;
mod http;
mod insert;
mod lookup;
pub mod row;
pub mod schema;

pub use connect::Store;
pub use failure::{Remedy, StoreError};
pub use insert::{Block, Receipt};
