//! Which files to try for the name of a program, and what a failure means.

use pinfold_policy::path::AbsPath;
use pinfold_policy::program;
use pinfold_sys::{Refused, name};

use crate::Error;

/// The candidates for `name`, in order: the command's own PATH decides, never
/// that of pinfold.
pub(crate) fn candidates(name: &[u8], environment: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    if name.is_empty() {
        return Err(Error::Program {
            name: Vec::new(),
            why: String::from("the name is empty"),
            hint: String::from("name a program after the options"),
            found: false,
        });
    }
    Ok(program::candidates(name::STYLE, name, environment))
}

/// Explains why no candidate could be executed.
pub(crate) fn failure(asked: &[u8], candidates: &[Vec<u8>], working: &AbsPath, code: i32) -> Error {
    let cannot = |why: String, hint: &str, found: bool| Error::Program {
        name: asked.to_vec(),
        why,
        hint: String::from(hint),
        found,
    };
    let existing = candidates.iter().find_map(|candidate| {
        let path = working.join(candidate).ok()?;
        std::fs::metadata(name::path(&path)).ok()
    });
    // A directory of the PATH that cannot be searched says so, but is no program.
    let placed = program::is_place(name::STYLE, asked);
    let refused = match pinfold_sys::numbers::refused(code) {
        Refused::Permission if existing.is_none() && !placed => Refused::Missing,
        refused => refused,
    };
    let is_directory = existing.as_ref().is_some_and(std::fs::Metadata::is_dir);
    match refused {
        Refused::Missing if placed && existing.is_some() => cannot(
            String::from("its interpreter, or the loader it needs, is not there"),
            "check the first line of the script, and that the profile can read the interpreter",
            true,
        ),
        Refused::Missing if existing.is_some() => cannot(
            String::from("it is outside of what the profile can read"),
            "add --read with the directory it is in",
            false,
        ),
        Refused::Missing if placed => cannot(
            String::from("not found"),
            "check the spelling; a relative path starts at the working directory",
            false,
        ),
        Refused::Missing => cannot(
            String::from("not found"),
            "check the spelling; it is looked for in the PATH of the command",
            false,
        ),
        Refused::Permission if is_directory => {
            cannot(String::from("it is a directory"), "name a program in it", true)
        }
        Refused::Permission => cannot(
            String::from("permission denied"),
            "make it executable with chmod +x, or let the profile read it",
            true,
        ),
        Refused::Format => cannot(
            String::from("it is neither a program nor a script with an interpreter"),
            "begin the script with a line such as #!/bin/sh",
            true,
        ),
        Refused::Busy => cannot(
            String::from("another process is writing to it"),
            "try again when it has been written",
            true,
        ),
        Refused::TooLong => cannot(
            String::from("the arguments and the environment are too long"),
            "pass fewer arguments, or raise \"ulimit -s\"",
            true,
        ),
        Refused::Otherwise => cannot(pinfold_sys::describe(code), "check the program file", true),
    }
}
