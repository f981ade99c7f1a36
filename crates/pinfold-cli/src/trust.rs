//! `pinfold trust`: edits the user's configuration, keeping what is there.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
    let project = Sources::project(&caller);
    let Ok(name) = std::str::from_utf8(project.as_bytes()) else {
        return Err(failed(
            &format!("cannot write {project} in a configuration file: not UTF-8"),
            "rename the directory",
        ));
    };
    let file = UserFile::of(&caller)?;
    let mut document = file.document()?;
    add_project(&mut document, name, &file)?;
    file.write(&document.to_string())?;
    print(&format!("trusted {project} in {}\n", file.path))
}

/// The user's configuration file.
pub(crate) struct UserFile {
    home: AbsPath,
    pub(crate) path: AbsPath,
    /// What is in it; nothing when it does not exist.
    pub(crate) text: Option<String>,
}

impl UserFile {
    /// Reads the file of a caller.
    pub(crate) fn of(caller: &Caller) -> Result<UserFile, Failure> {
        let Some(home) = caller.configuration()? else {
            let hint = "set HOME or PINFOLD_HOME";
            return Err(failed("there is no home directory to write to", hint));
        };
        let path = home.join("config.toml");
        let path = path.map_err(|error| failed(&error.to_string(), "set HOME"))?;
        let text = match std::fs::read_to_string(os(&path)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unwritten(&path, &error)),
        };
        Ok(UserFile { home, path, text })
    }

    /// What is in it, to be changed.
    pub(crate) fn document(&self) -> Result<DocumentMut, Failure> {
        let text = self.text.as_deref().unwrap_or_default();
        text.parse().map_err(|_| {
            let message = format!("cannot read {}: not TOML", self.path);
            failed(&message, "run \"pinfold check\" and mend it first")
        })
    }

    /// Replaces it as a whole.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        std::fs::create_dir_all(os(&self.home))
            .and_then(|()| replace(&os(&self.path), text))
            .map_err(|error| unwritten(&self.path, &error))
    }

    /// Makes it what it was when it was read.
    pub(crate) fn restore(&self) -> Result<(), Failure> {
        match &self.text {
            Some(text) => self.write(text),
            None => {
                std::fs::remove_file(os(&self.path)).map_err(|error| unwritten(&self.path, &error))
            }
        }
    }
}

fn add_project(document: &mut DocumentMut, project: &str, file: &UserFile) -> Result<(), Failure> {
    let file = &file.path;
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
    Ok(())
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

fn os(path: &AbsPath) -> PathBuf {
    pinfold_sys::name::path(path)
}
