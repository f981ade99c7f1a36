//! One safe function per system call, named after it.
//!
//! They take references where the kernel takes pointers, so that nothing else
//! in this crate has to argue about memory. None of them allocates: the first
//! process of a sandbox may call any of them.

use std::ffi::CStr;
use std::sync::atomic::AtomicU32;

use super::raw::{Arguments, Errno, arguments, call};

/// `CAP_*` sets for `capset(2)`.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

type Descriptor = i32;
type Outcome<T> = Result<T, Errno>;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MountAttributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

/// `struct open_how` of `openat2(2)`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct LandlockRuleset {
    pub(crate) handled_access_fs: u64,
    pub(crate) handled_access_net: u64,
    pub(crate) scoped: u64,
}

fn pointer<T: ?Sized>(reference: &T) -> usize {
    std::ptr::from_ref(reference).cast::<()>() as usize
}

fn path(text: &CStr) -> usize {
    text.as_ptr() as usize
}

fn flag(value: i32) -> usize {
    value as isize as usize
}

/// A call whose arguments are plain numbers.
fn numbers<const N: usize>(number: libc::c_long, given: [usize; N]) -> Outcome<usize> {
    // SAFETY: only calls without pointers are made through this function.
    unsafe { call(number, arguments(given)) }
}

/// A call that reads memory behind references that outlive it.
fn reads(number: libc::c_long, given: Arguments) -> Outcome<usize> {
    // SAFETY: every pointer was made from a reference, or a slice with its own
    // length, that is alive in the calling function; the kernel only reads it.
    unsafe { call(number, given) }
}

/// Opens a path without following any link, wherever it stands in the path.
pub(crate) fn openat2_no_links(
    directory: Descriptor,
    name: &CStr,
    flags: i32,
) -> Outcome<Descriptor> {
    const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
    const RESOLVE_NO_SYMLINKS: u64 = 0x04;
    let how = OpenHow {
        flags: flags as u64,
        mode: 0,
        resolve: RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    let given = [flag(directory), path(name), pointer(&how), size_of::<OpenHow>()];
    reads(libc::SYS_openat2, arguments(given)).map(|fd| fd as Descriptor)
}

/// Opens a path, following links, with the mode for a file it creates.
pub(crate) fn openat(directory: Descriptor, name: &CStr, flags: i32) -> Outcome<Descriptor> {
    let given = [flag(directory), path(name), flags as usize, 0o600];
    reads(libc::SYS_openat, arguments(given)).map(|fd| fd as Descriptor)
}

/// `close(2)`; there is nothing to be done about an error.
pub(crate) fn close(descriptor: Descriptor) {
    let _ = numbers(libc::SYS_close, [flag(descriptor)]);
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_range(first: u32, last: u32) -> Outcome<()> {
    numbers(libc::SYS_close_range, [first as usize, last as usize, 0]).map(drop)
}

/// `write(2)`.
pub(crate) fn write(descriptor: Descriptor, bytes: &[u8]) -> Outcome<usize> {
    let given = [flag(descriptor), bytes.as_ptr() as usize, bytes.len()];
    reads(libc::SYS_write, arguments(given))
}

/// `read(2)`.
pub(crate) fn read(descriptor: Descriptor, buffer: &mut [u8]) -> Outcome<usize> {
    let given = [flag(descriptor), buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer.
    unsafe { call(libc::SYS_read, arguments(given)) }
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`: a detached copy of the mounts at a
/// path. An empty name means the descriptor itself.
pub(crate) fn open_tree_clone(
    directory: Descriptor,
    name: &CStr,
    flags: u32,
) -> Outcome<Descriptor> {
    let all = flags
        | libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) as u32;
    let given = [flag(directory), path(name), all as usize];
    reads(libc::SYS_open_tree, arguments(given)).map(|fd| fd as Descriptor)
}

/// The same for a path, following links, with the mounts below it.
pub(crate) fn open_tree_clone_following(name: &CStr) -> Outcome<Descriptor> {
    const AT_RECURSIVE: u32 = 0x8000;
    let all = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    let given = [flag(libc::AT_FDCWD), path(name), all as usize];
    reads(libc::SYS_open_tree, arguments(given)).map(|fd| fd as Descriptor)
}

/// `move_mount(2)` to a path, the last link not followed.
pub(crate) fn move_mount_at(tree: Descriptor, target: &CStr) -> Outcome<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 0x04;
    let given =
        [flag(tree), path(c""), flag(libc::AT_FDCWD), path(target), MOVE_MOUNT_F_EMPTY_PATH];
    reads(libc::SYS_move_mount, arguments(given)).map(drop)
}

/// `move_mount(2)`: puts a detached mount on the object that `target` is open on.
pub(crate) fn move_mount(tree: Descriptor, target: Descriptor) -> Outcome<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 0x04;
    const MOVE_MOUNT_T_EMPTY_PATH: usize = 0x40;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let given = [flag(tree), path(c""), flag(target), path(c""), flags];
    reads(libc::SYS_move_mount, arguments(given)).map(drop)
}

/// How far `mount_setattr` reaches.
#[derive(Clone, Copy)]
pub(crate) enum Depth {
    One,
    Recursive,
}

/// `mount_setattr(2)` on what is mounted at a path, or on the descriptor itself
/// when the name is empty.
pub(crate) fn mount_setattr(
    directory: Descriptor,
    name: &CStr,
    depth: Depth,
    attributes: MountAttributes,
) -> Outcome<()> {
    const AT_RECURSIVE: i32 = 0x8000;
    let recursive = match depth {
        Depth::One => 0,
        Depth::Recursive => AT_RECURSIVE,
    };
    let flags = (recursive | libc::AT_EMPTY_PATH) as usize;
    let given =
        [flag(directory), path(name), flags, pointer(&attributes), size_of::<MountAttributes>()];
    reads(libc::SYS_mount_setattr, arguments(given)).map(drop)
}

/// `mount(2)`.
pub(crate) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: u64,
    options: &CStr,
) -> Outcome<()> {
    let given = [path(source), path(target), path(kind), flags as usize, path(options)];
    reads(libc::SYS_mount, arguments(given)).map(drop)
}

/// Makes the working directory the root and detaches the old root.
pub(crate) fn pivot_root_here() -> Outcome<()> {
    reads(libc::SYS_pivot_root, arguments([path(c"."), path(c".")]))?;
    reads(libc::SYS_umount2, arguments([path(c"."), libc::MNT_DETACH as usize])).map(drop)
}

/// `getdents64(2)`: how much of the buffer was filled.
pub(crate) fn getdents(directory: Descriptor, buffer: &mut [u8]) -> Outcome<usize> {
    let given = [flag(directory), buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer.
    unsafe { call(libc::SYS_getdents64, arguments(given)) }
}

/// The type and mode of what is at a path, the last link not followed.
pub(crate) fn mode_of(name: &CStr) -> Outcome<u32> {
    // SAFETY: `stat` is integers only, all zero is a value of it.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let given = [
        flag(libc::AT_FDCWD),
        path(name),
        std::ptr::from_mut(&mut found) as usize,
        libc::AT_SYMLINK_NOFOLLOW as usize,
    ];
    // SAFETY: the kernel writes one `stat`.
    unsafe { call(libc::SYS_newfstatat, arguments(given)) }?;
    Ok(found.st_mode)
}

/// Whether a descriptor is open on the root of a mount.
pub(crate) fn is_mount_root(descriptor: Descriptor) -> bool {
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    // SAFETY: `statx` is integers only, all zero is a value of it.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let given = [
        flag(descriptor),
        path(c""),
        libc::AT_EMPTY_PATH as usize,
        0,
        std::ptr::from_mut(&mut found) as usize,
    ];
    // SAFETY: the kernel writes one `statx`.
    let done = unsafe { call(libc::SYS_statx, arguments(given)) };
    done.is_ok() && found.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0
}

/// `mkdirat(2)`.
pub(crate) fn mkdirat(directory: Descriptor, name: &CStr, mode: u32) -> Outcome<()> {
    let given = [flag(directory), path(name), mode as usize];
    reads(libc::SYS_mkdirat, arguments(given)).map(drop)
}

/// Makes an empty regular file.
pub(crate) fn mknodat_file(directory: Descriptor, name: &CStr, mode: u32) -> Outcome<()> {
    let given = [flag(directory), path(name), (libc::S_IFREG | mode) as usize, 0];
    reads(libc::SYS_mknodat, arguments(given)).map(drop)
}

/// `symlinkat(2)`.
pub(crate) fn symlinkat(target: &CStr, directory: Descriptor, name: &CStr) -> Outcome<()> {
    reads(libc::SYS_symlinkat, arguments([path(target), flag(directory), path(name)])).map(drop)
}

/// `chdir(2)`.
pub(crate) fn chdir(directory: &CStr) -> Outcome<()> {
    reads(libc::SYS_chdir, arguments([path(directory)])).map(drop)
}

/// `umask(2)`: the previous mask.
pub(crate) fn umask(mask: u32) -> u32 {
    numbers(libc::SYS_umask, [mask as usize]).unwrap_or(0) as u32
}

/// `prctl(2)` with numbers only.
pub(crate) fn prctl(option: i32, value: usize) -> Outcome<()> {
    numbers(libc::SYS_prctl, [flag(option), value, 0, 0, 0]).map(drop)
}

/// Gives up every capability.
pub(crate) fn drop_capabilities() -> Outcome<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    reads(libc::SYS_capset, arguments([pointer(&header), pointer(&none)])).map(drop)
}

/// Installs a system-call filter on this process.
pub(crate) fn seccomp_filter(program: &[libc::sock_filter]) -> Outcome<()> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let program =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let given = [SECCOMP_SET_MODE_FILTER, 0, pointer(&program)];
    reads(libc::SYS_seccomp, arguments(given)).map(drop)
}

/// `landlock_create_ruleset(2)`.
pub(crate) fn landlock_create_ruleset(ruleset: &LandlockRuleset) -> Outcome<Descriptor> {
    let given = [pointer(ruleset), size_of::<LandlockRuleset>(), 0];
    reads(libc::SYS_landlock_create_ruleset, arguments(given)).map(|fd| fd as Descriptor)
}

/// The version of Landlock, 0 for none.
pub(crate) fn landlock_version() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: usize = 1;
    let given = [0, 0, LANDLOCK_CREATE_RULESET_VERSION];
    numbers(libc::SYS_landlock_create_ruleset, given).unwrap_or(0) as u32
}

/// `landlock_restrict_self(2)`.
pub(crate) fn landlock_restrict_self(ruleset: Descriptor) -> Outcome<()> {
    numbers(libc::SYS_landlock_restrict_self, [flag(ruleset), 0]).map(drop)
}

/// `kill(2)`.
pub(crate) fn kill(process: i32, signal: i32) -> Outcome<()> {
    numbers(libc::SYS_kill, [flag(process), flag(signal)]).map(drop)
}

/// `getpid(2)`.
pub(crate) fn getpid() -> i32 {
    numbers(libc::SYS_getpid, []).unwrap_or(0) as i32
}

/// `setpgid(2)` for a group of the caller's own.
pub(crate) fn setpgid_self() -> Outcome<()> {
    numbers(libc::SYS_setpgid, [0, 0]).map(drop)
}

/// `pidfd_open(2)`.
pub(crate) fn pidfd_open(process: i32) -> Outcome<Descriptor> {
    numbers(libc::SYS_pidfd_open, [flag(process), 0]).map(|fd| fd as Descriptor)
}

/// `pidfd_send_signal(2)`.
pub(crate) fn pidfd_send_signal(pidfd: Descriptor, signal: i32) -> Outcome<()> {
    numbers(libc::SYS_pidfd_send_signal, [flag(pidfd), flag(signal), 0, 0]).map(drop)
}

/// Sets the blocked signals and returns those that were blocked before.
pub(crate) fn sigprocmask(signals: u64) -> u64 {
    let mut before = 0u64;
    let given = [
        libc::SIG_SETMASK as usize,
        pointer(&signals),
        std::ptr::from_mut(&mut before) as usize,
        size_of::<u64>(),
    ];
    // SAFETY: both sets are as large as the call is told.
    let _ = unsafe { call(libc::SYS_rt_sigprocmask, arguments(given)) };
    before
}

/// Waits for one of `signals`, which must be blocked. Bounded by `timeout`.
pub(crate) fn sigtimedwait(signals: u64, timeout: Option<libc::timespec>) -> Outcome<i32> {
    let timeout = timeout.as_ref().map_or(0, pointer);
    let given = [pointer(&signals), 0, timeout, size_of::<u64>()];
    reads(libc::SYS_rt_sigtimedwait, arguments(given)).map(|signal| signal as i32)
}

/// `signalfd4(2)`.
pub(crate) fn signalfd(signals: u64) -> Outcome<Descriptor> {
    let flags = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as usize;
    let given = [usize::MAX, pointer(&signals), size_of::<u64>(), flags];
    reads(libc::SYS_signalfd4, arguments(given)).map(|fd| fd as Descriptor)
}

/// Waits until one of `polled` is ready; nothing means without bound.
pub(crate) fn ppoll(
    polled: &mut [libc::pollfd],
    timeout: Option<libc::timespec>,
) -> Outcome<usize> {
    // The kernel writes the time that is left into its argument.
    let mut timeout = timeout;
    let left = timeout.as_mut().map_or(0, |value| std::ptr::from_mut(value) as usize);
    let given = [polled.as_mut_ptr() as usize, polled.len(), left, 0, size_of::<u64>()];
    // SAFETY: the kernel writes only into the slice and the time.
    unsafe { call(libc::SYS_ppoll, arguments(given)) }
}

/// What `wait4(2)` says about a child.
#[derive(Clone, Copy)]
pub(crate) struct Waited {
    pub(crate) process: i32,
    pub(crate) status: i32,
}

/// `wait4(2)` without resource usage.
pub(crate) fn wait4(process: i32, options: i32) -> Outcome<Waited> {
    let mut status = 0i32;
    let given = [flag(process), std::ptr::from_mut(&mut status) as usize, flag(options), 0];
    // SAFETY: the kernel writes one integer.
    let process = unsafe { call(libc::SYS_wait4, arguments(given)) }? as i32;
    Ok(Waited { process, status })
}

/// Whether a child has stopped since this was last asked; it is not reaped.
pub(crate) fn has_stopped(process: i32) -> bool {
    const P_PID: usize = 1;
    // `siginfo_t` is 128 bytes; all zero means that nothing has happened.
    let mut record = [0u64; 16];
    let given = [
        P_PID,
        flag(process),
        std::ptr::from_mut(&mut record) as usize,
        (libc::WSTOPPED | libc::WNOHANG) as usize,
        0,
    ];
    // SAFETY: the kernel writes one `siginfo_t` into the record.
    let waited = unsafe { call(libc::SYS_waitid, arguments(given)) };
    waited.is_ok() && record[0] != 0
}

/// `wait4(2)` with the resource usage of the child and of its children.
pub(crate) fn wait4_usage(process: i32) -> Outcome<(Waited, libc::rusage)> {
    let mut status = 0i32;
    // SAFETY: `rusage` is integers only, all zero is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let given = [
        flag(process),
        std::ptr::from_mut(&mut status) as usize,
        0,
        std::ptr::from_mut(&mut usage) as usize,
    ];
    // SAFETY: the kernel writes one integer and one `rusage`.
    let process = unsafe { call(libc::SYS_wait4, arguments(given)) }? as i32;
    Ok((Waited { process, status }, usage))
}

/// Sets both bounds of a resource limit.
pub(crate) fn setrlimit(resource: u32, soft: u64, hard: u64) -> Outcome<()> {
    let limit = [soft, hard];
    let given = [0, resource as usize, pointer(&limit), 0];
    reads(libc::SYS_prlimit64, arguments(given)).map(drop)
}

/// The effective user and group that the process was started with.
pub(crate) fn identity() -> (u32, u32) {
    // SAFETY: the auxiliary vector is there from the start and never changes.
    let user = unsafe { libc::getauxval(libc::AT_EUID) };
    // SAFETY: as above.
    let group = unsafe { libc::getauxval(libc::AT_EGID) };
    (user as u32, group as u32)
}

/// A signal that was sent to the supervisor.
#[derive(Clone, Copy)]
pub(crate) struct Signal {
    pub(crate) number: i32,
    /// Whether the kernel (a terminal) sent it rather than a process.
    pub(crate) from_kernel: bool,
    /// For [`DIRECTORY_CHANGED`]: of which directory.
    pub(crate) descriptor: i32,
}

/// Takes one signal from a `signalfd(2)`.
pub(crate) fn read_signal(descriptor: Descriptor) -> Option<Signal> {
    // `struct signalfd_siginfo`: number, error, code, process, user, descriptor.
    let mut record = [0u8; 128];
    if read(descriptor, &mut record) != Ok(record.len()) {
        return None;
    }
    let word = |at: usize| {
        let bytes = record.get(at..).and_then(|rest| rest.first_chunk());
        i32::from_ne_bytes(*bytes.unwrap_or(&[0; 4]))
    };
    Some(Signal { number: word(0), from_kernel: word(8) == SI_KERNEL, descriptor: word(20) })
}

/// The `si_code` of a signal that the kernel sent.
const SI_KERNEL: i32 = 0x80;

/// Turns the loopback interface of this network namespace on.
pub(crate) fn loopback_up() -> Outcome<()> {
    /// `struct ifreq` with `ifr_flags`.
    #[repr(C)]
    struct InterfaceFlags {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }
    let mut name = [0; 16];
    name[..2].copy_from_slice(b"lo");
    let request =
        InterfaceFlags { name, flags: (libc::IFF_UP | libc::IFF_RUNNING) as i16, rest: [0; 22] };
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize;
    let socket = numbers(libc::SYS_socket, [libc::AF_INET as usize, kind, 0])? as Descriptor;
    let given = [flag(socket), libc::SIOCSIFFLAGS as usize, pointer(&request)];
    // The socket goes when all descriptors of the first process go.
    reads(libc::SYS_ioctl, arguments(given)).map(drop)
}

/// Whether a descriptor is open on a terminal.
pub(crate) fn is_terminal(descriptor: Descriptor) -> bool {
    let mut group = 0i32;
    let given =
        [flag(descriptor), libc::TIOCGPGRP as usize, std::ptr::from_mut(&mut group) as usize];
    // SAFETY: the kernel writes one integer.
    unsafe { call(libc::SYS_ioctl, arguments(given)) }.is_ok()
}

/// `eventfd2(2)`.
pub(crate) fn eventfd() -> Outcome<Descriptor> {
    let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize;
    numbers(libc::SYS_eventfd2, [0, flags]).map(|fd| fd as Descriptor)
}

/// `inotify_init1(2)`.
pub(crate) fn inotify_init() -> Outcome<Descriptor> {
    let flags = (libc::IN_CLOEXEC | libc::IN_NONBLOCK) as usize;
    numbers(libc::SYS_inotify_init1, [flags]).map(|fd| fd as Descriptor)
}

/// `inotify_add_watch(2)` for names that appear in a directory: the number of
/// the watch.
pub(crate) fn inotify_add_watch(inotify: Descriptor, name: &CStr) -> Outcome<i32> {
    let events = libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_ONLYDIR | libc::IN_DONT_FOLLOW;
    let given = [flag(inotify), path(name), events as usize];
    reads(libc::SYS_inotify_add_watch, arguments(given)).map(|watch| watch as i32)
}

/// Opens a directory, to read or to watch it.
pub(crate) fn open_directory(name: &CStr) -> Outcome<Descriptor> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    openat2_no_links(libc::AT_FDCWD, name, flags)
}

/// The signal that tells of a changed directory; the C libraries leave it alone.
pub(crate) const DIRECTORY_CHANGED: i32 = 44;

/// Asks for [`DIRECTORY_CHANGED`] whenever a name appears in a directory:
/// `F_SETSIG` and `F_NOTIFY` of `fcntl(2)`.
pub(crate) fn notify_by_signal(directory: Descriptor) -> Outcome<()> {
    const F_SETSIG: usize = 10;
    const F_NOTIFY: usize = 1026;
    const DN_CREATE: usize = 0x4;
    const DN_RENAME: usize = 0x10;
    const DN_MULTISHOT: usize = 0x8000_0000;
    numbers(libc::SYS_fcntl, [flag(directory), F_SETSIG, flag(DIRECTORY_CHANGED)])?;
    let events = DN_CREATE | DN_RENAME | DN_MULTISHOT;
    numbers(libc::SYS_fcntl, [flag(directory), F_NOTIFY, events]).map(drop)
}

/// Wakes one waiter on a futex that this process shares with another.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let given = [pointer(word), libc::FUTEX_WAKE as usize, 1];
    let _ = reads(libc::SYS_futex, arguments(given));
}

/// Sleeps until `word` is no longer `expected`, at most for `timeout`.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: libc::timespec) {
    let given = [pointer(word), libc::FUTEX_WAIT as usize, expected as usize, pointer(&timeout)];
    let _ = reads(libc::SYS_futex, arguments(given));
}

/// Replaces the process; returns only when that failed.
///
/// `arguments` and `environment` end with a null pointer.
///
/// # Safety
/// Every pointer but the last leads to a C string that is alive.
pub(crate) unsafe fn execve(
    program: &CStr,
    argument_vector: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> Errno {
    let given = [path(program), argument_vector.as_ptr() as usize, environment.as_ptr() as usize];
    // SAFETY: the caller vouches for the vectors.
    match unsafe { call(libc::SYS_execve, arguments(given)) } {
        Err(error) => error,
        Ok(_) => Errno(0),
    }
}

/// Ends the process without running anything else of it.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        let _ = numbers(libc::SYS_exit_group, [flag(status)]);
    }
}

/// A stack for a process that shares this one's memory. Its pages exist only
/// once they are written.
pub(crate) struct Stack {
    base: usize,
    size: usize,
}

/// Where a stack begins: it grows downwards.
#[derive(Clone, Copy)]
pub(crate) struct StackTop(usize);

/// Room that no process of ours comes near to using.
const STACK: usize = 128 * 1024;

impl Stack {
    /// Maps a stack.
    pub(crate) fn map() -> Outcome<Stack> {
        Stack::map_all(STACK)
    }

    /// Maps two stacks at once; the second is the upper half.
    pub(crate) fn map_two() -> Outcome<Stack> {
        Stack::map_all(2 * STACK)
    }

    fn map_all(size: usize) -> Outcome<Stack> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        let given = [0, size, protection, flags as usize, usize::MAX, 0];
        numbers(libc::SYS_mmap, given).map(|base| Stack { base, size })
    }

    /// The top of the lower, or only, stack.
    pub(crate) fn lower(&self) -> StackTop {
        StackTop(self.base + STACK)
    }

    /// The top of the upper stack.
    pub(crate) fn upper(&self) -> StackTop {
        StackTop(self.base + self.size)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = numbers(libc::SYS_munmap, [self.base, self.size]);
    }
}

/// The time since some moment in the past, unaffected by changes of the clock.
/// A system call costs less here than the two pages that a faster way touches.
pub(crate) fn monotonic() -> std::time::Duration {
    let mut time = [0u64; 2];
    let given = [libc::CLOCK_MONOTONIC as usize, std::ptr::from_mut(&mut time) as usize];
    // SAFETY: the kernel writes seconds and nanoseconds, 64 bits each.
    let _ = unsafe { call(libc::SYS_clock_gettime, arguments(given)) };
    std::time::Duration::new(time[0], time[1] as u32)
}

/// Starts a process that shares this one's memory, on a stack of its own.
///
/// # Safety
/// `stack` is used by no other process; it and whatever `argument` leads to
/// outlive the new process or its `execve`; `entry` makes only calls of this
/// module.
pub(crate) unsafe fn clone_sharing_memory(
    entry: extern "C" fn(*mut libc::c_void) -> i32,
    stack: StackTop,
    flags: i32,
    argument: *mut libc::c_void,
    pidfd: &mut Descriptor,
) -> Outcome<i32> {
    // SAFETY: the stack is this process's own and large enough, the rest is
    // vouched for by the caller.
    let process = unsafe {
        libc::clone(
            entry,
            stack.0 as *mut libc::c_void,
            flags | libc::CLONE_VM,
            argument,
            std::ptr::from_mut(pidfd),
        )
    };
    if process < 0 {
        let error = std::io::Error::last_os_error().raw_os_error();
        return Err(Errno(error.unwrap_or(libc::EPERM)));
    }
    Ok(process)
}
