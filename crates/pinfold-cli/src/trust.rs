//! `pinfold trust`: edits the user's configuration, keeping what is there.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pinfold::policy::path::{AbsPath, Quoted};
use pinfold::{Caller, Sources};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::arguments::Parsed;
use crate::terminal::{Failure, failed, print};

/// Trusts the project of a directory.
pub(crate) fn trust(parsed: &Parsed) -> Result<i32, Failure> {
    let caller = Caller::of_this_process()?;
    let caller = match &parsed.operands[..] {
        [] => caller,
        [directory, ..] => caller.in_directory(directory)?,
    };
    let Some(home) = caller.configuration()? else {
        return Err(failed("there is no home directory to write to", "set HOME or PINFOLD_HOME"));
    };
    let project = Sources::project(&caller);
    let Ok(name) = std::str::from_utf8(project.as_bytes()) else {
        return Err(failed(
            &format!("cannot write {project} in a configuration file: not UTF-8"),
            "rename the directory",
        ));
    };
    let file = home.join("config.toml").map_err(|error| failed(&error.to_string(), "set HOME"))?;
    edit(&home, &file, name)?;
    print(&format!("trusted {project} in {file}\n"))
}

fn edit(home: &AbsPath, file: &AbsPath, project: &str) -> Result<(), Failure> {
    let path = os(file);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(unwritten(file, &error)),
    };
    let mut document: DocumentMut = text.parse().map_err(|_| {
        failed(&format!("cannot read {file}: not TOML"), "run \"pinfold check\" and mend it first")
    })?;
    let projects = document.entry("projects").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let Some(projects) = projects.as_table_like_mut() else {
        return Err(failed(&format!("\"projects\" in {file} is not a table"), "mend it first"));
    };
    let entry = projects.entry(project).or_insert_with(|| Item::Table(Table::new()));
    let Some(entry) = entry.as_table_like_mut() else {
        return Err(failed(&format!("the project in {file} is not a table"), "mend it first"));
    };
    entry.insert("trust_level", value("trusted"));
    std::fs::create_dir_all(os(home))
        .and_then(|()| replace(path, &document.to_string()))
        .map_err(|error| unwritten(file, &error))
}

/// Writes beside the file and renames, so that a full disk leaves the old one. A
/// link, as dotfiles often are, stays a link; the mode stays too.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let beside = target.with_extension(format!("toml.{}", std::process::id()));
    let mut file = File::create_new(&beside)?;
    let written = match std::fs::metadata(&target) {
        Ok(old) => file.set_permissions(old.permissions()),
        Err(_) => Ok(()),
    };
    let written = written
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, &target));
    written.inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

fn unwritten(file: &AbsPath, error: &std::io::Error) -> Failure {
    let why = pinfold_sys::describe(error.raw_os_error().unwrap_or(0));
    failed(&format!("cannot write {}: {why}", Quoted(file.as_bytes())), "check its permissions")
}

fn os(path: &AbsPath) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}
