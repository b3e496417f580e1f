//! The binary against real servers. Every test starts its own NATS and ClickHouse on free
//! ports, and sees only the binary and the wire.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

#[path = "../harness/mod.rs"]
mod harness;

mod ack_all;
mod attacks;
mod blame;
mod cache;
mod cache_outages;
mod cache_secure;
mod check;
mod claims_log;
mod client_certificates;
mod clocks;
mod configuration;
mod contracts;
mod crowds;
mod dead_letters;
mod dead_letters_commands;
mod dead_letters_exhausted;
mod dead_letters_position;
mod dead_letters_replays;
mod dead_letters_subjects;
mod end_to_end;
mod engines;
mod exactly_once;
mod exchanged;
mod fullness;
mod hostile;
mod hostile_headers;
mod least_privilege;
mod memory;
mod migrate;
mod monitoring;
mod nats_jwt;
mod operators;
mod ops;
mod ops_access;
mod ops_page;
mod outages;
mod produce;
mod profiles;
mod properties;
mod quoting;
mod receipts;
mod recut_letters;
mod reload;
mod restore;
mod retention;
mod schema;
mod secrets;
mod secure_clickhouse;
mod secure_nats;
mod serve;
mod serve_gzip;
mod serve_limits;
mod serve_openapi;
mod serve_outages;
mod serve_read;
mod serve_tokens;
mod service;
mod settle;
mod sharing;
mod shutdown;
mod status;
mod takeover;
mod top;
mod topology;
mod traces;
mod traces_export;
mod upgrade;
mod view_targets;
mod views;
mod window;
