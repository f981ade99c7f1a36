//! What will be enforced, in one operating system's own terms.

pub mod linux;
pub mod macos;
pub mod windows;
