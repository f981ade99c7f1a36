//! Configuration text: layers of TOML files and command-line assignments, read
//! strictly, every problem reported at once with its place and a suggestion.
//!
//! [`tree`] turns text into values that know where they were written and merges
//! layers; [`file`] gives them their types. What they mean is the business of
//! [`crate::resolve`].

pub mod diagnostic;
pub mod file;
pub mod place;
pub mod quantity;
mod read;
pub mod requirements;
pub mod tree;

pub use diagnostic::Diagnostic;
pub use file::File;
pub use place::{At, Layer, Place, Source};
