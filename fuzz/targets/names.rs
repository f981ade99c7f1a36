//! Messages to the name server inside.
//!
//! Whatever is asked, an answer is one: it repeats the question, fits the message format,
//! and hands out no address but one that stands for a name that was asked for.
#![no_main]

use std::sync::Mutex;

use libfuzzer_sys::fuzz_target;
use pinfold_egress::{Names, answer};
use pinfold_policy::net::parse_host_rule;
use pinfold_policy::origin::Origin;
use pinfold_policy::profile::{HostAction, HostRule, NetAccess, NetMode, NetPolicy};

fn policy() -> NetPolicy {
    let rule = |text: &str| {
        let (host, ports) = parse_host_rule(text).unwrap();
        let origin = Origin::BuiltIn("fuzz");
        HostRule { text: text.into(), host, ports, action: HostAction::Allow, origin }
    };
    NetPolicy {
        access: NetAccess::Rules,
        origin: Origin::BuiltIn("fuzz"),
        mode: NetMode::Full,
        allow_local_binding: None,
        upstream_resolves: false,
        hosts: ["ok.test", "*.below.test", "single"].map(rule).into(),
        unix_sockets: Vec::new(),
    }
}

fuzz_target!(|message: &[u8]| {
    let names = Mutex::new(Names::new(8));
    let Some(reply) = answer(&policy(), &names, message) else { return };
    assert_eq!(reply[..2], message[..2], "the number of the question");
    assert_eq!(reply[2] & 0x80, 0x80, "it is an answer");
    assert!(reply.len() <= 512, "{} bytes", reply.len());
    let count = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
    assert!(count(4) <= 1 && count(6) <= 1, "at most one question and one answer");
    if count(6) == 1 {
        let address: [u8; 4] = reply[reply.len() - 4..].try_into().unwrap();
        let names = names.lock().unwrap();
        let name = names.name(address.into()).expect("an address that stands for a name");
        let flat = name.replace('.', "");
        assert!(message.len() >= flat.len() + 12, "{name} was not asked for");
    }
    // The same question has the same answer.
    assert_eq!(answer(&policy(), &names, message), Some(reply));
});
