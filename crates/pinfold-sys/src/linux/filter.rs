//! The system-call filter, as one BPF program.
//!
//! The kernel runs a filter once per call number when it is installed, to learn
//! which calls it always allows. A binary search keeps that to a third of the
//! price of a list (measured), so the calls that matter are sorted and searched,
//! and arguments are looked at only in the leaves.
//!
//! What is refused is attack surface that ordinary programs do without:
//! administration, kernel introspection, keyrings, rare socket families, input
//! injection into terminals. Programs of another architecture are killed, calls
//! of the x32 interface do not exist.

use libc::sock_filter;
use pinfold_policy::plan::linux::{Filter, Sockets};

/// `AUDIT_ARCH_*` of this build, from `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// The bit that marks a call of the x32 interface.
const X32: u32 = 0x4000_0000;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
/// `SECCOMP_RET_USER_NOTIF`.
const TELL: u32 = 0x7fc0_0000;

/// Offsets in `struct seccomp_data`, little endian.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const fn low_word_of_argument(index: u32) -> u32 {
    16 + 8 * index
}

/// What happens to one call.
#[derive(Clone, Copy)]
enum Leaf {
    /// Always refused with this error.
    Refuse(i32),
    /// Refused with EPERM when argument `index` has any of `bits`.
    RefuseBits { index: u32, bits: u32 },
    /// Refused when the first argument is none of `families`.
    Families(&'static [i32]),
    /// Refused but for Unix sockets and TCP, whose ports Landlock bounds; other
    /// stream protocols (MPTCP, SCTP) it does not.
    TcpOnly,
    /// Told to the supervisor when argument `index` has any of `bits`, and else
    /// allowed.
    Tell { index: u32, bits: u32 },
    /// Told to the supervisor when argument `index` is `value`, and else allowed.
    TellWhen { index: u32, value: u32 },
    /// Always told to the supervisor.
    TellAlways,
    /// Refused when the second argument is one of `requests`.
    Requests(&'static [u32]),
}

/// From `asm-generic/unistd.h`; the libc crate leaves it out for 64-bit ARM.
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: libc::c_long = libc::SYS_kexec_file_load;
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: libc::c_long = 294;

/// Refused with EPERM under every plan.
const ALWAYS: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    KEXEC_FILE_LOAD,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// Refused with EPERM unless programs inside may have user namespaces, where
/// these calls are what such a namespace is for.
const NAMESPACES: &[libc::c_long] = &[
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
];

/// Requests that put input into a terminal or change how its line is driven.
/// The kernel looks at the low 32 bits of a request only, and so do we.
const TERMINAL_REQUESTS: &[u32] = &[0x5412, 0x541c, 0x5423]; // TIOCSTI, TIOCLINUX, TIOCSETD

const ORDINARY: &[i32] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
const UNIX_ONLY: &[i32] = &[libc::AF_UNIX];

/// The program for `filter`.
pub(crate) fn program(filter: &Filter) -> Vec<sock_filter> {
    searching(&leaves(filter))
}

/// When a call is told to the supervisor.
#[derive(Clone, Copy)]
pub(crate) enum When {
    Always,
    /// When this argument has any of these bits.
    Bits(u32, u32),
    /// When this argument has this value.
    Is(u32, u32),
}

/// The program that tells of calls and refuses none.
pub(crate) fn telling(calls: impl Iterator<Item = (libc::c_long, When)>) -> Vec<sock_filter> {
    let leaf = |(number, when)| {
        let leaf = match when {
            When::Always => Leaf::TellAlways,
            When::Bits(index, bits) => Leaf::Tell { index, bits },
            When::Is(index, value) => Leaf::TellWhen { index, value },
        };
        (number as u32, leaf)
    };
    let mut leaves: Vec<(u32, Leaf)> = calls.map(leaf).collect();
    leaves.sort_by_key(|(number, _)| *number);
    searching(&leaves)
}

fn searching(leaves: &[(u32, Leaf)]) -> Vec<sock_filter> {
    let mut program = Vec::with_capacity(leaves.len() * 5 + 16);
    program.push(statement(LOAD, OFFSET_ARCHITECTURE));
    program.push(jump(EQUAL, ARCHITECTURE, 1, 0));
    program.push(statement(RETURN, KILL_PROCESS));
    program.push(statement(LOAD, OFFSET_NUMBER));
    program.push(jump(AT_LEAST, X32, 0, 1));
    program.push(statement(RETURN, ERRNO | libc::ENOSYS as u32));
    search(&mut program, leaves);
    program
}

/// The calls that are not simply allowed, sorted by number.
fn leaves(filter: &Filter) -> Vec<(u32, Leaf)> {
    let mut leaves: Vec<(u32, Leaf)> =
        ALWAYS.iter().map(|number| (*number as u32, Leaf::Refuse(libc::EPERM))).collect();
    leaves.push((libc::SYS_ioctl as u32, Leaf::Requests(TERMINAL_REQUESTS)));
    let sockets = match filter.sockets {
        Sockets::Ordinary => Leaf::Families(ORDINARY),
        Sockets::UnixAndTcp => Leaf::TcpOnly,
        Sockets::UnixOnly => Leaf::Families(UNIX_ONLY),
    };
    leaves.push((libc::SYS_socket as u32, sockets));
    if filter.sockets != Sockets::Ordinary {
        // It makes sockets that no filter sees.
        leaves.push((libc::SYS_io_uring_setup as u32, Leaf::Refuse(libc::ENOSYS)));
    }
    if filter.sockets == Sockets::UnixAndTcp {
        // Sending connects without a look at the port.
        let bits = libc::MSG_FASTOPEN as u32;
        for (call, index) in
            [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)]
        {
            leaves.push((call as u32, Leaf::RefuseBits { index, bits }));
        }
    }
    if !filter.user_namespaces {
        let refused = NAMESPACES.iter().map(|call| (*call as u32, Leaf::Refuse(libc::EPERM)));
        leaves.extend(refused);
        let bits = libc::CLONE_NEWUSER as u32;
        leaves.push((libc::SYS_clone as u32, Leaf::RefuseBits { index: 0, bits }));
        leaves.push((libc::SYS_unshare as u32, Leaf::RefuseBits { index: 0, bits }));
        // Its flags are behind a pointer; C libraries fall back to `clone`.
        leaves.push((libc::SYS_clone3 as u32, Leaf::Refuse(libc::ENOSYS)));
    }
    leaves.sort_by_key(|(number, _)| *number);
    leaves
}

/// Emits a search for the loaded call number among `leaves`.
fn search(program: &mut Vec<sock_filter>, leaves: &[(u32, Leaf)]) {
    match leaves {
        [] => program.push(statement(RETURN, ALLOW)),
        [(number, leaf)] => {
            program.push(jump(EQUAL, *number, 1, 0));
            program.push(statement(RETURN, ALLOW));
            emit(program, *leaf);
        }
        _ => {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            let at = program.len();
            program.push(jump(AT_LEAST, right[0].0, 0, 0));
            search(program, left);
            // Half of fewer than a hundred calls stays well within a byte.
            program[at].jt = (program.len() - at - 1) as u8;
            search(program, right);
        }
    }
}

fn emit(program: &mut Vec<sock_filter>, leaf: Leaf) {
    match leaf {
        Leaf::Refuse(error) => program.push(refusal(error)),
        Leaf::RefuseBits { index, bits } => {
            program.push(statement(LOAD, low_word_of_argument(index)));
            program.push(jump(ANY_BIT, bits, 0, 1));
            program.push(refusal(libc::EPERM));
            program.push(statement(RETURN, ALLOW));
        }
        Leaf::Families(families) => {
            program.push(statement(LOAD, low_word_of_argument(0)));
            let values = families.iter().map(|family| *family as u32);
            one_of(program, values, refusal(libc::EAFNOSUPPORT), statement(RETURN, ALLOW));
        }
        Leaf::Tell { index, bits } => {
            program.push(statement(LOAD, low_word_of_argument(index)));
            program.push(jump(ANY_BIT, bits, 0, 1));
            program.push(statement(RETURN, TELL));
            program.push(statement(RETURN, ALLOW));
        }
        Leaf::TellWhen { index, value } => {
            program.push(statement(LOAD, low_word_of_argument(index)));
            program.push(jump(EQUAL, value, 0, 1));
            program.push(statement(RETURN, TELL));
            program.push(statement(RETURN, ALLOW));
        }
        Leaf::TellAlways => program.push(statement(RETURN, TELL)),
        Leaf::TcpOnly => tcp_only(program),
        Leaf::Requests(requests) => {
            program.push(statement(LOAD, low_word_of_argument(1)));
            let values = requests.iter().copied();
            one_of(program, values, statement(RETURN, ALLOW), refusal(libc::EPERM));
        }
    }
}

/// Unix sockets of any kind; of the internet's, streams of protocol 0 or TCP.
fn tcp_only(program: &mut Vec<sock_filter>) {
    /// Everything but `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
    const KIND: u32 = !((libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as u32);
    program.extend([
        statement(LOAD, low_word_of_argument(0)),
        jump(EQUAL, libc::AF_UNIX as u32, 9, 0),
        jump(EQUAL, libc::AF_INET as u32, 1, 0),
        jump(EQUAL, libc::AF_INET6 as u32, 0, 6),
        statement(LOAD, low_word_of_argument(1)),
        statement(AND, KIND),
        jump(EQUAL, libc::SOCK_STREAM as u32, 0, 3),
        statement(LOAD, low_word_of_argument(2)),
        jump(EQUAL, 0, 2, 0),
        jump(EQUAL, libc::IPPROTO_TCP as u32, 1, 0),
        refusal(libc::EAFNOSUPPORT),
        statement(RETURN, ALLOW),
    ]);
}

/// Ends with `matching` when the loaded word is one of `values`.
fn one_of(
    program: &mut Vec<sock_filter>,
    values: impl ExactSizeIterator<Item = u32>,
    otherwise: sock_filter,
    matching: sock_filter,
) {
    let count = values.len();
    for (index, value) in values.enumerate() {
        program.push(jump(EQUAL, value, (count - index) as u8, 0));
    }
    program.push(otherwise);
    program.push(matching);
}

fn refusal(error: i32) -> sock_filter {
    statement(RETURN, ERRNO | error as u32)
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer, by interpreting the program as it does.
    fn answer(program: &[sock_filter], architecture: u32, number: u32, arguments: [u32; 3]) -> u32 {
        let mut loaded = 0;
        let mut at = 0;
        loop {
            let instruction = program[at];
            at += 1;
            let holds = match instruction.code {
                LOAD => {
                    loaded = match instruction.k {
                        OFFSET_NUMBER => number,
                        OFFSET_ARCHITECTURE => architecture,
                        k if k == low_word_of_argument(0) => arguments[0],
                        k if k == low_word_of_argument(1) => arguments[1],
                        k if k == low_word_of_argument(2) => arguments[2],
                        k if k == low_word_of_argument(3) => 0,
                        k => unreachable!("offset {k}"),
                    };
                    continue;
                }
                AND => {
                    loaded &= instruction.k;
                    continue;
                }
                RETURN => return instruction.k,
                EQUAL => loaded == instruction.k,
                AT_LEAST => loaded >= instruction.k,
                ANY_BIT => loaded & instruction.k != 0,
                code => unreachable!("code {code}"),
            };
            at += usize::from(if holds { instruction.jt } else { instruction.jf });
        }
    }

    #[test]
    fn every_call_gets_the_answer_of_its_leaf() {
        for user_namespaces in [false, true] {
            for sockets in [Sockets::Ordinary, Sockets::UnixAndTcp, Sockets::UnixOnly] {
                let filter = Filter { user_namespaces, sockets };
                let program = program(&filter);
                let listed: std::collections::BTreeMap<u32, Leaf> =
                    leaves(&filter).into_iter().collect();
                assert!(program.len() < 300, "{} instructions", program.len());
                for number in 0..600 {
                    let expected = match listed.get(&number) {
                        Some(Leaf::Refuse(error)) => ERRNO | *error as u32,
                        Some(Leaf::Families(_) | Leaf::TcpOnly) => {
                            ERRNO | libc::EAFNOSUPPORT as u32
                        }
                        _ => ALLOW,
                    };
                    let got = answer(&program, ARCHITECTURE, number, [libc::AF_VSOCK as u32, 0, 0]);
                    assert_eq!(got, expected, "call {number} under {filter:?}");
                }
            }
        }
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let filter = Filter { user_namespaces: false, sockets: Sockets::Ordinary };
        let program = program(&filter);
        let eperm = ERRNO | libc::EPERM as u32;
        for (case, number, arguments, expected) in [
            ("a thread", libc::SYS_clone, [libc::CLONE_VM as u32, 0, 0], ALLOW),
            ("a user namespace", libc::SYS_unshare, [libc::CLONE_NEWUSER as u32, 0, 0], eperm),
            ("a user namespace by clone", libc::SYS_clone, [0x1000_0011, 0, 0], eperm),
            ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0], eperm),
            ("TIOCLINUX", libc::SYS_ioctl, [0, 0x541c, 0], eperm),
            ("TCGETS", libc::SYS_ioctl, [0, 0x5401, 0], ALLOW),
            ("a TCP socket", libc::SYS_socket, [libc::AF_INET as u32, 0, 0], ALLOW),
            ("netlink", libc::SYS_socket, [libc::AF_NETLINK as u32, 0, 0], ALLOW),
        ] {
            assert_eq!(
                answer(&program, ARCHITECTURE, number as u32, arguments),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn of_the_internet_only_tcp_is_left() {
        let filter = Filter { user_namespaces: false, sockets: Sockets::UnixAndTcp };
        let program = program(&filter);
        let no = ERRNO | libc::EAFNOSUPPORT as u32;
        let (stream, datagram) = (libc::SOCK_STREAM, libc::SOCK_DGRAM);
        for (case, arguments, expected) in [
            ("TCP", [libc::AF_INET, stream | libc::SOCK_CLOEXEC, 0], ALLOW),
            ("TCP by name", [libc::AF_INET6, stream, libc::IPPROTO_TCP], ALLOW),
            ("UDP", [libc::AF_INET, datagram | libc::SOCK_NONBLOCK, 0], no),
            ("MPTCP", [libc::AF_INET, stream, libc::IPPROTO_MPTCP], no),
            ("SCTP", [libc::AF_INET, stream, libc::IPPROTO_SCTP], no),
            ("raw", [libc::AF_INET6, libc::SOCK_RAW, 58], no),
            ("a Unix datagram", [libc::AF_UNIX, datagram, 0], ALLOW),
            ("netlink", [libc::AF_NETLINK, libc::SOCK_RAW, 0], no),
        ] {
            let arguments = arguments.map(|argument| argument as u32);
            let got = answer(&program, ARCHITECTURE, libc::SYS_socket as u32, arguments);
            assert_eq!(got, expected, "{case}");
        }
    }

    #[test]
    fn other_interfaces_are_refused() {
        let filter = Filter { user_namespaces: true, sockets: Sockets::Ordinary };
        let program = program(&filter);
        let i386 = 0x4000_0003;
        assert_eq!(answer(&program, i386, 20, [0, 0, 0]), KILL_PROCESS);
        let enosys = ERRNO | libc::ENOSYS as u32;
        assert_eq!(answer(&program, ARCHITECTURE, X32 | 39, [0, 0, 0]), enosys);
    }
}
