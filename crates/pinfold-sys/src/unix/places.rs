//! Where this system keeps what, and what it calls that.

use pinfold_policy::path::AbsPath;

/// The variable with the user's home.
pub const HOME: &str = "HOME";

/// The variable with the place for configuration, and where that is below the home
/// when it is not set.
pub const CONFIGURATION: (&str, &str) = ("XDG_CONFIG_HOME", ".config");

/// The same for what outlives a run.
pub const STATE: (&str, &str) = ("XDG_STATE_HOME", ".local/state");

/// The variable with the directory for temporary files.
pub const TEMPORARY: &str = "TMPDIR";

/// The variable with the user's shell, and the shell when it is not set.
pub const SHELL: (&str, &str) = ("SHELL", "/bin/sh");

/// Whether there is a directory `/tmp` for everyone.
pub const SLASH_TMP: bool = true;

/// The directory of the administrator's own configuration.
pub fn administration() -> Option<AbsPath> {
    AbsPath::posix("/etc/pinfold").ok()
}

/// The roots of all file systems.
pub fn volumes() -> Vec<AbsPath> {
    vec![AbsPath::root()]
}

/// Whether two names are one variable.
pub fn same_variable(one: &[u8], other: &[u8]) -> bool {
    one == other
}
