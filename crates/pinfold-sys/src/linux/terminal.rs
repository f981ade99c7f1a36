//! The caller's own terminal, when keys go to a command elsewhere.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::call;
use super::init::bit;
use super::raw::Errno;
use crate::seam::Size;

/// A terminal that passes every key on; it is as before when this is dropped.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Settings,
}

#[derive(Clone, Copy)]
struct Settings(libc::termios);

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

fn error(Errno(code): Errno) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// Makes a terminal pass every key on.
///
/// # Errors
/// When it is none.
pub fn raw(terminal: impl AsFd) -> io::Result<Raw> {
    let terminal = terminal.as_fd().try_clone_to_owned()?;
    let before = call::terminal_settings(terminal.as_raw_fd()).map_err(error)?;
    let mut settings = before;
    settings.c_iflag &= !(libc::IGNBRK
        | libc::BRKINT
        | libc::PARMRK
        | libc::ISTRIP
        | libc::INLCR
        | libc::IGNCR
        | libc::ICRNL
        | libc::IXON);
    settings.c_oflag &= !libc::OPOST;
    settings.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
    settings.c_cflag = (settings.c_cflag & !(libc::CSIZE | libc::PARENB)) | libc::CS8;
    call::set_terminal_settings(terminal.as_raw_fd(), &settings).map_err(error)?;
    Ok(Raw { terminal, before: Settings(before) })
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = call::set_terminal_settings(self.terminal.as_raw_fd(), &self.before.0);
    }
}

/// The size of a terminal.
///
/// # Errors
/// When it is none.
pub fn size(terminal: impl AsFd) -> io::Result<Size> {
    call::window(terminal.as_fd().as_raw_fd()).map_err(error)
}

/// Signals that are read instead of acted on.
#[derive(Debug)]
pub struct Signals {
    source: File,
}

/// Signal numbers that programs send to whoever runs a command, and the change of
/// a terminal's size.
const WATCHED: [i32; 7] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

/// Takes signals from this thread, and from those that it starts from now on.
///
/// # Errors
/// When this process has no descriptor left.
pub fn signals() -> io::Result<Signals> {
    let watched = WATCHED.iter().fold(0, |set, signal| set | bit(*signal));
    let before = call::sigprocmask(watched);
    call::sigprocmask(before | watched);
    let descriptor = call::signalfd_waiting(watched).map_err(error)?;
    // SAFETY: the kernel has just made this descriptor for this process.
    let source = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(Signals { source: File::from(source) })
}

impl Signals {
    /// Readable when there is a signal.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// Waits for the next signal; its number.
    ///
    /// # Errors
    /// When reading fails.
    pub fn wait(&mut self) -> io::Result<i32> {
        // `struct signalfd_siginfo` begins with the number.
        let mut record = [0; 128];
        self.source.read_exact(&mut record)?;
        let [a, b, c, d, ..] = record;
        Ok(i32::from_ne_bytes([a, b, c, d]))
    }
}

/// The change of a terminal's size, as [`Signals::wait`] tells it.
pub const RESIZED: i32 = libc::SIGWINCH;
