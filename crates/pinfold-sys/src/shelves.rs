//! What an [`Arena`](crate::Arena) hands out when its region is used up: blocks of a few
//! sizes, which are kept when they come back.
//!
//! The C library of the static program gives single pages back to the kernel with almost
//! every message of a server, and each time every other thread of it is interrupted
//! (half of a short command's price, measured). Nothing is given back here: what was
//! needed once will be needed again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// The smallest block, in bytes.
const SMALLEST: usize = 16;

/// Sizes, each twice the one before: the largest block has 32 KiB.
const SIZES: usize = 12;

/// How much is asked of the system at once, in bytes: two of the largest blocks.
const CHUNK: usize = 64 * 1024;

/// How often a lock is looked at before the processor is given to somebody else.
const SPINS: usize = 64;

/// Blocks of all sizes.
pub(crate) struct Shelves([Shelf; SIZES]);

/// Blocks of one size.
struct Shelf {
    locked: AtomicBool,
    stock: UnsafeCell<Stock>,
}

struct Stock {
    /// The first block that came back; its first word is the address of the next.
    free: *mut u8,
    /// What is left of the newest chunk.
    fresh: *mut u8,
    left: usize,
}

// SAFETY: the stock is only touched by who has set `locked`, and no other thread uses
// the blocks in it.
unsafe impl Sync for Shelf {}

/// Which shelf has blocks for a layout, and their size; none for what is too large.
fn shelf_of(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size().max(layout.align()).max(SMALLEST).checked_next_power_of_two()?;
    let shelf = (size / SMALLEST).trailing_zeros() as usize;
    (shelf < SIZES).then_some((shelf, size))
}

impl Shelf {
    const fn empty() -> Shelf {
        let stock = Stock { free: null_mut(), fresh: null_mut(), left: 0 };
        Shelf { locked: AtomicBool::new(false), stock: UnsafeCell::new(stock) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Stock) -> T) -> T {
        let mut spins = 0;
        while self.locked.swap(true, Ordering::Acquire) {
            spins += 1;
            if spins % SPINS == 0 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        // SAFETY: nobody else is between the two lines that set `locked`.
        let result = act(unsafe { &mut *self.stock.get() });
        self.locked.store(false, Ordering::Release);
        result
    }
}

impl Stock {
    /// A block of `size` bytes; null when the system has no memory.
    fn take(&mut self, size: usize) -> *mut u8 {
        if !self.free.is_null() {
            let block = self.free;
            // SAFETY: `give` has written the address of the next one there.
            self.free = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        if self.left < size {
            let Ok(chunk) = Layout::from_size_align(CHUNK, CHUNK / 2) else { return null_mut() };
            // SAFETY: the size of a chunk is not zero.
            let fresh = unsafe { System.alloc(chunk) };
            if fresh.is_null() {
                return fresh;
            }
            (self.fresh, self.left) = (fresh, CHUNK);
        }
        let block = self.fresh;
        self.fresh = block.wrapping_add(size);
        self.left -= size;
        block
    }

    /// Takes a block back.
    fn give(&mut self, block: *mut u8) {
        // SAFETY: a block has room for an address, is aligned for it, and is nobody's.
        unsafe { block.cast::<*mut u8>().write(self.free) };
        self.free = block;
    }
}

impl Shelves {
    pub(crate) const fn empty() -> Shelves {
        Shelves([const { Shelf::empty() }; SIZES])
    }

    fn shelf(&self, layout: Layout) -> Option<(&Shelf, usize)> {
        let (shelf, size) = shelf_of(layout)?;
        self.0.get(shelf).map(|shelf| (shelf, size))
    }
}

// SAFETY: a block is on one list or handed out once, is at least as large as its layout
// and aligned to its own size; everything else is the system's allocator.
unsafe impl GlobalAlloc for Shelves {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.shelf(layout) {
            Some((shelf, size)) => shelf.with(|stock| stock.take(size)),
            // SAFETY: the caller's promise is passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.shelf(layout) {
            Some((shelf, _)) => shelf.with(|stock| stock.give(pointer)),
            // SAFETY: what has no shelf came from the system.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if shelf_of(layout).is_none() {
            // SAFETY: the caller's promise is passed on.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promise is passed on.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: it was just allocated, and is at least this long.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` makes a layout.
        let other = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (shelf_of(layout), shelf_of(other)) {
            (Some(before), Some(after)) if before == after => return pointer,
            // SAFETY: what has no shelf came from the system.
            (None, None) => return unsafe { System.realloc(pointer, layout, size) },
            _ => {}
        }
        // SAFETY: the caller promises that `size` is not zero.
        let moved = unsafe { self.alloc(other) };
        if !moved.is_null() {
            let length = layout.size().min(size);
            // SAFETY: both are at least `length` long and do not overlap.
            unsafe { moved.copy_from_nonoverlapping(pointer, length) };
            // SAFETY: it was allocated with this layout.
            unsafe { self.dealloc(pointer, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SHELVES: Shelves = Shelves::empty();

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn blocks_are_aligned_disjoint_and_used_again() {
        let shelves = Shelves::empty();
        let mut blocks = Vec::new();
        for (size, align) in [(1, 1), (16, 8), (17, 1), (4096, 4096), (100, 64), (32 * 1024, 1)] {
            for _ in 0..50 {
                // SAFETY: the size is not zero.
                let block = unsafe { shelves.alloc(layout(size, align)) };
                assert_eq!(block as usize % align, 0);
                // SAFETY: the block is this long.
                unsafe { block.write_bytes(blocks.len() as u8, size) };
                blocks.push((block, size, align));
            }
        }
        for (number, (block, size, align)) in blocks.iter().enumerate() {
            // SAFETY: it was written above, and is this long.
            let content = unsafe { std::slice::from_raw_parts(*block, *size) };
            assert!(content.iter().all(|byte| *byte == number as u8), "block {number}");
            // SAFETY: it was allocated with this layout.
            unsafe { shelves.dealloc(*block, layout(*size, *align)) };
        }
        // SAFETY: the size is not zero.
        let again = unsafe { shelves.alloc(layout(30, 1)) };
        assert!(blocks.iter().any(|(block, ..)| *block == again));
        // SAFETY: it was allocated with this layout.
        unsafe { shelves.dealloc(again, layout(30, 1)) };
        // SAFETY: the size is not zero.
        let zeroed = unsafe { shelves.alloc_zeroed(layout(30, 1)) };
        // SAFETY: the block is this long.
        assert_eq!(unsafe { std::slice::from_raw_parts(zeroed, 30) }, [0; 30]);
    }

    #[test]
    fn growth_keeps_the_content_through_every_size() {
        let shelves = Shelves::empty();
        let mut size = 10;
        // SAFETY: the size is not zero.
        let mut block = unsafe { shelves.alloc(layout(size, 1)) };
        // SAFETY: the block is this long.
        unsafe { block.write_bytes(7, 10) };
        for larger in [11, 16, 100, 5000, 32 * 1024, 40 * 1024, 200 * 1024, 33 * 1024, 64, 10] {
            // SAFETY: it was allocated with this layout, and the new size is not zero.
            block = unsafe { shelves.realloc(block, layout(size, 1), larger) };
            size = larger;
            // SAFETY: the block is at least this long.
            assert_eq!(unsafe { std::slice::from_raw_parts(block, 10) }, [7; 10], "{larger}");
        }
    }

    #[test]
    fn threads_never_get_the_same_block() {
        let threads = (0..4u8).map(|number| {
            std::thread::spawn(move || {
                for round in 0..20_000usize {
                    let size = 8 + round % 300;
                    // SAFETY: the size is not zero.
                    let block = unsafe { SHELVES.alloc(layout(size, 8)) };
                    // SAFETY: the block is this long.
                    unsafe { block.write_bytes(number, size) };
                    // SAFETY: as above.
                    let content = unsafe { std::slice::from_raw_parts(block, size) };
                    assert!(content.iter().all(|byte| *byte == number));
                    // SAFETY: it was allocated with this layout.
                    unsafe { SHELVES.dealloc(block, layout(size, 8)) };
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    }
}
