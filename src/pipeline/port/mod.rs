//! Ports: all that the stages need of servers and of the cache. Each has its one implementation
//! beside it, and fakes in the unit tests of the stages.

pub mod advisories;
pub mod claims_log;
pub mod connection;
pub mod dead_letters;
pub mod pulls;
pub mod signals;
pub mod sink;
