//! Makes calls for a command under Landlock, where its rules would allow them and
//! Landlock cannot say so.
//!
//! Nothing is decided about a name that could become another one: the directory is
//! open before its name is looked at, and the call is made in that directory, with
//! links at the end not followed. Only this thread renames anything outside of what
//! Landlock gives, one call after the other. Whatever is not allowed, or not
//! understood, goes on to the kernel and meets Landlock.

mod network;
mod place;
mod request;

pub(super) use network::Door;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{self, Judge};
use pinfold_policy::profile::Access;

use super::call::{self, Told};
use super::filter::When;
use super::name::text;
use super::raw::Errno;
use place::Place;
use request::{Named, Opening, Request};

/// Links that lead to links, as the kernel counts them.
const LINKS: usize = 40;

/// Trees with files that are not like others; what opens them is the kernel's to do.
const APART: [&[u8]; 3] = [b"/dev", b"/proc", b"/sys"];

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has its answer.
    Done,
    /// It cannot be made yet: nobody reads from the pipe that it opens.
    Later,
    /// It is the kernel's.
    Kernel,
}

/// What to answer a call with.
enum Answer {
    Number(Result<(), Errno>),
    /// This file, with these flags of `open(2)`.
    File(OwnedFd, i32),
}

/// Why a call is not made.
enum Not {
    Ours,
    Yet,
}

type Outcome = Result<Answer, Not>;

/// What is done for a command.
#[derive(Clone, Debug, Default)]
pub(super) struct Duties {
    /// With files.
    pub(super) files: Option<linux::Deputy>,
    /// Where its connections are led to.
    pub(super) door: Option<Door>,
    /// Whether it may listen.
    pub(super) servers: Servers,
}

/// Which sockets of a command may listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Servers {
    /// All: nobody hears of it.
    #[default]
    All,
    /// Unix sockets, in a network of the command's own: what a race lets through is reached
    /// by nobody outside.
    Unix,
    /// Unix sockets, which the supervisor lets listen itself: any other could be reached
    /// from anywhere.
    UnixByUs,
}

impl Duties {
    pub(super) fn is_none(&self) -> bool {
        self.files.is_none() && self.door.is_none() && self.servers == Servers::All
    }

    /// The calls to hear of.
    pub(super) fn calls(&self) -> Vec<(libc::c_long, When)> {
        let mut calls =
            self.files.as_ref().map_or(Vec::new(), |files| request::of_files(files.reads));
        if self.door.is_some() {
            calls.push((libc::SYS_connect, When::Always));
        }
        if self.servers != Servers::All {
            calls.push((libc::SYS_listen, When::Always));
            if self.files.is_none() {
                calls.push((libc::SYS_bind, When::Always));
            }
        }
        calls
    }
}

/// Makes calls on the thread that it was made on.
pub(super) struct Deputy<'d> {
    judge: Option<Judge<'d>>,
    door: Option<Door>,
    servers: Servers,
    /// The capabilities of this thread, if it has any.
    privileges: Option<[u32; 6]>,
}

impl Deputy<'_> {
    /// Prepares this thread.
    pub(super) fn new(duties: &Duties) -> Result<Deputy<'_>, Errno> {
        call::unshare(libc::CLONE_FS)?;
        let privileges = Some(call::capabilities()?).filter(|sets| *sets != [0; 6]);
        let judge = duties.files.as_ref().map(linux::Deputy::judge);
        let (door, servers) = (duties.door.clone(), duties.servers);
        Ok(Deputy { judge, door, servers, privileges })
    }

    /// Makes a call and answers it.
    pub(super) fn attend(&self, listener: i32, told: &Told) -> Fate {
        match self.attempt(listener, told) {
            // No rule of Landlock's is about that.
            Fate::Kernel if self.servers == Servers::UnixByUs && request::is_listen(told) => {
                let _ = call::answer(listener, told.id, Err(Errno(libc::EACCES)));
                Fate::Done
            }
            fate => fate,
        }
    }

    fn attempt(&self, listener: i32, told: &Told) -> Fate {
        let Some(request) = request::read(told) else { return Fate::Kernel };
        // What was read is what the process asks for, as long as it waits.
        if !call::still_waits(listener, told.id) {
            return Fate::Kernel;
        }
        // The command has no capabilities, so neither has what is done for it.
        if let Some([_, permitted, inherited, _, permitted_high, inherited_high]) = self.privileges
            && let idle = [0, permitted, inherited, 0, permitted_high, inherited_high]
            && call::set_capabilities(&idle).is_err()
        {
            return Fate::Kernel;
        }
        let outcome = self.perform(told.process as i32, &request);
        if let Some(privileges) = &self.privileges {
            let _ = call::set_capabilities(privileges);
        }
        match outcome {
            Err(Not::Ours) => return Fate::Kernel,
            Err(Not::Yet) => return Fate::Later,
            Ok(Answer::Number(result)) => {
                let _ = call::answer(listener, told.id, result.map(|()| 0));
            }
            Ok(Answer::File(file, flags)) => {
                let file = (file.as_raw_fd(), flags);
                if let Err(error) = call::answer_with_descriptor(listener, told.id, file) {
                    // It has as many files open as it may.
                    let _ = call::answer(listener, told.id, Err(error));
                }
            }
        }
        Fate::Done
    }

    fn perform(&self, process: i32, request: &Request) -> Outcome {
        match (request, &self.door, &self.judge) {
            (Request::Connect { socket, destination }, Some(door), _) => {
                door.connect(process, *socket, *destination)
            }
            (Request::Listen { socket, backlog }, ..) => {
                network::listen(process, (*socket, *backlog), self.servers)
            }
            // Where Landlock does not refuse it.
            (Request::BindPort(port), ..) => {
                ours(self.servers != Servers::All && *port != 0)?;
                number(Err(Errno(libc::EACCES)))
            }
            (request, _, Some(judge)) => Files { judge }.perform(process, request),
            _ => Err(Not::Ours),
        }
    }
}

/// Does what is asked for with files.
struct Files<'j, 'd> {
    judge: &'j Judge<'d>,
}

impl Files<'_, '_> {
    fn perform(&self, process: i32, request: &Request) -> Outcome {
        let place = |named: &Named| place(process, named, 0);
        match request {
            Request::Connect { .. } | Request::Listen { .. } | Request::BindPort(_) => {
                Err(Not::Ours)
            }
            Request::Open(named, opening) => self.open(process, named, *opening),
            Request::MakeDirectory(named, mode) => {
                let place = place(named)?;
                self.ours_to_change(&place)?;
                ours(self.judge.may_make(&place.path))?;
                take_mask_of(process)?;
                let (directory, name) = place.at();
                number(call::mkdirat(directory, name, *mode))
            }
            Request::MakeNode(named, mode) => {
                let place = place(named)?;
                let kind = mode & libc::S_IFMT;
                ours(matches!(kind, 0 | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK))?;
                self.ours_to_change(&place)?;
                ours(!place.slash && self.judge.may_take(&place.path))?;
                take_mask_of(process)?;
                let (directory, name) = place.at();
                number(call::mknodat(directory, name, *mode))
            }
            Request::Symlink { target, name } => {
                let place = place(name)?;
                self.ours_to_change(&place)?;
                ours(!place.slash && self.judge.may_take(&place.path))?;
                let (directory, name) = place.at();
                number(call::symlinkat(&text(target.as_slice()), directory, name))
            }
            Request::Link { from, follows, to } => {
                let mut from = place(from)?;
                if *follows {
                    from = followed(from)?;
                }
                let to = place(to)?;
                ours(!from.slash && !to.slash)?;
                ours(self.judge.may_write(&from.path) && self.judge.may_take(&to.path))?;
                number(call::linkat(from.at(), to.at()))
            }
            Request::Remove(named, flags) => {
                let place = place(named)?;
                self.ours_to_change(&place)?;
                ours(!place.slash || flags & libc::AT_REMOVEDIR != 0)?;
                ours(self.judge.may_take(&place.path))?;
                let (directory, name) = place.at();
                number(call::unlinkat(directory, name, *flags))
            }
            Request::Rename { from, to, flags } => {
                let (from, to) = (place(from)?, place(to)?);
                let directory = from.kind().ok() == Some(libc::S_IFDIR);
                ours(directory || !from.slash && !to.slash)?;
                ours(flags & libc::RENAME_WHITEOUT == 0)?;
                ours(self.judge.may_take(&from.path) && self.judge.may_take(&to.path))?;
                number(call::renameat2(from.at(), to.at(), *flags))
            }
            Request::Truncate(named, length) => {
                let flags = libc::O_WRONLY | libc::O_NONBLOCK;
                let opening = Opening { flags, mode: 0, resolve: 0 };
                match self.open(process, named, opening)? {
                    Answer::File(file, _) => number(call::ftruncate(file.as_raw_fd(), *length)),
                    answer @ Answer::Number(_) => Ok(answer),
                }
            }
            Request::Bind { socket, name } => {
                let place = place(name)?;
                self.ours_to_change(&place)?;
                ours(!place.slash && self.judge.may_take(&place.path))?;
                take_mask_of(process)?;
                bind(process, *socket, &place)
            }
        }
    }

    fn open(&self, process: i32, named: &Named, opening: Opening) -> Outcome {
        let Opening { flags, mode, resolve } = opening;
        let changes = changes(flags);
        ours(flags & libc::O_PATH == 0 && (changes || self.judge.reads()))?;
        let wanted = if changes { Access::Write } else { Access::Read };
        let given = |path: &AbsPath| is_apart(path) || self.judge.is_given(path, wanted);
        // Most of what is opened is there for all to read.
        ours(!AbsPath::posix(named.path.as_slice()).is_ok_and(|path| given(&path)))?;
        if flags & (libc::O_DIRECTORY | libc::O_TMPFILE) != 0 || is_directory_name(&named.path) {
            return self.open_directory(process, named, opening);
        }
        let mut place = place(process, named, resolve)?;
        ours(!place.slash)?;
        for _ in 0..LINKS {
            let kind = place.kind();
            let missing = matches!(kind, Err(Errno(libc::ENOENT)));
            match kind {
                Ok(libc::S_IFLNK) => {
                    let exclusive = libc::O_CREAT | libc::O_EXCL;
                    let stays = flags & libc::O_NOFOLLOW != 0 || flags & exclusive == exclusive;
                    ours(!stays && resolve == 0)?;
                    place = place.followed().ok_or(Not::Ours)?;
                    ours(!place.slash)?;
                    continue;
                }
                Ok(libc::S_IFREG | libc::S_IFDIR) => {}
                // To wait for somebody who writes is the kernel's.
                Ok(libc::S_IFIFO) => ours(changes)?,
                Err(Errno(libc::ENOENT)) => ours(flags & libc::O_CREAT != 0)?,
                _ => return Err(Not::Ours),
            }
            let path = &place.path;
            ours(!given(path))?;
            ours(match (missing, changes_existing(flags)) {
                (true, _) => self.judge.may_make(path),
                (false, true) => self.judge.may_write(path),
                (false, false) => self.judge.may_read(path),
            })?;
            let flags = if missing {
                take_mask_of(process)?;
                flags
            } else if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 {
                return number(Err(Errno(libc::EEXIST)));
            } else {
                // Or it would be made, had it gone meanwhile.
                flags & !libc::O_CREAT
            };
            match opened(&place, flags, mode) {
                // It has become something else since.
                Err(Errno(libc::ELOOP)) => {}
                Err(Errno(libc::ENOENT)) if !missing => {}
                Err(Errno(libc::ENXIO)) if flags & libc::O_NONBLOCK == 0 => return Err(Not::Yet),
                Err(error) => return number(Err(error)),
                Ok(file) => return checked(file, flags),
            }
        }
        number(Err(Errno(libc::ELOOP)))
    }

    /// Opens a directory, or a file without a name in one.
    fn open_directory(&self, process: i32, named: &Named, opening: Opening) -> Outcome {
        let Opening { flags, mode, resolve } = opening;
        ours(flags & libc::O_CREAT == 0)?;
        let (directory, path) =
            place::directory(process, named, (flags, resolve)).ok_or(Not::Ours)?;
        ours(!is_apart(&path))?;
        if changes(flags) {
            ours(self.judge.may_write(&path) && !self.judge.is_given(&path, Access::Write))?;
            take_mask_of(process)?;
        } else {
            ours(self.judge.may_read(&path) && !self.judge.is_given(&path, Access::Read))?;
        }
        let how = ((flags & !libc::O_NOFOLLOW) | libc::O_CLOEXEC, mode);
        match call::openat_mode(directory.as_raw_fd(), c".", how) {
            Ok(file) => Ok(Answer::File(owned(file), flags)),
            Err(error) => number(Err(error)),
        }
    }

    /// What Landlock gives needs nobody's help.
    fn ours_to_change(&self, place: &Place) -> Result<(), Not> {
        ours(!is_apart(&place.path) && !self.judge.is_given(&place.path, Access::Write))
    }
}

/// Where a path leads, if that can be said.
fn place(process: i32, named: &Named, resolve: u64) -> Result<Place, Not> {
    Place::of(process, named, resolve).ok_or(Not::Ours)
}

/// The same when there is no link.
fn followed(mut place: Place) -> Result<Place, Not> {
    for _ in 0..LINKS {
        if place.kind().ok() != Some(libc::S_IFLNK) {
            return Ok(place);
        }
        place = place.followed().ok_or(Not::Ours)?;
    }
    Err(Not::Ours)
}

fn ours(ours: bool) -> Result<(), Not> {
    if ours { Ok(()) } else { Err(Not::Ours) }
}

fn number(result: Result<(), Errno>) -> Outcome {
    Ok(Answer::Number(result))
}

/// Whether opening with these flags can change anything.
fn changes(flags: i32) -> bool {
    changes_existing(flags) || flags & libc::O_CREAT != 0
}

/// The same for what exists.
fn changes_existing(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0
}

/// Whether a path can be that of a directory only, by its end.
fn is_directory_name(path: &[u8]) -> bool {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    matches!(last, b"" | b"." | b"..")
}

fn is_apart(path: &AbsPath) -> bool {
    APART.iter().any(|apart| {
        let below = path.as_bytes().strip_prefix(*apart);
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    })
}

/// Opens without waiting, whatever it turns out to be.
fn opened(place: &Place, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    let (directory, name) = place.at();
    let careful = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    call::openat_mode(directory, name, (flags | careful, mode)).map(owned)
}

/// What was opened, in the way it was asked for; what is special is left alone.
fn checked(file: OwnedFd, flags: i32) -> Outcome {
    let kind = call::kind_of(file.as_raw_fd());
    ours(matches!(kind, Ok(libc::S_IFREG | libc::S_IFDIR | libc::S_IFIFO)))?;
    if flags & libc::O_NONBLOCK == 0
        && let Err(error) = call::set_file_flags(file.as_raw_fd(), flags)
    {
        return number(Err(error));
    }
    Ok(Answer::File(file, flags))
}

/// What is made now gets the mode that the process would have given it.
fn take_mask_of(process: i32) -> Result<(), Not> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.map_err(|_| Not::Ours)?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).ok_or(Not::Ours)?;
    call::umask(mask);
    Ok(())
}

/// Binds a socket of a process to a name; it gets to know that name only.
fn bind(process: i32, socket: i32, place: &Place) -> Outcome {
    let socket = network::taken(process, socket)?;
    let (directory, name) = place.at();
    call::fchdir(directory).map_err(|_| Not::Ours)?;
    let bound = call::bind_here(socket.as_raw_fd(), name);
    // This thread's alone.
    let _ = call::chdir(c"/");
    number(bound)
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the callers have just been given this descriptor by the kernel and
    // keep no other record of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
