//! Returns free memory to the kernel.

/// From this size on, in bytes, an allocation gets pages of its own, which go back to the kernel when it
/// is freed: answers of Docker, listings, batches. glibc raises its limit to the size of what was freed, up
/// to 32 MiB, and keeps such pieces from then on. Not less: sled's buffers of 512 KiB come and go.
#[cfg(target_env = "gnu")]
const PAGES_OF_THEIR_OWN: libc::c_int = 1024 * 1024;

/// How many areas the threads allocate from. With one for each thread, as glibc has it, each keeps what
/// a large change has freed in it; and no two of ours allocate much at the same time.
#[cfg(target_env = "gnu")]
const AREAS: libc::c_int = 2;

/// Makes the allocator keep little of what is freed; call it before there are threads. With another C
/// library it does nothing.
#[allow(unsafe_code)]
pub(crate) fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes any numbers, and no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, PAGES_OF_THEIR_OWN);
        libc::mallopt(libc::M_ARENA_MAX, AREAS);
    }
}

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
