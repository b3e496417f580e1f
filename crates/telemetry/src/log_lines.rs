//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const FOUND_STORED: &str = "Acked signals that ClickHouse had already";
pub const INSERTED: &str = "Inserted batch to ClickHouse";
pub const INSERTED_MANY: &str = "Inserted batches to ClickHouse";
pub const DEAD_LETTER: &str = "Message went to the dead letters";
pub const TRACES_SENT_AGAIN: &str = "Traces are sent again";
pub const TRACES_NOT_SENT: &str = "Traces cannot be sent; spans are dropped until they can";
pub const LAST_TRACES_NOT_SENT: &str = "The last traces were not all sent";
