//! Returns free memory to the kernel.

/// Returns the allocator's free memory to the kernel. After a large change glibc keeps tens of
/// megabytes in pieces between allocations that are still in use, and never returns them by itself.
/// This takes some milliseconds, in which other threads that allocate wait. With another C library
/// it does nothing.
#[allow(unsafe_code)]
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes any number, locks the allocator's own arenas, and touches no
    // memory in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
