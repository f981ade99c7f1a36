//! Linux: a supervisor outside, a first process inside, and the command.

mod attempts;
mod call;
mod command;
mod commands;
mod direct;
mod doctor;
mod doors;
mod entry;
pub mod facts;
mod family;
mod filter;
mod init;
mod inotify;
mod keeper;
mod landlock;
mod name;
mod namespaces;
pub mod neighbour;
mod notify;
mod orphans;
mod pattern;
mod perform;
pub mod plan;
mod raw;
pub mod session;
mod shared;
pub mod socket;
mod steps;
mod supervise;
pub mod terminal;
mod trial;
pub mod view;
mod watch;

pub use doctor::doctor;
pub use entry::{command_line, prefault};
pub use supervise::{door, run};
