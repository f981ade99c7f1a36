//! What systems share that have no code of their own for it.

pub(crate) mod door;
pub(crate) mod entry;
pub(crate) mod facts;
mod glob;
pub mod peer;

pub use glob::matches as glob_matches;

/// Nothing of this kind can exist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Never {}

/// Nothing of a run can be started here before its plan is known.
#[derive(Debug)]
pub enum HeadStart {}

impl HeadStart {
    /// Never anything.
    pub fn begin() -> Option<HeadStart> {
        None
    }
}

/// Does nothing: what needs many descriptors, a server with sessions, is not there.
pub fn open_as_many_as_allowed() {}
