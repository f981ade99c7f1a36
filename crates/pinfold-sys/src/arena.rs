//! An allocator for a program that mostly starts other programs.
//!
//! A launch makes a few hundred small allocations and then exits. Serving them
//! from one region that is part of the program spares the system calls and page
//! faults of a general allocator (a fifth of all calls of a launch, measured).
//! What does not fit, and everything after the region is used up, comes from blocks
//! that are kept (`shelves.rs`), and what is large from the system's allocator.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::shelves::Shelves;

/// Bytes in the region. Pages exist only once they are used.
const REGION: usize = 512 * 1024;

/// Larger requests go elsewhere at once.
const LARGEST: usize = 32 * 1024;

const OUT_OF_MEMORY: &[u8] = b"error: cannot go on: out of memory\n\
    hint: free memory, or raise its limit, as in \"ulimit -v unlimited\"\n";

/// The allocator; see the module. What it counts lies in the first page of what it gives out.
#[repr(C, align(4096))]
pub struct Arena {
    used: AtomicUsize,
    /// The most that was ever used.
    highest: AtomicUsize,
    shelves: Shelves,
    region: UnsafeCell<[u8; REGION]>,
}

// SAFETY: parts of the region are handed out once each, by an atomic counter.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena with nothing in it.
    pub const fn empty() -> Arena {
        Arena {
            used: AtomicUsize::new(0),
            highest: AtomicUsize::new(0),
            shelves: Shelves::empty(),
            region: UnsafeCell::new([0; REGION]),
        }
    }

    fn base(&self) -> usize {
        self.region.get() as usize
    }

    fn holds(&self, pointer: *mut u8) -> bool {
        (pointer as usize).wrapping_sub(self.base()) < REGION
    }

    /// Takes room for `layout` off the region.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() > LARGEST || layout.align() > 4096 {
            return None;
        }
        let mut used = self.used.load(Relaxed);
        loop {
            let address = (self.base() + used).checked_next_multiple_of(layout.align())?;
            let start = address - self.base();
            let end = start.checked_add(layout.size()).filter(|end| *end <= REGION)?;
            match self.used.compare_exchange_weak(used, end, Relaxed, Relaxed) {
                Ok(_) => {
                    self.highest.fetch_max(end, Relaxed);
                    return Some(self.region.get().cast::<u8>().wrapping_add(start));
                }
                Err(now) => used = now,
            }
        }
    }

    /// Grows or shrinks the last allocation where it is.
    fn resize_last(&self, pointer: *mut u8, layout: Layout, size: usize) -> bool {
        let start = (pointer as usize).wrapping_sub(self.base());
        let (before, after) = (start + layout.size(), start.saturating_add(size));
        let resized = after <= REGION
            && size <= LARGEST
            && self.used.compare_exchange(before, after, Relaxed, Relaxed).is_ok();
        if resized {
            self.highest.fetch_max(after, Relaxed);
        }
        resized
    }
}

// SAFETY: `take` returns memory of the region that nothing else has, aligned
// and large enough; everything else is the shelves' allocator.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(pointer) => pointer,
            // SAFETY: the caller's promise is passed on.
            None => available(unsafe { self.shelves.alloc(layout) }),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if self.holds(pointer) {
            self.resize_last(pointer, layout, 0);
            return;
        }
        // SAFETY: it is not of the region, so the shelves gave it out.
        unsafe { self.shelves.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let highest = self.highest.load(Relaxed);
        let Some(pointer) = self.take(layout) else {
            // SAFETY: the caller's promise is passed on.
            return available(unsafe { self.shelves.alloc_zeroed(layout) });
        };
        // What has never been handed out is zero, and its pages need not exist.
        let start = (pointer as usize).wrapping_sub(self.base());
        let used_before = highest.saturating_sub(start).min(layout.size());
        // SAFETY: it was just allocated, and is at least this long.
        unsafe { pointer.write_bytes(0, used_before) };
        pointer
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.holds(pointer) {
            // SAFETY: it is not of the region, so the shelves gave it out.
            return available(unsafe { self.shelves.realloc(pointer, layout, size) });
        }
        if self.resize_last(pointer, layout, size) {
            return pointer;
        }
        // SAFETY: the caller promises that `size` makes a layout.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller promises that `size` is not zero.
        let moved = unsafe { self.alloc(larger) };
        if !moved.is_null() {
            let length = layout.size().min(size);
            // SAFETY: both are at least `length` long and do not overlap.
            unsafe { moved.copy_from_nonoverlapping(pointer, length) };
        }
        moved
    }
}

/// What the system gave out. Without memory nothing can be cleaned up or said in
/// the ordinary way, and the standard library would abort.
fn available(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        // Standard error has no buffer, so this needs no memory.
        let _ = std::io::stderr().write_all(OUT_OF_MEMORY);
        std::process::exit(125);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_aligned_disjoint_and_survive_growth() {
        let arena = Box::new(Arena::empty());
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        let first = arena.take(layout(3, 1)).unwrap();
        let second = arena.take(layout(8, 8)).unwrap();
        assert_eq!(second as usize % 8, 0);
        assert!(second as usize >= first as usize + 3);
        assert!(arena.resize_last(second, layout(8, 8), 64));
        let third = arena.take(layout(1, 1)).unwrap();
        assert!(third as usize >= second as usize + 64);
        assert!(!arena.resize_last(second, layout(64, 8), 128), "no longer the last");
        assert!(arena.take(layout(LARGEST + 1, 1)).is_none());
        while arena.take(layout(LARGEST, 1)).is_some() {}
        assert!(arena.used.load(Relaxed) <= REGION);
    }
}
