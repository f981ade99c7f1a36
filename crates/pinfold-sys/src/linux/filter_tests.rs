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
            assert!(program.len() < 100, "{} instructions", program.len());
            for number in 0..600 {
                let expected = match listed.get(&number) {
                    Some(Leaf::Answer(answer)) => *answer,
                    Some(Leaf::Families(_) | Leaf::TcpOnly) => ERRNO | libc::EAFNOSUPPORT as u32,
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
        assert_eq!(answer(&program, ARCHITECTURE, number as u32, arguments), expected, "{case}");
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
