//! The seam between plans and operating systems.
//!
//! This crate does exactly what a plan of `pinfold-policy` says, with the
//! operating system's own isolation, and decides nothing. It is the only crate
//! with `unsafe` code and the only one that differs between systems.
#![allow(unsafe_code)]

mod arena;
mod entry;
mod seam;

#[cfg(target_os = "linux")]
mod linux;

pub use arena::Arena;
#[cfg(target_os = "linux")]
pub use linux::*;
pub use seam::{
    Act, Appeared, Attempt, Ended, Error, Exceeded, Handling, Launch, Level, OpenDoors, Status,
    Usage, Witness, describe,
};
