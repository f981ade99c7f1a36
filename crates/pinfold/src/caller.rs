//! Who asks: the only place that looks at the environment.

use std::ffi::OsStr;

use pinfold_policy::path::AbsPath;
use pinfold_policy::resolve::Own;

use pinfold_sys::{name, places};

use crate::Error;

/// The facts about the process that runs a command, as data.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The working directory, links resolved.
    pub working: AbsPath,
    /// The whole environment, as `NAME=value`.
    pub environment: Vec<Vec<u8>>,
}

impl Caller {
    /// Looks at this process.
    ///
    /// # Errors
    /// When the working directory has been removed or cannot be named.
    pub fn of_this_process() -> Result<Caller, Error> {
        let working = std::env::current_dir().map_err(|error| Error::Caller {
            message: format!(
                "cannot find the working directory: {}",
                pinfold_sys::describe(error.raw_os_error().unwrap_or_default())
            ),
            hint: String::from("change to a directory that exists, or pass --cd DIR"),
        })?;
        Ok(Caller { working: absolute(working.as_os_str())?, environment: environment() })
    }

    /// This process as if it were in the root directory, for when its own
    /// directory does not matter.
    pub fn at_root() -> Caller {
        Caller { working: root(), environment: environment() }
    }

    /// The same caller in another directory, which must exist. Relative paths
    /// start from the present one.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn in_directory(mut self, directory: &OsStr) -> Result<Caller, Error> {
        let shown = pinfold_policy::path::Quoted(name::bytes(directory)).to_string();
        let failed = |why: String| Error::Caller {
            message: format!("cannot change to the directory {shown}: {why}"),
            hint: String::from("name a directory that exists and can be entered"),
        };
        // An empty variable of a script should not mean the present directory.
        if directory.is_empty() {
            return Err(failed(String::from("the name is empty")));
        }
        let wanted =
            self.working.join(name::bytes(directory)).map_err(|error| failed(error.to_string()))?;
        let real = std::fs::canonicalize(name::path(&wanted)).map_err(|error| {
            failed(pinfold_sys::describe(error.raw_os_error().unwrap_or_default()))
        })?;
        if !real.is_dir() {
            return Err(failed(String::from("not a directory")));
        }
        self.working = absolute(real.as_os_str())?;
        // Programs believe PWD, and it is no longer true.
        for entry in self.environment.iter_mut().filter(|entry| entry.starts_with(b"PWD=")) {
            *entry = [b"PWD=", self.working.as_bytes()].concat();
        }
        Ok(self)
    }

    /// The value of a variable; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.environment.iter().find_map(|entry| {
            let (own, value) = entry.split_at_checked(name.len())?;
            let value = value.strip_prefix(b"=").filter(|value| !value.is_empty())?;
            places::same_variable(own, name.as_bytes()).then_some(value)
        })
    }

    /// A variable that names an absolute path.
    pub(crate) fn directory(&self, name: &str) -> Option<AbsPath> {
        pinfold_sys::name::absolute(self.variable(name)?).ok()
    }

    /// The user's home.
    pub fn home(&self) -> Option<AbsPath> {
        self.directory(places::HOME)
    }

    /// The directory of the user's own configuration, `$PINFOLD_HOME`.
    ///
    /// # Errors
    /// When the variable is set to a relative path.
    pub fn configuration(&self) -> Result<Option<AbsPath>, Error> {
        if let Some(value) = self.variable("PINFOLD_HOME") {
            return name::absolute(value).map(Some).map_err(|error| Error::Caller {
                message: format!(
                    "cannot use PINFOLD_HOME={}: {error}",
                    pinfold_policy::path::Quoted(value)
                ),
                hint: String::from("set it to an absolute path, or unset it"),
            });
        }
        let base = self.place(places::CONFIGURATION);
        Ok(base.and_then(|base| base.join("pinfold").ok()))
    }

    /// The files of the user's own git configuration.
    pub(crate) fn git_files(&self) -> Vec<AbsPath> {
        if let Some(only) = self.directory("GIT_CONFIG_GLOBAL") {
            return vec![only];
        }
        let home = self.home();
        let general = self
            .directory("XDG_CONFIG_HOME")
            .or_else(|| home.as_ref().and_then(|home| home.join(".config").ok()))
            .and_then(|base| base.join("git/config").ok());
        general.into_iter().chain(home.and_then(|home| home.join(".gitconfig").ok())).collect()
    }

    /// What pinfold itself believes, on behalf of this caller.
    pub(crate) fn own(&self) -> Own {
        let mut own = Own { settings: self.settings(), state: Vec::new() };
        // The files may be links to somewhere else.
        for directory in self.settings() {
            let files = ["config.toml", "requirements.toml"];
            own.settings.extend(files.iter().filter_map(|name| directory.join(name).ok()));
        }
        own.state.extend(self.state());
        own.state.extend(self.sessions());
        own
    }

    /// The user's own directories of [`Caller::own`]; that of the administrator is
    /// not pinfold's to make.
    pub(crate) fn own_directories(&self) -> Vec<AbsPath> {
        let user = self.configuration().ok().flatten();
        user.into_iter().chain(self.state()).chain(self.sessions()).collect()
    }

    fn settings(&self) -> Vec<AbsPath> {
        let system = places::administration();
        system.into_iter().chain(self.configuration().ok().flatten()).collect()
    }

    /// The directory of the sockets of servers, `$XDG_RUNTIME_DIR/pinfold`, or else
    /// that of [`Caller::state`].
    pub fn sessions(&self) -> Option<AbsPath> {
        match self.directory("XDG_RUNTIME_DIR") {
            Some(base) => base.join("pinfold").ok(),
            None => self.state(),
        }
    }

    /// Where things are kept that were taken away from protected paths.
    pub(crate) fn kept(&self) -> Option<AbsPath> {
        self.state().and_then(|state| state.join("taken").ok())
    }

    /// Where pinfold notes what outlives a run, `$XDG_STATE_HOME/pinfold`.
    pub fn state(&self) -> Option<AbsPath> {
        self.place(places::STATE)?.join("pinfold").ok()
    }

    /// The directory that a variable names, or its usual place below the home.
    fn place(&self, (variable, below): (&str, &str)) -> Option<AbsPath> {
        self.directory(variable).or_else(|| self.home()?.join(below).ok())
    }
}

fn environment() -> Vec<Vec<u8>> {
    let entries = std::env::vars_os()
        .map(|(variable, value)| [name::bytes(&variable), b"=", name::bytes(&value)].concat());
    entries.collect()
}

/// The root of the system's own volume.
fn root() -> AbsPath {
    places::volumes().into_iter().next().unwrap_or_else(AbsPath::root)
}

fn absolute(path: &OsStr) -> Result<AbsPath, Error> {
    name::absolute(name::bytes(path)).map_err(|error| Error::Caller {
        message: format!("cannot use the working directory: {error}"),
        hint: String::from("change to another directory"),
    })
}
