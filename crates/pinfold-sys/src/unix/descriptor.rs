//! Open files that are handed to others, under one name on every system.

use std::os::fd::{AsFd, BorrowedFd};

pub use std::os::fd::OwnedFd as Owned;

/// One that is lent.
pub type Borrowed<'a> = BorrowedFd<'a>;

/// Lends one.
pub fn lent<T: AsFd + ?Sized>(owner: &T) -> Borrowed<'_> {
    owner.as_fd()
}
