//! Settings, each declared once, next to the code that it controls.
//!
//! A component declares its section with [`options!`]. The declaration yields the struct, the
//! defaults, the shipped examples, the reference page and the JSON Schema. The program composes the
//! sections into a [`Table`], lays the sources of values over each other ([`Layers`]), and reads
//! them with a [`SettingsReader`] that collects every fault.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dot_env;
mod example;
mod fault;
mod field;
mod kind;
mod layers;
mod listen;
mod reader;
mod redact;
mod retired;
mod rule;
mod secret;
mod secret_file;
mod section;
mod values;
mod written;

pub use example::{env_example, json_schema, reference, toml_example};
pub use fault::{Fault, Faults};
pub use field::{FILE_SUFFIX, Field, PREFIX, Table};
pub use kind::{Kind, Parsed, Shape};
pub use layers::Layers;
pub use listen::{ListenAddress, listen_address, listen_address_or_off};
pub use reader::SettingsReader;
pub use redact::redacted_url;
pub use retired::retired;
pub use rule::Rule;
pub use secret::Secret;
pub use secret_file::text as file_text;
pub use section::{Options, defaults};
pub use values::{
    DAY, GIB, HOUR, KIB, MIB, MINUTE, SECOND, YEAR, bytes, duration, duration_or_zero, memory, ms,
    number, one_line, one_of, optional_web_url, secret, text, web_url, yes_or_no,
};
pub use written::{Origin, Values, Written};
