//! Processes and what restricts them.

use std::ffi::CStr;

use super::super::raw::{Errno, arguments, call};
use super::{Descriptor, Outcome, flag, numbers, path, pointer, reads};

/// `CAP_*` sets for `capset(2)`.
pub(super) const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct LandlockRuleset {
    pub(crate) handled_access_fs: u64,
    pub(crate) handled_access_net: u64,
    pub(crate) scoped: u64,
}

/// `prctl(2)` with numbers only.
pub(crate) fn prctl(option: i32, value: usize) -> Outcome<()> {
    numbers(libc::SYS_prctl, [flag(option), value, 0, 0, 0]).map(drop)
}

/// Gives up every capability.
pub(crate) fn drop_capabilities() -> Outcome<()> {
    permit([0, 0])
}

/// Gives up every capability but one, which is of no use in a user namespace and goes
/// with `execve(2)`: see `capabilities(7)` about transformations, and `SECBIT_NOROOT` for
/// user 0. Until then no process without capabilities can trace this one, whether its memory
/// is private or not: `ptrace(2)` about access modes.
pub(crate) fn keep_capability_until_execve() -> Outcome<()> {
    const CAP_WAKE_ALARM: u32 = 35;
    const SECBIT_NOROOT: usize = 1;
    const SECBIT_NOROOT_LOCKED: usize = 1 << 1;
    prctl(libc::PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED)?;
    permit([0, 1 << (CAP_WAKE_ALARM - 32)])
}

/// Sets the permitted capabilities, of which none is effective or inheritable.
fn permit([low, high]: [u32; 2]) -> Outcome<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    // Effective, permitted and inheritable, for the first 32 and for the others.
    let sets = [0, low, 0, 0, high, 0];
    reads(libc::SYS_capset, arguments([pointer(&header), pointer(&sets)])).map(drop)
}

/// Installs a system-call filter on this process.
pub(crate) fn seccomp_filter(program: &[libc::sock_filter]) -> Outcome<()> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let program =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let given = [SECCOMP_SET_MODE_FILTER, 0, pointer(&program)];
    reads(libc::SYS_seccomp, arguments(given)).map(drop)
}

/// Installs a filter that tells of calls; where to hear of them.
pub(crate) fn seccomp_listener(program: &[libc::sock_filter]) -> Outcome<Descriptor> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    const NEW_LISTENER: usize = 1 << 3;
    const WAIT_KILLABLE: usize = 1 << 5;
    let program =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let install = |flags| {
        let given = [SECCOMP_SET_MODE_FILTER, flags, pointer(&program)];
        reads(libc::SYS_seccomp, arguments(given)).map(|fd| fd as Descriptor)
    };
    // Kernels before 5.19 cannot wait killably.
    match install(NEW_LISTENER | WAIT_KILLABLE) {
        Err(Errno(libc::EINVAL)) => install(NEW_LISTENER),
        installed => installed,
    }
}

/// `struct seccomp_notif`: a call that waits.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) process: u32,
    flags: u32,
    pub(crate) number: i32,
    architecture: u32,
    instruction: u64,
    pub(crate) arguments: [u64; 6],
}

/// Has the process that waits and the one that hears of it run in turn, on one
/// processor: `SECCOMP_IOCTL_NOTIF_SET_FLAGS`. Kernels before 6.6 cannot.
pub(crate) fn take_turns(listener: Descriptor) -> Outcome<()> {
    const SET_FLAGS: usize = 0x4008_2104;
    const SYNC_WAKE_UP: usize = 1;
    numbers(libc::SYS_ioctl, [flag(listener), SET_FLAGS, SYNC_WAKE_UP]).map(drop)
}

/// Waits for the next call: `SECCOMP_IOCTL_NOTIF_RECV`.
pub(crate) fn next_told(listener: Descriptor) -> Outcome<Told> {
    const RECEIVE: usize = 0xc050_2100;
    let mut told = Told::default();
    let given = [flag(listener), RECEIVE, std::ptr::from_mut(&mut told) as usize];
    // SAFETY: the kernel writes one `struct seccomp_notif`.
    unsafe { call(libc::SYS_ioctl, arguments(given)) }?;
    Ok(told)
}

/// Lets a call go on: `SECCOMP_IOCTL_NOTIF_SEND` with `CONTINUE`.
pub(crate) fn let_go_on(listener: Descriptor, id: u64) -> Outcome<()> {
    const SEND: usize = 0xc018_2101;
    const CONTINUE: u64 = 1;
    // `struct seccomp_notif_resp`: the error and the flags share a word.
    let answer = [id, 0, CONTINUE << 32];
    let given = [flag(listener), SEND, pointer(&answer)];
    reads(libc::SYS_ioctl, arguments(given)).map(drop)
}

/// Reads memory of another process; how much. It must not reach over the end of a
/// page that may be the last.
pub(crate) fn read_memory(process: i32, address: u64, buffer: &mut [u8]) -> Outcome<usize> {
    let ours = [buffer.as_mut_ptr() as usize, buffer.len()];
    let theirs = [address as usize, buffer.len()];
    let given = [flag(process), pointer(&ours), 1, pointer(&theirs), 1, 0];
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer.
    unsafe { call(libc::SYS_process_vm_readv, given) }
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

/// Adds a rule for everything at and below an open path.
pub(crate) fn landlock_add_path(ruleset: Descriptor, rights: u64, opened: i32) -> Outcome<()> {
    const LANDLOCK_RULE_PATH_BENEATH: usize = 1;
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: i32,
    }
    let rule = PathBeneath { allowed_access: rights, parent_fd: opened };
    let given = [flag(ruleset), LANDLOCK_RULE_PATH_BENEATH, pointer(&rule), 0];
    reads(libc::SYS_landlock_add_rule, arguments(given)).map(drop)
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

/// `getppid(2)`.
pub(crate) fn getppid() -> i32 {
    numbers(libc::SYS_getppid, []).unwrap_or(0) as i32
}

/// `setpgid(2)` for a group of the caller's own.
pub(crate) fn setpgid_self() -> Outcome<()> {
    numbers(libc::SYS_setpgid, [0, 0]).map(drop)
}

/// Lets a signal do what it does by default, as programs expect to find it.
pub(crate) fn default_signal(signal: i32) {
    // `struct kernel_sigaction` with `SIG_DFL`, no flags and an empty mask.
    let action = [0usize; 4];
    let given = [flag(signal), pointer(&action), 0, size_of::<u64>()];
    let _ = reads(libc::SYS_rt_sigaction, arguments(given));
}

/// Takes back what has been sent of a blocked signal, which stays what it was.
pub(crate) fn discard_pending(signal: i32) {
    // `struct kernel_sigaction` with `SIG_IGN`, no flags and an empty mask.
    let ignore = [1usize, 0, 0, 0];
    let mut before = [0usize; 4];
    let given = [
        flag(signal),
        pointer(&ignore),
        std::ptr::from_mut(&mut before) as usize,
        size_of::<u64>(),
    ];
    // SAFETY: the kernel reads one action and writes one.
    if unsafe { call(libc::SYS_rt_sigaction, arguments(given)) }.is_ok() {
        let given = [flag(signal), pointer(&before), 0, size_of::<u64>()];
        let _ = reads(libc::SYS_rt_sigaction, arguments(given));
    }
}

/// A copy of a descriptor of another process: `pidfd_getfd(2)`.
pub(crate) fn pidfd_getfd(pidfd: Descriptor, number: Descriptor) -> Outcome<Descriptor> {
    let given = [flag(pidfd), flag(number), 0];
    numbers(libc::SYS_pidfd_getfd, given).map(|fd| fd as Descriptor)
}

/// `pidfd_send_signal(2)` to the whole process group; kernels before 6.9 refuse.
pub(crate) fn pidfd_send_signal_to_group(pidfd: Descriptor, signal: i32) -> Outcome<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: usize = 1 << 2;
    let given = [flag(pidfd), flag(signal), 0, PIDFD_SIGNAL_PROCESS_GROUP];
    numbers(libc::SYS_pidfd_send_signal, given).map(drop)
}

/// `unshare(2)`: no longer has what the flags say in common with who started it.
pub(crate) fn unshare(flags: i32) -> Outcome<()> {
    numbers(libc::SYS_unshare, [flag(flags)]).map(drop)
}

/// Joins the network namespace of a process: `setns(2)` with a descriptor of the process,
/// Linux 5.8.
pub(crate) fn join_network_of(pidfd: Descriptor) -> Outcome<()> {
    numbers(libc::SYS_setns, [flag(pidfd), flag(libc::CLONE_NEWNET)]).map(drop)
}

/// A bit for each of the first 1,024 processors.
pub(crate) type Processors = [u64; 16];

/// The processors that a process may run on, `sched_getaffinity(2)`.
pub(crate) fn affinity(process: i32) -> Outcome<Processors> {
    let mut processors = Processors::default();
    let place = std::ptr::from_mut(&mut processors) as usize;
    let given = [flag(process), size_of::<Processors>(), place];
    // SAFETY: the kernel writes at most as much as it is told.
    unsafe { call(libc::SYS_sched_getaffinity, arguments(given)) }?;
    Ok(processors)
}

/// `sched_setaffinity(2)`.
pub(crate) fn set_affinity(process: i32, processors: &Processors) -> Outcome<()> {
    let given = [flag(process), size_of::<Processors>(), pointer(processors)];
    reads(libc::SYS_sched_setaffinity, arguments(given)).map(drop)
}

/// The processor that this thread runs on, `getcpu(2)`.
pub(crate) fn processor() -> Outcome<usize> {
    let mut number = 0u32;
    let given = [std::ptr::from_mut(&mut number) as usize, 0, 0];
    // SAFETY: the kernel writes one number.
    unsafe { call(libc::SYS_getcpu, arguments(given)) }?;
    Ok(number as usize)
}

/// `pidfd_open(2)`.
pub(crate) fn pidfd_open(process: i32) -> Outcome<Descriptor> {
    numbers(libc::SYS_pidfd_open, [flag(process), 0]).map(|fd| fd as Descriptor)
}

/// The same for a thread, `PIDFD_THREAD` of Linux 6.9, which need not be the first of its
/// process.
pub(crate) fn pidfd_open_thread(thread: i32) -> Outcome<Descriptor> {
    const PIDFD_THREAD: i32 = libc::O_EXCL;
    let given = [flag(thread), flag(PIDFD_THREAD)];
    numbers(libc::SYS_pidfd_open, given).map(|fd| fd as Descriptor)
}

/// A descriptor of the user namespace of a process: `PIDFD_GET_USER_NAMESPACE` of Linux
/// 6.11, which wants the same permission as `/proc/PID/ns/user`.
pub(crate) fn user_namespace_of(pidfd: Descriptor) -> Outcome<Descriptor> {
    const PIDFD_GET_USER_NAMESPACE: usize = 0xff09;
    let given = [flag(pidfd), PIDFD_GET_USER_NAMESPACE];
    numbers(libc::SYS_ioctl, given).map(|descriptor| descriptor as Descriptor)
}

/// `pidfd_send_signal(2)`.
pub(crate) fn pidfd_send_signal(pidfd: Descriptor, signal: i32) -> Outcome<()> {
    numbers(libc::SYS_pidfd_send_signal, [flag(pidfd), flag(signal), 0, 0]).map(drop)
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

/// Both bounds of a resource limit.
pub(crate) fn getrlimit(resource: u32) -> Outcome<[u64; 2]> {
    let mut limit = [0; 2];
    let given = [0, resource as usize, 0, std::ptr::from_mut(&mut limit) as usize];
    // SAFETY: the kernel writes one `struct rlimit64`, which is two numbers.
    unsafe { call(libc::SYS_prlimit64, arguments(given)) }?;
    Ok(limit)
}

/// The effective user and group that the process was started with.
pub(crate) fn identity() -> (u32, u32) {
    // SAFETY: the auxiliary vector is there from the start and never changes.
    let user = unsafe { libc::getauxval(libc::AT_EUID) };
    // SAFETY: as above.
    let group = unsafe { libc::getauxval(libc::AT_EGID) };
    (user as u32, group as u32)
}

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
    let turned_on = reads(libc::SYS_ioctl, arguments(given)).map(drop);
    super::close(socket);
    turned_on
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

    /// The top of the upper, or only, stack.
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

/// `madvise(2)` that makes pages exist before they are written; nothing depends
/// on it.
pub(crate) fn populate(start: usize, length: usize) {
    const MADV_POPULATE_WRITE: usize = 23;
    let _ = numbers(libc::SYS_madvise, [start, length, MADV_POPULATE_WRITE]);
}
