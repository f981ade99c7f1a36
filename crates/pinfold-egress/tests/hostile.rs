//! Bytes from inside the sandbox over many changed seeds: the parsers of the TLS
//! hello and of DNS answer, whatever they are given. The changes are the same in
//! each run.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use pinfold_egress::{Names, answer, client_hello};
use pinfold_policy::origin::Origin;
use pinfold_policy::profile::{NetAccess, NetMode, NetPolicy};

fn check(seed: &[u8], parse: impl Fn(&[u8])) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % (bound as u64)).unwrap()
    };
    parse(seed);
    for _ in 0..20_000 {
        let mut bytes = seed.to_vec();
        for _ in 0..=draw(4) {
            let at = draw(bytes.len() + 1);
            match draw(3) {
                0 if at < bytes.len() => bytes[at] = u8::try_from(draw(256)).unwrap(),
                1 if draw(4) == 0 => bytes.truncate(at),
                _ => bytes.insert(at, [0, 1, 0x7f, 0xc0, 0xff][draw(5)]),
            }
        }
        parse(&bytes);
    }
}

#[test]
fn tls_hellos() {
    let name = b"ok.test";
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend([0, 16, 0, 0, 0, 12, 0, 10, 0, 0, 7]);
    body.extend(name);
    let mut seed = vec![22, 3, 1, 0, u8::try_from(body.len() + 4).unwrap(), 1, 0, 0];
    seed.push(u8::try_from(body.len()).unwrap());
    seed.extend(body);
    assert_eq!(client_hello(&seed).unwrap().server_name.as_deref(), Some("ok.test"));
    check(&seed, |bytes| {
        let _ = client_hello(bytes);
    });
}

#[test]
fn questions_about_names() {
    let policy = NetPolicy {
        access: NetAccess::Rules,
        origin: Origin::BuiltIn("test"),
        mode: NetMode::Full,
        allow_local_binding: None,
        upstream_resolves: false,
        hosts: Vec::new(),
        unix_sockets: Vec::new(),
    };
    let seed = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x02ok\x04test\0\0\x01\0\x01";
    let names = Mutex::new(Names::new(64));
    assert!(answer(&policy, &names, seed).is_some());
    check(seed, |bytes| {
        if let Some(reply) = answer(&policy, &names, bytes) {
            assert_eq!(reply.get(..2), bytes.get(..2), "the number of the question");
        }
    });
}
