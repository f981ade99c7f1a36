//! macOS: a command under `sandbox-exec`.

mod call;
mod doctor;
pub mod facts;
mod listen;
pub mod neighbour;
pub mod plan;
mod run;
pub mod session;
pub mod socket;
pub mod terminal;
pub mod view;
mod watchdog;

pub(crate) use crate::portable::Never;
pub use crate::portable::entry::{command_line, prefault};
pub use crate::portable::{HeadStart, open_as_many_as_allowed, peer};
pub use doctor::doctor;
pub use run::{door, run};

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What sessions need and are refused here.
pub(crate) fn unsupported() -> io::Error {
    io::Error::from(io::ErrorKind::Unsupported)
}

impl AsFd for socket::Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}
