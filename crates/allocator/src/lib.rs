//! The allocator of the process: mimalloc, which returns memory later than by default.
//!
//! Each message needs a few allocations, which cost a fifth of the CPU in glibc's malloc.
//! docs/internals/decisions/0021-freed-memory-waits.md has the figures for the delay.

use std::ffi::{c_int, c_long};

/// Time for which freed memory waits to be used again, in milliseconds.
pub const PURGE_DELAY_MS: c_long = 50;

/// `mi_option_purge_delay` of mimalloc.h; the crate does not name it.
const MI_OPTION_PURGE_DELAY: c_int = 15;

pub use mimalloc::MiMalloc as Allocator;

/// Applies [`PURGE_DELAY_MS`] to what the process frees from now on.
#[allow(unsafe_code)]
pub fn configure() {
    // SAFETY: stores a number in mimalloc's table of options, which it reads at each free. The
    // option exists in the version that Cargo.lock names, as the test below shows.
    unsafe { libmimalloc_sys::mi_option_set(MI_OPTION_PURGE_DELAY, PURGE_DELAY_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the option is right: the neighbors have other defaults.
    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_delay() {
        // SAFETY: as above; it reads the same table.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(MI_OPTION_PURGE_DELAY) };
        assert_eq!(delay(), 10);
        configure();
        assert_eq!(delay(), PURGE_DELAY_MS);
    }
}
