//! The `landlock` mechanism: a direct child that may touch what is listed, and
//! nothing else. What it leaves in the background ends with it.

use pinfold_policy::path::Quoted;
use pinfold_policy::plan::linux::{Grant, GrantAccess, LandlockPlan, MountKind, Ports};
use pinfold_policy::profile::Limits;

use super::call::{self, LandlockRuleset};
use super::command::Telling;
use super::name::text;
use super::notify::{self, Listener};
use super::orphans::Orphans;
use super::raw::Errno;
use super::supervise::{
    Running, Way, controlling_terminal, deadline, decoded, reaped, system, watch_signals,
};
use super::{direct, filter};
use crate::seam::{Ended, Error, Launch};

/// From `linux/landlock.h`: `LANDLOCK_ACCESS_FS_*`.
mod access {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const REFER: u64 = 1 << 13;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    pub(super) const IOCTL_DEV: u64 = 1 << 15;
    /// What a rule for anything but a directory can hold.
    pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
    /// What version 1 knows.
    pub(super) const FIRST: u64 = REFER - 1;
}

/// `LANDLOCK_ACCESS_NET_BIND_TCP` and `LANDLOCK_ACCESS_NET_CONNECT_TCP`.
const BIND: u64 = 1;
const CONNECT: u64 = 2;

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
const SCOPES: u64 = 0b11;

const RLIMIT_DATA: u32 = 2;
const RLIMIT_NPROC: u32 = 6;

/// Runs a command; `signals` are those to leave blocked for it.
pub(crate) fn run(plan: &LandlockPlan, launch: &Launch, signals: u64) -> Result<Ended, Error> {
    let shares_group = controlling_terminal();
    let mut task = direct::task(launch)?;
    task.command.signals = signals;
    task.command.new_group = !shares_group;
    task.command.filter = filter::program(&plan.filter);
    task.command.limits = limits(&plan.limits);
    task.command.ends_with = call::getpid();
    let listening = match (&launch.witness, &plan.deputy) {
        (None, None) => None,
        (witness, deputy) => Some(notify::listen(witness.as_ref(), deputy.as_ref())?),
    };
    let (listener, telling) = listening.unzip();
    let channel = telling.as_ref().map(|telling| telling.channel);
    task.command.told = telling.map(|telling| Telling { mark: launch.mark, ..telling });
    let orphans = Orphans::adopt().map_err(system("adopt the command's descendants"))?;
    task.command.ruleset = ruleset(plan)?;
    let signals = watch_signals()?;
    let started = direct::start(&task, launch);
    call::close(task.command.ruleset);
    // Or the end of the command would never show.
    channel.into_iter().for_each(call::close);
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            call::close(signals);
            return Err(error);
        }
    };
    let deadline = deadline(&plan.limits);
    let running = Running { way: Way::Direct, child, signals, deadline, shares_group };
    let exceeded = running.until_end(&mut [], &mut |_, _| {});
    call::close(signals);
    call::close(child.descriptor);
    let (status, usage) = reaped(child)?;
    orphans.end();
    listener.into_iter().for_each(Listener::join);
    let status = decoded(status);
    Ok(Ended { status, exceeded, usage, appeared: Vec::new() })
}

fn limits(limits: &Limits) -> Vec<(u32, u64, u64)> {
    let processes = limits.processes.map(|bound| (RLIMIT_NPROC, u64::from(bound)));
    let memory = limits.memory.map(|bound| (RLIMIT_DATA, bound));
    let bounds = processes.into_iter().chain(memory);
    bounds.map(|(resource, bound)| (resource, bound, bound)).collect()
}

/// What this kernel's Landlock can hold of a plan.
fn handled(plan: &LandlockPlan, version: u32) -> LandlockRuleset {
    let mut files = access::FIRST;
    for (since, right) in [(2, access::REFER), (3, access::TRUNCATE), (5, access::IOCTL_DEV)] {
        if version >= since {
            files |= right;
        }
    }
    let bounded = |ports: &Ports, right: u64| if *ports == Ports::Any { 0 } else { right };
    let network = bounded(&plan.bind, BIND) | bounded(&plan.connect, CONNECT);
    LandlockRuleset {
        handled_access_fs: files,
        handled_access_net: if version >= 4 { network } else { 0 },
        scoped: if version >= 6 { SCOPES } else { 0 },
    }
}

/// Makes the ruleset of a plan.
fn ruleset(plan: &LandlockPlan) -> Result<i32, Error> {
    let version = call::landlock_version();
    let closed = |error: Errno| Error::Closed {
        attempted: String::from("confine with Landlock"),
        code: error.0,
    };
    if version == 0 {
        return Err(closed(Errno(libc::EOPNOTSUPP)));
    }
    let handled = handled(plan, version);
    let ruleset = call::landlock_create_ruleset(&handled).map_err(closed)?;
    match rules(plan, &handled, ruleset) {
        Ok(()) => Ok(ruleset),
        Err(error) => {
            call::close(ruleset);
            Err(error)
        }
    }
}

fn rules(plan: &LandlockPlan, handled: &LandlockRuleset, ruleset: i32) -> Result<(), Error> {
    for grant in &plan.grants {
        add(grant, handled, ruleset).map_err(|error| Error::Path {
            attempted: format!("give the command {}", Quoted(grant.path.as_bytes())),
            code: error.0,
        })?;
    }
    for (ports, right) in [(&plan.bind, BIND), (&plan.connect, CONNECT)] {
        let Ports::These(ports) = ports else { continue };
        for port in ports.iter().filter(|_| handled.handled_access_net & right != 0) {
            call::landlock_add_port(ruleset, right, *port)
                .map_err(system("give the command a port"))?;
        }
    }
    Ok(())
}

/// Adds a rule for what is there now. What has gone since is not given; what has
/// become something else is an error.
fn add(grant: &Grant, handled: &LandlockRuleset, ruleset: i32) -> Result<(), Errno> {
    let directory = grant.kind == MountKind::Directory;
    let kind = if directory { libc::O_DIRECTORY } else { 0 };
    let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW | kind;
    let path = text(grant.path.as_bytes());
    let opened = match call::openat2_no_links(libc::AT_FDCWD, &path, flags) {
        Err(Errno(libc::ENOENT | libc::EACCES)) => return Ok(()),
        // A host is free to make its devices links.
        Err(Errno(libc::ELOOP)) if grant.access == GrantAccess::Device => return Ok(()),
        opened => opened?,
    };
    let added = match (directory, call::is_directory(opened)) {
        (_, Err(error)) => Err(error),
        (false, Ok(true)) => Err(Errno(libc::EISDIR)),
        _ => {
            let rights = rights(grant) & handled.handled_access_fs;
            call::landlock_add_path(ruleset, rights, opened)
        }
    };
    call::close(opened);
    added
}

fn rights(grant: &Grant) -> u64 {
    let read = access::EXECUTE | access::READ_FILE | access::READ_DIR;
    let device = access::READ_FILE | access::WRITE_FILE | access::TRUNCATE | access::IOCTL_DEV;
    let rights = match grant.access {
        GrantAccess::Read => read,
        GrantAccess::Write => u64::MAX,
        GrantAccess::Device if grant.kind == MountKind::Directory => device | access::READ_DIR,
        GrantAccess::Device => device,
    };
    if grant.kind == MountKind::Directory { rights } else { rights & access::OF_FILES }
}
