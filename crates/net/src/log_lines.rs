//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const CERTIFICATE_KEPT: &str = "The new certificate cannot be used; keeping the current one";
