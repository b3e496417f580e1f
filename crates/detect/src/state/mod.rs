//! States of subjects: of constant size, without their keys.

pub mod asset;
pub mod balance;
pub mod counterparty;
pub mod rate;
pub mod wallet;
