//! What each command of the command line does.

pub mod cache;
pub mod check;
pub mod dead_letters;
pub mod migrate;
pub mod produce;
pub mod reingest;
pub mod run;
pub mod schema;
pub mod serve;
pub mod status;
pub mod top;
mod wording;
