//! The system's allocator, counting per thread; for the test that forwarding allocates nothing, and for the
//! micro benchmarks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of this thread.
pub(crate) fn so_far() -> u64 {
    ALLOCATIONS.get()
}

struct Counting;

#[expect(unsafe_code, reason = "counting allocations takes an allocator")]
// SAFETY: every call goes to `System` with unchanged arguments, which upholds the trait's contract;
// counting touches a constant-initialised thread local only, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: `layout` is the caller's, who upholds its conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above with this layout, so from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
