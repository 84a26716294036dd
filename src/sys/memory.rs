//! Memory that is free goes back to the system.

/// Gives back what the allocator keeps though nothing uses it: after a large change glibc holds on
/// to tens of megabytes, in pieces between what is still in use, and never looks again. It takes
/// some milliseconds, in which other threads that allocate wait. With another C library it does
/// nothing.
#[allow(unsafe_code)]
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes any number, locks the allocator's own arenas, and touches no
    // memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
