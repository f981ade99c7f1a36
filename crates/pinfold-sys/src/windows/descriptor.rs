//! Open files that are handed to others, under one name on every system.

use std::os::windows::io::{AsHandle, BorrowedHandle};

pub use std::os::windows::io::OwnedHandle as Owned;

/// One that is lent.
pub type Borrowed<'a> = BorrowedHandle<'a>;

/// Lends one.
pub fn lent<T: AsHandle + ?Sized>(owner: &T) -> Borrowed<'_> {
    owner.as_handle()
}
