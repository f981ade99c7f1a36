//! Linux: a supervisor outside, a first process inside, and the command.

mod call;
mod filter;
mod init;
mod perform;
mod raw;
mod shared;
mod steps;
mod supervise;
mod watch;

pub use supervise::run;
