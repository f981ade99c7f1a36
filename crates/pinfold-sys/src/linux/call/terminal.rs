//! Pseudo-terminals.

use std::ffi::CStr;

use super::super::raw::arguments;
use super::{Descriptor, Outcome, close, flag, numbers, openat, pointer, reads};

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines, 0 for not known.
    pub rows: u16,
    /// Characters in a line, 0 for not known.
    pub columns: u16,
}

/// Opens a new pseudo-terminal: the end that drives it, and the end that a
/// command sees.
pub(crate) fn open_terminal(multiplexer: &CStr, size: Size) -> Outcome<[Descriptor; 2]> {
    const TIOCGPTPEER: usize = 0x5441;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let driver = openat(libc::AT_FDCWD, multiplexer, flags)?;
    let unlocked = 0i32;
    let opened = reads(
        libc::SYS_ioctl,
        arguments([flag(driver), libc::TIOCSPTLCK as usize, pointer(&unlocked)]),
    )
    .and_then(|_| resize(driver, size))
    .and_then(|()| numbers(libc::SYS_ioctl, [flag(driver), TIOCGPTPEER, flag(flags)]));
    match opened {
        Ok(seen) => Ok([driver, seen as Descriptor]),
        Err(error) => {
            close(driver);
            Err(error)
        }
    }
}

/// Tells a terminal, and the command on it, its size.
pub(crate) fn resize(terminal: Descriptor, size: Size) -> Outcome<()> {
    // `struct winsize`: the last two are pixels, which nobody knows.
    let window = [size.rows, size.columns, 0, 0];
    let given = [flag(terminal), libc::TIOCSWINSZ as usize, pointer(&window)];
    reads(libc::SYS_ioctl, arguments(given)).map(drop)
}

/// Becomes the leader of a session whose controlling terminal is `terminal`.
pub(crate) fn take_terminal(terminal: Descriptor) -> Outcome<()> {
    numbers(libc::SYS_setsid, [])?;
    numbers(libc::SYS_ioctl, [flag(terminal), libc::TIOCSCTTY as usize, 0]).map(drop)
}
