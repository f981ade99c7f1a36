//! macOS: a command under `sandbox-exec`.

mod call;
mod doctor;
pub mod facts;
mod listen;
pub mod plan;
mod run;
pub mod session;
pub mod view;
mod watchdog;

pub use crate::portable::entry::{command_line, prefault};
pub use crate::portable::{HeadStart, neighbour, open_as_many_as_allowed, peer, socket, terminal};
pub use doctor::doctor;
pub use run::{door, run};

use std::os::fd::{AsFd, BorrowedFd};

impl AsFd for socket::Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}
