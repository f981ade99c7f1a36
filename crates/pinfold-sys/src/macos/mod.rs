//! macOS: a command under `sandbox-exec`.

mod doctor;
pub mod facts;
pub mod plan;
mod run;

pub use crate::portable::entry::{command_line, prefault};
pub use crate::portable::run::door;
pub use crate::portable::{neighbour, open_as_many_as_allowed, session, socket, terminal, view};
pub use doctor::doctor;
pub use run::run;

use std::os::fd::{AsFd, BorrowedFd};

impl AsFd for socket::Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}
