//! The system-call filter, as one BPF program.
//!
//! The kernel translates a filter when it is installed, and runs it once per call
//! number, to learn which calls it always allows: short programs and short paths
//! through them are cheap starts. So the numbers are cut into ranges with the same
//! answer, and the ranges are searched; arguments are looked at only in the leaves,
//! and every answer stands once, at the end.
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

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaf {
    /// Always this answer.
    Answer(u32),
    /// This answer when an argument has any of `bits`, and else it is allowed.
    Bits { index: u32, bits: u32, answer: u32 },
    /// The first answer when an argument is `value`, and else the other.
    Value { index: u32, value: u32, answers: (u32, u32) },
    /// Refused when the first argument is none of these families.
    Families(&'static [i32]),
    /// Refused but for Unix sockets and TCP, whose ports Landlock bounds; other
    /// stream protocols (MPTCP, SCTP) it does not.
    TcpOnly,
    /// Refused when the second argument is one of these requests.
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
    searching(leaves(filter))
}

/// When a call is told to the supervisor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// When this argument has any of these bits.
    Bits(u32, u32),
    /// When this argument has this value.
    Is(u32, u32),
    /// When it has another.
    IsNot(u32, u32),
}

/// The program that tells of calls and refuses none.
pub(crate) fn telling(calls: impl Iterator<Item = (libc::c_long, When)>) -> Vec<sock_filter> {
    let leaf = |(number, when)| {
        let leaf = match when {
            When::Always => Leaf::Answer(TELL),
            When::Bits(index, bits) => Leaf::Bits { index, bits, answer: TELL },
            When::Is(index, value) => Leaf::Value { index, value, answers: (TELL, ALLOW) },
            When::IsNot(index, value) => Leaf::Value { index, value, answers: (ALLOW, TELL) },
        };
        (number as u32, leaf)
    };
    searching(calls.map(leaf).collect())
}

/// The calls that are not simply allowed.
fn leaves(filter: &Filter) -> Vec<(u32, Leaf)> {
    let refused = |number: &libc::c_long| (*number as u32, Leaf::Answer(refusal(libc::EPERM)));
    let mut leaves: Vec<(u32, Leaf)> = ALWAYS.iter().map(refused).collect();
    leaves.push((libc::SYS_ioctl as u32, Leaf::Requests(TERMINAL_REQUESTS)));
    let sockets = match filter.sockets {
        Sockets::Ordinary => Leaf::Families(ORDINARY),
        Sockets::UnixAndTcp => Leaf::TcpOnly,
        Sockets::UnixOnly => Leaf::Families(UNIX_ONLY),
    };
    leaves.push((libc::SYS_socket as u32, sockets));
    let no_such_call = Leaf::Answer(refusal(libc::ENOSYS));
    if filter.sockets != Sockets::Ordinary {
        // It makes sockets that no filter sees.
        leaves.push((libc::SYS_io_uring_setup as u32, no_such_call));
    }
    let answer = refusal(libc::EPERM);
    if filter.sockets == Sockets::UnixAndTcp {
        // Sending connects without a look at the port.
        let bits = libc::MSG_FASTOPEN as u32;
        for (call, index) in
            [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)]
        {
            leaves.push((call as u32, Leaf::Bits { index, bits, answer }));
        }
    }
    if !filter.user_namespaces {
        leaves.extend(NAMESPACES.iter().map(refused));
        let bits = libc::CLONE_NEWUSER as u32;
        leaves.push((libc::SYS_clone as u32, Leaf::Bits { index: 0, bits, answer }));
        leaves.push((libc::SYS_unshare as u32, Leaf::Bits { index: 0, bits, answer }));
        // Its flags are behind a pointer; C libraries fall back to `clone`.
        leaves.push((libc::SYS_clone3 as u32, no_such_call));
    }
    leaves
}

/// Where a jump leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// The instruction that ends with this answer. There is one for each.
    Answer(u32),
    /// This instruction.
    At(usize),
}

/// An instruction; one that does not compare goes on to the next.
struct Instruction {
    code: u16,
    k: u32,
    holds: To,
    fails: To,
}

/// A search for the call number among ranges of numbers that have the same leaf.
fn searching(mut leaves: Vec<(u32, Leaf)>) -> Vec<sock_filter> {
    leaves.sort_by_key(|(number, _)| *number);
    let mut ranges: Vec<(u32, Leaf)> = vec![(0, Leaf::Answer(ALLOW))];
    for (number, leaf) in leaves {
        match ranges.last() {
            // The end of the range before was taken for granted.
            Some((first, _)) if *first == number => drop(ranges.pop()),
            _ => {}
        }
        if ranges.last().is_none_or(|(_, last)| *last != leaf) {
            ranges.push((number, leaf));
        }
        ranges.push((number + 1, Leaf::Answer(ALLOW)));
    }
    let mut program = Program::default();
    program.load(OFFSET_ARCHITECTURE);
    program.compare(EQUAL, ARCHITECTURE, To::Next, To::Answer(KILL_PROCESS));
    program.load(OFFSET_NUMBER);
    program.compare(AT_LEAST, X32, To::Answer(refusal(libc::ENOSYS)), To::Next);
    program.search(&ranges);
    program.finish()
}

#[derive(Default)]
struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    fn load(&mut self, offset: u32) {
        self.instructions.push(Instruction {
            code: LOAD,
            k: offset,
            holds: To::Next,
            fails: To::Next,
        });
    }

    fn compare(&mut self, code: u16, k: u32, holds: To, fails: To) {
        self.instructions.push(Instruction { code, k, holds, fails });
    }

    /// Finds the range of the loaded number, the first of which it is at least in, and
    /// does what that says.
    fn search(&mut self, ranges: &[(u32, Leaf)]) {
        let (left, right) = ranges.split_at(ranges.len() / 2);
        let (Some((_, last)), Some((first, leaf))) = (left.last(), right.first()) else {
            if let [(_, leaf)] = ranges {
                self.leaf(*leaf);
            }
            return;
        };
        let at = self.instructions.len();
        let answer = |one: &[(u32, Leaf)], leaf: &Leaf| match leaf {
            Leaf::Answer(answer) if one.len() == 1 => Some(To::Answer(*answer)),
            _ => None,
        };
        let (below, above) = (answer(left, last), answer(right, leaf));
        self.compare(AT_LEAST, *first, above.unwrap_or(To::Next), below.unwrap_or(To::Next));
        if below.is_none() {
            self.search(left);
        }
        if above.is_none() {
            let here = To::At(self.instructions.len());
            if let Some(node) = self.instructions.get_mut(at).filter(|_| below.is_none()) {
                node.holds = here;
            }
            self.search(right);
        }
    }

    fn leaf(&mut self, leaf: Leaf) {
        match leaf {
            // Only a search among one range; others jump there.
            Leaf::Answer(answer) => {
                self.compare(EQUAL, 0, To::Answer(answer), To::Answer(answer));
            }
            Leaf::Bits { index, bits, answer } => {
                self.load(low_word_of_argument(index));
                self.compare(ANY_BIT, bits, To::Answer(answer), To::Answer(ALLOW));
            }
            Leaf::Value { index, value, answers: (answer, other) } => {
                self.load(low_word_of_argument(index));
                self.compare(EQUAL, value, To::Answer(answer), To::Answer(other));
            }
            Leaf::Families(families) => {
                let families = families.iter().map(|family| *family as u32);
                self.one_of(0, families, (ALLOW, refusal(libc::EAFNOSUPPORT)));
            }
            Leaf::Requests(requests) => {
                self.one_of(1, requests.iter().copied(), (refusal(libc::EPERM), ALLOW));
            }
            Leaf::TcpOnly => self.tcp_only(),
        }
    }

    /// One answer when an argument is one of `values`, and another when it is none.
    fn one_of(
        &mut self,
        index: u32,
        values: impl ExactSizeIterator<Item = u32>,
        (matching, otherwise): (u32, u32),
    ) {
        self.load(low_word_of_argument(index));
        let last = values.len().saturating_sub(1);
        for (place, value) in values.enumerate() {
            let fails = if place == last { To::Answer(otherwise) } else { To::Next };
            self.compare(EQUAL, value, To::Answer(matching), fails);
        }
    }

    /// Unix sockets of any kind; of the internet's, streams of protocol 0 or TCP.
    fn tcp_only(&mut self) {
        /// Everything but `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
        const KIND: u32 = !((libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as u32);
        let (allowed, refused) = (To::Answer(ALLOW), To::Answer(refusal(libc::EAFNOSUPPORT)));
        self.load(low_word_of_argument(0));
        self.compare(EQUAL, libc::AF_UNIX as u32, allowed, To::Next);
        let kind = To::At(self.instructions.len() + 2);
        self.compare(EQUAL, libc::AF_INET as u32, kind, To::Next);
        self.compare(EQUAL, libc::AF_INET6 as u32, To::Next, refused);
        self.load(low_word_of_argument(1));
        self.instructions.push(Instruction {
            code: AND,
            k: KIND,
            holds: To::Next,
            fails: To::Next,
        });
        self.compare(EQUAL, libc::SOCK_STREAM as u32, To::Next, refused);
        self.load(low_word_of_argument(2));
        self.compare(EQUAL, 0, allowed, To::Next);
        self.compare(EQUAL, libc::IPPROTO_TCP as u32, allowed, refused);
    }

    /// Adds the answers. Jumps reach 255 instructions, which is more than there are.
    fn finish(self) -> Vec<sock_filter> {
        let mut answers: Vec<u32> = Vec::new();
        for instruction in &self.instructions {
            for to in [instruction.holds, instruction.fails] {
                if let To::Answer(answer) = to
                    && !answers.contains(&answer)
                {
                    answers.push(answer);
                }
            }
        }
        let end = self.instructions.len();
        let place = |at: usize, to: To| {
            let target = match to {
                To::Next => at + 1,
                To::At(place) => place,
                To::Answer(answer) => {
                    end + answers.iter().position(|known| *known == answer).unwrap_or_default()
                }
            };
            (target - at - 1) as u8
        };
        let compared = self.instructions.iter().enumerate().map(|(at, instruction)| {
            let Instruction { code, k, holds, fails } = *instruction;
            sock_filter { code, k, jt: place(at, holds), jf: place(at, fails) }
        });
        let returned = |k: &u32| sock_filter { code: RETURN, jt: 0, jf: 0, k: *k };
        compared.chain(answers.iter().map(returned)).collect()
    }
}

const fn refusal(error: i32) -> u32 {
    ERRNO | error as u32
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
