//! The command's process from its start to its `execve`: the restrictions that
//! are its own, in the one order that works.

use std::ffi::CString;
use std::sync::Arc;

use super::call::{self, Stack};
use super::family::Mark;
use super::raw::Errno;
use super::shared::Stage;
use crate::seam::Error;

/// What is started, and with which restrictions.
pub(crate) struct Command {
    /// Candidates, tried in order as `execvp(3)` does.
    pub(crate) programs: Vec<CString>,
    pub(crate) arguments: Vector,
    pub(crate) environment: Vector,
    pub(crate) confinement: Confinement,
    /// How its calls are told of.
    pub(crate) told: Option<Telling>,
    /// A Landlock ruleset, or -1.
    pub(crate) ruleset: i32,
    /// The process without which it must not go on, its parent; or 0.
    pub(crate) ends_with: i32,
    /// Whether it leads a process group of its own.
    pub(crate) new_group: bool,
    /// The signals to leave blocked.
    pub(crate) signals: u64,
    /// Resource, soft and hard bound.
    pub(crate) limits: Vec<(u32, u64, u64)>,
    /// What its descendants are known by in a session.
    pub(crate) mark: Option<Mark>,
}

/// What a command's process does about capabilities and system calls.
pub(crate) enum Confinement {
    /// Nothing: the command runs as if it was started by hand.
    Nothing,
    /// It gives up all capabilities and installs this filter.
    Own(Vec<libc::sock_filter>),
    /// The same in a user namespace: see [`confine`].
    InNamespace(Vec<libc::sock_filter>),
    /// What has started it had done so before: see [`confine`].
    Inherited,
}

/// How calls are told of.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    /// The filter that tells of calls.
    pub(crate) program: Arc<Vec<libc::sock_filter>>,
    /// Where to pass its listener on.
    pub(crate) channel: i32,
    /// What to say with it.
    pub(crate) mark: u64,
    /// Whether nothing starts without a listener, since it also does calls.
    pub(crate) needed: bool,
}

impl Telling {
    /// The length of what is said: the mark, and an error number in place of a
    /// listener.
    pub(crate) const MESSAGE: usize = 12;

    /// Where the listener only hears, everything else is the same without one.
    fn begin(&self) -> Result<(), Errno> {
        let mut bytes = [0; Telling::MESSAGE];
        bytes[..8].copy_from_slice(&self.mark.to_ne_bytes());
        let sent = match call::seccomp_listener(&self.program) {
            Ok(listener) => call::send_listener(self.channel, &bytes, listener),
            Err(error) if self.needed => Err(error),
            Err(Errno(code)) => {
                bytes[8..].copy_from_slice(&code.to_ne_bytes());
                call::send_message(self.channel, &bytes, &[])
            }
        };
        sent.map(drop)
    }

    /// The mark and the error number of a message.
    pub(crate) fn read(bytes: &[u8; Telling::MESSAGE]) -> (u64, i32) {
        let [a, b, c, d, e, f, g, h, error @ ..] = *bytes;
        (u64::from_ne_bytes([a, b, c, d, e, f, g, h]), i32::from_ne_bytes(error))
    }
}

/// A null-terminated vector of C strings and what it points to.
pub(crate) struct Vector {
    pointers: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

impl Vector {
    pub(crate) fn of(strings: Vec<CString>) -> Vector {
        let mut pointers = Vec::with_capacity(strings.len() + 1);
        pointers.extend(strings.iter().map(|string| string.as_ptr()));
        pointers.push(std::ptr::null());
        Vector { pointers, _strings: strings }
    }
}

/// Even user 0 gets no capability back by `execve`, and nobody any by a program's mode.
fn without_new_privileges() -> Result<(), Errno> {
    call::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Confines this process, and all that come from it, in a user namespace. It shares the
/// supervisor's memory until it executes something, and other commands may be there: one
/// capability keeps them away from it that long.
pub(crate) fn confine(filter: &[libc::sock_filter]) -> Result<(), Errno> {
    without_new_privileges()?;
    call::keep_capability_until_execve()?;
    call::seccomp_filter(filter)
}

impl Command {
    /// Restricts the calling process and executes the program in it. Returns
    /// only when that fails.
    pub(crate) fn become_it(&self) -> (Stage, Errno) {
        match self.restrict() {
            Err(error) => (Stage::Restrict, error),
            Ok(()) => self.begin(),
        }
    }

    /// Restricts the calling process, which opens nothing any more and changes no mount.
    pub(crate) fn restrict(&self) -> Result<(), Errno> {
        if self.new_group {
            call::setpgid_self()?;
        }
        if self.ends_with != 0 {
            call::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize)?;
            if call::getppid() != self.ends_with {
                return Err(Errno(libc::ESRCH));
            }
        }
        for (resource, soft, hard) in &self.limits {
            call::setrlimit(*resource, *soft, *hard)?;
        }
        if let Some(Mark(mark)) = self.mark {
            // Inside another session it may be too high; then fewer orphans are known.
            let _ = call::setrlimit(Mark::LIMIT, mark, mark);
        }
        if matches!(self.confinement, Confinement::Nothing) {
            return Ok(());
        }
        without_new_privileges()?;
        if self.ruleset >= 0 {
            call::landlock_restrict_self(self.ruleset)?;
        }
        if let Some(telling) = &self.told {
            telling.begin()?;
        }
        call::close_range(3, u32::MAX)?;
        match &self.confinement {
            Confinement::Own(filter) => {
                call::drop_capabilities()?;
                call::seccomp_filter(filter)
            }
            Confinement::InNamespace(filter) => confine(filter),
            Confinement::Nothing | Confinement::Inherited => Ok(()),
        }
    }

    /// Executes the program in the calling process. Returns only when that fails.
    pub(crate) fn begin(&self) -> (Stage, Errno) {
        call::sigprocmask(self.signals);
        (Stage::Execute, self.execute())
    }

    /// Tries the candidates as `execvp(3)` does: the first that is there
    /// decides, but one that may not be executed only when no other can.
    fn execute(&self) -> Errno {
        let mut result = Errno(libc::ENOENT);
        for program in &self.programs {
            // To look for a name along PATH costs a fraction of trying it.
            if self.programs.len() > 1 && call::is_missing(program) {
                continue;
            }
            // SAFETY: both vectors are built by `Vector::of`, which keeps the
            // strings they point to.
            let error = unsafe {
                call::execve(program, &self.arguments.pointers, &self.environment.pointers)
            };
            match error.0 {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => result = error,
                _ => return error,
            }
        }
        result
    }
}

/// Maps a stack for a process to start.
pub(crate) fn stack() -> Result<Stack, Error> {
    mapped(Stack::map())
}

/// Maps two stacks.
pub(crate) fn two_stacks() -> Result<Stack, Error> {
    mapped(Stack::map_two())
}

fn mapped(stack: Result<Stack, Errno>) -> Result<Stack, Error> {
    stack.map_err(|error| Error::System { attempted: String::from("map a stack"), code: error.0 })
}
