//! Why a command was not run.

use std::collections::BTreeSet;
use std::fmt;

use pinfold_policy::config::Diagnostic;
use pinfold_policy::gap::Gap;
use pinfold_sys::Scarce;

/// An error of pinfold itself, not of the command. `Display` prints it over
/// several lines, with what to do about it, and without a final newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The configuration has problems.
    Configuration(Vec<Diagnostic>),
    /// This host cannot enforce the profile exactly.
    Gaps(Vec<Gap>),
    /// Something about the caller itself.
    Caller {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The program cannot be executed.
    Program {
        /// The program as it was asked for.
        name: Vec<u8>,
        /// What is wrong.
        why: String,
        /// What to do about it.
        hint: String,
        /// Whether it was found: 126 if so, 127 if not.
        found: bool,
    },
    /// The system refused something.
    Launch(pinfold_sys::Error),
}

impl Error {
    /// The exit status that stands for this error.
    pub fn status(&self) -> i32 {
        match self {
            Error::Program { found: true, .. } => 126,
            Error::Program { found: false, .. } => 127,
            _ => 125,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Configuration(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    let separator = if index > 0 { "\n" } else { "" };
                    write!(f, "{separator}{problem}")?;
                }
                Ok(())
            }
            Error::Gaps(gaps) => {
                for (index, gap) in gaps.iter().enumerate() {
                    let separator = if index > 0 { "\n" } else { "" };
                    write!(f, "{separator}error: {gap}")?;
                    if let Some(origin) = &gap.origin {
                        write!(f, "\n  --> {origin}")?;
                    }
                    write!(
                        f,
                        "\nhint: {}, or pass --allow-gap {} to run without this rule",
                        gap.remedy, gap.name
                    )?;
                }
                let names: BTreeSet<&str> = gaps.iter().map(|gap| gap.name).collect();
                if names.len() > 1 {
                    write!(f, "\nhint: to run without all of these rules, pass")?;
                    names.iter().try_for_each(|name| write!(f, " --allow-gap {name}"))?;
                }
                Ok(())
            }
            Error::Caller { message, hint } => write!(f, "error: {message}\nhint: {hint}"),
            Error::Program { name, why, hint, .. } => {
                let name = pinfold_policy::path::Quoted(name);
                write!(f, "error: cannot run {name}: {why}\nhint: {hint}")
            }
            Error::Launch(error) => write!(f, "error: {error}\nhint: {}", launch_hint(error)),
        }
    }
}

impl std::error::Error for Error {}

fn launch_hint(error: &pinfold_sys::Error) -> &'static str {
    if let Some(hint) = exhausted(error) {
        return hint;
    }
    match error {
        pinfold_sys::Error::Closed { .. } => {
            "run \"pinfold doctor\" to see what is missing and the one-time fix"
        }
        pinfold_sys::Error::Path { .. } => {
            "something changed while the sandbox was set up; try again"
        }
        pinfold_sys::Error::Directory { .. } => {
            "the profile must let the command read its working directory; add --read ."
        }
        pinfold_sys::Error::Unsupported { remedy, .. }
        | pinfold_sys::Error::Unprepared { remedy, .. } => remedy,
        pinfold_sys::Error::Execute { .. } | pinfold_sys::Error::System { .. } => {
            "run \"pinfold doctor\", and check limits such as \"ulimit -n\" and \"ulimit -u\""
        }
    }
}

/// What to do when something ran out, whatever was attempted then.
fn exhausted(error: &pinfold_sys::Error) -> Option<&'static str> {
    Some(match pinfold_sys::numbers::scarce(error.code()?)? {
        Scarce::Files => "raise the limit of open files, as in \"ulimit -n 1024\"",
        Scarce::Processes => "raise the limit of processes, as in \"ulimit -u 4096\", or end some",
        Scarce::Memory => "free memory, or raise its limit, as in \"ulimit -v unlimited\"",
    })
}
