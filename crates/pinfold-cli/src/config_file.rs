//! A configuration file that is changed: what is there stays, and it is replaced as a
//! whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pinfold::policy::path::{AbsPath, Quoted};
use pinfold::{Caller, Sources};
use toml_edit::DocumentMut;

use crate::terminal::{Failure, failed};

/// A configuration file, as it was when it was read.
pub(crate) struct ConfigFile {
    directory: AbsPath,
    /// Whether the directory was there.
    had_directory: bool,
    pub(crate) path: AbsPath,
    /// What is in it; nothing when it does not exist.
    text: Option<String>,
}

impl ConfigFile {
    /// Reads the user's file.
    pub(crate) fn of_user(caller: &Caller) -> Result<ConfigFile, Failure> {
        match caller.configuration()? {
            Some(home) => ConfigFile::within(home),
            None => {
                let hint = "set HOME or PINFOLD_HOME";
                Err(failed("there is no home directory to write to", hint))
            }
        }
    }

    /// Reads the file of the project that a caller works in.
    pub(crate) fn of_project(caller: &Caller) -> Result<ConfigFile, Failure> {
        let directory = Sources::project(caller).join(".pinfold");
        ConfigFile::within(directory.map_err(|error| failed(&error.to_string(), "move it"))?)
    }

    fn within(directory: AbsPath) -> Result<ConfigFile, Failure> {
        let path = directory.join("config.toml");
        let path = path.map_err(|error| failed(&error.to_string(), "set HOME"))?;
        let text = match std::fs::read_to_string(os(&path)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unwritten(&path, &error)),
        };
        let had_directory = pinfold_sys::facts::exists(&directory);
        Ok(ConfigFile { directory, had_directory, path, text })
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
        std::fs::create_dir_all(os(&self.directory))
            .and_then(|()| replace(&os(&self.path), text))
            .map_err(|error| unwritten(&self.path, &error))
    }

    /// Makes it what it was when it was read.
    pub(crate) fn restore(&self) -> Result<(), Failure> {
        if let Some(text) = &self.text {
            return self.write(text);
        }
        let removed = std::fs::remove_file(os(&self.path));
        if !self.had_directory {
            // What somebody else has put there meanwhile keeps it.
            let _ = std::fs::remove_dir(os(&self.directory));
        }
        removed.map_err(|error| unwritten(&self.path, &error))
    }
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
