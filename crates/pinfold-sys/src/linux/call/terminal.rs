//! Pseudo-terminals.

use std::ffi::CStr;

use super::super::raw::{arguments, call};
use super::{Descriptor, Outcome, close, flag, numbers, openat, pointer, reads};
use crate::seam::Size;

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

/// The size of a terminal.
pub(crate) fn window(terminal: Descriptor) -> Outcome<Size> {
    let mut window = [0u16; 4];
    let given =
        [flag(terminal), libc::TIOCGWINSZ as usize, std::ptr::from_mut(&mut window) as usize];
    // SAFETY: the kernel writes one `struct winsize`.
    unsafe { call(libc::SYS_ioctl, arguments(given)) }?;
    let [rows, columns, _, _] = window;
    Ok(Size { rows, columns })
}

/// How a terminal treats keys and output.
pub(crate) fn terminal_settings(terminal: Descriptor) -> Outcome<libc::termios> {
    // SAFETY: `termios` is integers only, all zero is a value of it.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    let given = [flag(terminal), libc::TCGETS as usize, std::ptr::from_mut(&mut settings) as usize];
    // SAFETY: the kernel's own structure is a prefix of the C libraries', which it
    // fills.
    unsafe { call(libc::SYS_ioctl, arguments(given)) }?;
    Ok(settings)
}

/// Changes how a terminal treats keys and output, once what was written is out.
pub(crate) fn set_terminal_settings(terminal: Descriptor, settings: &libc::termios) -> Outcome<()> {
    let given = [flag(terminal), libc::TCSETSW as usize, pointer(settings)];
    reads(libc::SYS_ioctl, arguments(given)).map(drop)
}
