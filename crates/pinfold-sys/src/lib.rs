//! The seam between plans and operating systems.
//!
//! This crate does exactly what a plan of `pinfold-policy` says, with the
//! operating system's own isolation, and decides nothing. It is the only crate
//! with `unsafe` code and the only one that differs between systems: every system
//! offers the same names.
#![allow(unsafe_code)]

mod arena;
mod entry;
mod git;
#[cfg(any(target_os = "macos", test))]
mod refusals;
mod seam;
mod shelves;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use arena::Arena;
pub use entry::Prefault;
#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(target_os = "macos")]
pub use macos::*;
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

pub use seam::{
    Act, Appeared, Attempt, Captured, Check, Closed, Ended, Error, Exceeded, Handling, Launch,
    Level, May, Network, OpenDoors, Opened, Place, Refused, Scarce, Size, Standard, Status, Usage,
    What, Witness, describe,
};
