//! The caller's own terminal, which only sessions need.

use std::io;

use super::{Never, unsupported};
use crate::descriptor::Borrowed;
use crate::seam::Size;

/// A terminal that passes every key on: there is none.
#[derive(Debug)]
pub struct Raw {
    never: Never,
}

impl Drop for Raw {
    fn drop(&mut self) {
        match self.never {}
    }
}

/// Signals that are read instead of acted on: there are none.
#[derive(Debug)]
pub struct Signals(Never);

/// The change of a terminal's size, as [`Signals::wait`] would tell it.
pub const RESIZED: i32 = 28;

/// Makes a terminal pass every key on.
///
/// # Errors
/// Always.
pub fn raw<T>(_terminal: T) -> io::Result<Raw> {
    Err(unsupported())
}

/// The size of a terminal.
///
/// # Errors
/// Always.
pub fn size<T>(_terminal: T) -> io::Result<Size> {
    Err(unsupported())
}

/// Takes signals from this thread.
///
/// # Errors
/// Always.
pub fn signals() -> io::Result<Signals> {
    Err(unsupported())
}

impl Signals {
    /// Readable when there is a signal.
    pub fn descriptor(&self) -> Borrowed<'_> {
        match self.0 {}
    }

    /// Waits for the next signal; its number.
    ///
    /// # Errors
    /// There are no signals to wait for.
    pub fn wait(&mut self) -> io::Result<i32> {
        match self.0 {}
    }
}
