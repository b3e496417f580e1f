//! Keeps the memory that is resident close to the memory that is in use.
//!
//! glibc's malloc gives an allocation that is large its own mapping, and the memory back to the
//! system when it is freed. But it counts as large only what is larger than any such allocation
//! freed so far, up to 32 MiB. After the first batch of 16 MiB, batches and messages share heaps
//! with everything else, which then hold what nobody uses. Setting the bound ourselves ends that:
//! <https://man7.org/linux/man-pages/man3/mallopt.3.html>, `M_MMAP_THRESHOLD`.

/// What is at least as large has a mapping of its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1024 * 1024;

/// Fixes the bound from which on an allocation is large. To be called before threads are
/// started. Where the allocator is another, it does nothing.
#[allow(unsafe_code)] // The one call of C in the process, for which this crate is there.
pub fn fix_large_bound() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers and locks the allocator's state itself. A refusal
    // changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        // Fixing one bound fixes this one too, at a value that would have every heap shrink
        // and grow all the time.
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES);
    }
}
