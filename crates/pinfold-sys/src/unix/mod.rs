//! What Linux and macOS have in common towards the library.

pub mod descriptor;
mod door;
pub mod files;
pub mod name;
pub mod numbers;
pub mod places;
pub mod setup;

pub(crate) use door::loopback_door;
