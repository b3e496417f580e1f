//! Permission for one insert.

use tokio::sync::OwnedSemaphorePermit;

/// Room for one insert, given back when its batch has landed.
pub type InsertPermit = OwnedSemaphorePermit;
