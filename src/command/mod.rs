//! Commands of the command line.

pub mod cache;
pub mod check;
pub mod config;
pub mod dead_letters;
pub mod examples;
pub mod exit;
pub mod log_lines;
pub mod manual;
pub mod message_size;
pub mod migrate;
pub mod output;
pub mod produce;
pub mod reingest;
pub mod run;
pub mod schema;
pub mod serve;
pub mod status;
pub mod tap;
pub mod top;
mod wording;
