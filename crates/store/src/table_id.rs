//! Identifier of a table.

/// Identifies a table; 0 if it has no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableId(pub u128);
