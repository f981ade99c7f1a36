//! Windows: a restricted token in a job.

mod access;
mod call;
mod console;
pub mod descriptor;
mod doctor;
pub mod facts;
pub mod files;
pub mod name;
pub mod numbers;
pub mod places;
pub mod plan;
mod run;
pub mod session;
pub mod setup;
mod start;
pub mod view;

pub use crate::portable::entry::{command_line, prefault};
pub use crate::portable::{HeadStart, neighbour, open_as_many_as_allowed, peer, socket, terminal};
pub use doctor::doctor;
pub use run::{door, run};

use std::os::windows::io::{AsHandle, BorrowedHandle};

impl AsHandle for socket::Stream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        match self.0 {}
    }
}
