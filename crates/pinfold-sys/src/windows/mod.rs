//! Windows: a restricted token in a job.

mod access;
mod accounts;
mod call;
mod confine;
mod console;
pub mod descriptor;
mod doctor;
mod elevated;
pub mod facts;
pub mod files;
mod filters;
mod link;
pub mod name;
pub mod neighbour;
pub mod numbers;
mod pipe;
pub mod places;
pub mod plan;
mod relay;
mod run;
mod runner;
mod sealed;
pub mod session;
pub mod setup;
pub mod socket;
mod start;
pub mod terminal;
pub mod view;

pub use crate::portable::entry::{command_line, prefault};
pub use crate::portable::{HeadStart, open_as_many_as_allowed, peer};
pub use doctor::doctor;
pub use run::{door, run};

use std::ffi::OsString;

/// Does what this program was started for by itself, as somebody else: the runner of a sandbox
/// account, or the helper of set-up. Its exit status; nothing for any other program. One that
/// embeds pinfold calls this first, with its arguments and without its name.
pub fn act_as_another(arguments: &[OsString]) -> Option<i32> {
    let [word, pipe] = arguments else { return None };
    let word = word.to_str()?;
    if ![runner::RUNNER, elevated::HELPER].contains(&word) {
        return None;
    }
    let pipe = pipe.to_str()?;
    let closed = call::close_to_others().and_then(|()| link::Link::join(pipe));
    let served = closed.and_then(|link| match word {
        runner::RUNNER => runner::serve(link),
        _ => elevated::serve(link),
    });
    Some(i32::from(served.is_err()) * 125)
}
