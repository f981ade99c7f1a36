//! Which files to try for the name of a program, and what a failure means.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pinfold_policy::path::AbsPath;

use crate::Error;

/// Where programs are when the command has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

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
    if name.contains(&b'/') {
        return Ok(vec![name.to_vec()]);
    }
    let path =
        environment.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let candidate = |directory: &[u8]| match directory {
        b"" => [b"./", name].concat(),
        directory => [directory, b"/", name].concat(),
    };
    Ok(path.split(|byte| *byte == b':').map(candidate).collect())
}

/// Explains why no candidate could be executed.
pub(crate) fn failure(name: &[u8], candidates: &[Vec<u8>], working: &AbsPath, code: i32) -> Error {
    let program = |why: String, hint: &str, found: bool| Error::Program {
        name: name.to_vec(),
        why,
        hint: String::from(hint),
        found,
    };
    let existing = candidates.iter().find_map(|candidate| {
        let path = working.join(candidate).ok()?;
        std::fs::metadata(OsStr::from_bytes(path.as_bytes())).ok()
    });
    // A directory of the PATH that cannot be searched says so, but is no program.
    let code = if code == 13 && existing.is_none() && !name.contains(&b'/') { 2 } else { code };
    let is_directory = existing.as_ref().is_some_and(std::fs::Metadata::is_dir);
    match code {
        // ENOENT and ENOTDIR
        2 | 20 if name.contains(&b'/') && existing.is_some() => program(
            String::from("its interpreter, or the loader it needs, is not there"),
            "check the first line of the script, and that the profile can read the interpreter",
            true,
        ),
        2 | 20 if existing.is_some() => program(
            String::from("it is outside of what the profile can read"),
            "add --read with the directory it is in",
            false,
        ),
        2 | 20 if name.contains(&b'/') => program(
            String::from("not found"),
            "check the spelling; a relative path starts at the working directory",
            false,
        ),
        2 | 20 => program(
            String::from("not found"),
            "check the spelling; it is looked for in the PATH of the command",
            false,
        ),
        // EACCES
        13 if is_directory => {
            program(String::from("it is a directory"), "name a program in it", true)
        }
        13 => program(
            String::from("permission denied"),
            "make it executable with chmod +x, or let the profile read it",
            true,
        ),
        // ENOEXEC
        8 => program(
            String::from("it is neither a program nor a script with an interpreter"),
            "begin the script with a line such as #!/bin/sh",
            true,
        ),
        // ETXTBSY
        26 => program(
            String::from("another process is writing to it"),
            "try again when it has been written",
            true,
        ),
        // E2BIG
        7 => program(
            String::from("the arguments and the environment are too long"),
            "pass fewer arguments, or raise \"ulimit -s\"",
            true,
        ),
        code => program(pinfold_sys::describe(code), "check the program file", true),
    }
}
