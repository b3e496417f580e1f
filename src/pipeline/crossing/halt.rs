//! A halt of the pulls.

use std::sync::Arc;

/// Reason for which pulling is stopped; `None` while it goes on.
pub type Halt = Option<Arc<str>>;
