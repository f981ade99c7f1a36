use super::*;
use crate::net::{IndexedPolicy, parse_authority, parse_host_rule};
use crate::origin::Origin;
use crate::profile::NetMode;

/// A policy from lines such as `allow *.ok.test:443`.
fn policy(lines: &[&str]) -> NetPolicy {
    let rule = |line: &&str| {
        let (action, text) = line.split_once(' ').unwrap();
        let (host, ports) = parse_host_rule(text).unwrap();
        let action = match action {
            "allow" => HostAction::Allow,
            "ask" => HostAction::Ask,
            _ => HostAction::Deny,
        };
        let origin = Origin::BuiltIn("test");
        HostRule { text: text.into(), host, ports, action, origin }
    };
    NetPolicy {
        access: NetAccess::Rules,
        origin: Origin::BuiltIn("test"),
        mode: NetMode::Full,
        allow_local_binding: None,
        upstream_resolves: false,
        hosts: lines.iter().map(rule).collect(),
        unix_sockets: Vec::new(),
    }
}

#[test]
fn a_host_is_decided_by_name_or_literal_and_port() {
    let allowed = |rule: &str| format!("allowed by host rule \"{rule}\"");
    let denied = |rule: &str| format!("denied by host rule \"{rule}\"");
    let special = |class: &str| format!("denied: it is {class} and no rule names it");
    let none = String::from("denied: no rule covers this host");
    let literal = String::from("denied: a rule for a name does not cover addresses");
    let port = |rule: &str| format!("denied: host rule \"{rule}\", which does not cover this port");
    let loopback = special("a loopback address");
    let metadata = special("a cloud metadata address");
    let cases: Vec<(&str, &[&str], &str, String)> = vec![
        ("an exact name", &["allow ok.test"], "ok.test:443", allowed("ok.test")),
        ("case and one dot do not matter", &["allow ok.test"], "OK.test.:80", allowed("ok.test")),
        (
            "a name does not cover what is below",
            &["allow ok.test"],
            "sub.ok.test:443",
            none.clone(),
        ),
        (
            "one star does not cover the apex",
            &["allow *.ok.test"],
            "ok.test:443",
            "denied: host rule \"*.ok.test\", which does not cover the name itself; \"**.ok.test\" would".into(),
        ),
        (
            "one star covers any depth",
            &["allow *.ok.test"],
            "a.b.ok.test:443",
            allowed("*.ok.test"),
        ),
        ("two stars cover the apex", &["allow **.ok.test"], "ok.test:443", allowed("**.ok.test")),
        (
            "two stars cover any depth",
            &["allow **.ok.test"],
            "a.b.ok.test:443",
            allowed("**.ok.test"),
        ),
        ("a suffix is not a label", &["allow **.ok.test"], "notok.test:443", none.clone()),
        ("a prefix is not a label", &["allow **.ok.test"], "ok.test.evil.test:443", none.clone()),
        (
            "deny wins over a wider allow",
            &["allow **.ok.test", "deny sub.ok.test"],
            "sub.ok.test:443",
            denied("sub.ok.test"),
        ),
        (
            "deny wins over a narrower allow",
            &["allow sub.ok.test", "deny **.ok.test"],
            "sub.ok.test:443",
            denied("**.ok.test"),
        ),
        (
            "deny covers every port",
            &["allow ok.test:8443", "deny ok.test"],
            "ok.test:8443",
            denied("ok.test"),
        ),
        (
            "deny with a port leaves the others",
            &["allow ok.test", "deny ok.test:80"],
            "ok.test:443",
            allowed("ok.test"),
        ),
        (
            "ask wins over allow",
            &["allow *", "ask ok.test"],
            "ok.test:443",
            "asked for by host rule \"ok.test\"".into(),
        ),
        ("another port is not covered", &["allow ok.test"], "ok.test:8443", port("ok.test")),
        (
            "a port closes the default ones",
            &["allow ok.test:443"],
            "ok.test:80",
            port("ok.test:443"),
        ),
        (
            "a range covers its ports",
            &["allow ok.test:8000-9000"],
            "ok.test:8443",
            allowed("ok.test:8000-9000"),
        ),
        (
            "an encoded name",
            &["allow xn--bcher-kva.test"],
            "XN--bcher-kva.test:443",
            allowed("xn--bcher-kva.test"),
        ),
        (
            "a literal is not covered by a name",
            &["allow ok.test"],
            "93.184.216.34:443",
            literal.clone(),
        ),
        ("a star covers public literals", &["allow *"], "93.184.216.34:443", allowed("*")),
        ("a star does not open loopback", &["allow *"], "127.0.0.1:80", loopback.clone()),
        ("nor under a short form", &["allow *:*"], "127.1:3000", loopback.clone()),
        ("nor in hexadecimal", &["allow *"], "0x7f000001:80", loopback.clone()),
        ("nor as a number", &["allow *"], "2130706433:80", loopback.clone()),
        ("nor in octal", &["allow *"], "0177.0.0.1:80", loopback.clone()),
        ("nor as zero", &["allow *"], "0:80", special("the unspecified address")),
        ("nor as IPv6", &["allow *"], "[::1]:80", loopback.clone()),
        ("nor unspecified IPv6", &["allow *"], "[::]:80", special("the unspecified address")),
        ("nor mapped", &["allow *"], "[::ffff:127.0.0.1]:80", loopback.clone()),
        ("nor translated", &["allow *"], "[64:ff9b::7f00:1]:80", loopback.clone()),
        ("nor tunnelled", &["allow *"], "[2002:7f00:1::]:80", loopback.clone()),
        ("nor compatible", &["allow *"], "[::127.0.0.1]:80", special("a reserved address")),
        ("metadata", &["allow *"], "169.254.169.254:80", metadata.clone()),
        ("metadata in hexadecimal", &["allow *"], "0xA9FEA9FE:80", metadata.clone()),
        ("metadata over IPv6", &["allow *"], "[fd00:ec2::254]:80", metadata.clone()),
        ("metadata in shared space", &["allow *"], "100.100.100.200:80", metadata.clone()),
        (
            "a block does not open the metadata in it",
            &["allow 169.254.0.0/16"],
            "169.254.169.254:80",
            metadata,
        ),
        (
            "its own rule opens metadata",
            &["allow 169.254.169.254"],
            "169.254.169.254:80",
            allowed("169.254.169.254"),
        ),
        (
            "every address does not mean private ones",
            &["allow 0.0.0.0/0"],
            "10.0.0.1:80",
            special("a private address"),
        ),
        (
            "a special literal is special before it is not allowed",
            &["allow ok.test"],
            "10.0.0.1:80",
            special("a private address"),
        ),
        (
            "a block opens its addresses",
            &["allow 10.0.0.0/8:5432"],
            "10.0.0.1:5432",
            allowed("10.0.0.0/8:5432"),
        ),
        (
            "a block is bound to its ports",
            &["allow 10.0.0.0/8:5432"],
            "10.0.0.1:5433",
            port("10.0.0.0/8:5432"),
        ),
        ("a block ends where it ends", &["allow 10.0.0.0/8"], "11.0.0.1:80", literal),
        (
            "deny of a block wins",
            &["allow *", "deny 93.184.0.0/16"],
            "93.184.216.34:443",
            denied("93.184.0.0/16"),
        ),
        (
            "asking for an address stays asking",
            &["allow *", "ask 10.0.0.1"],
            "10.0.0.1:80",
            "asked for by host rule \"10.0.0.1\"".into(),
        ),
        (
            "a star that asks asks for a named address",
            &["ask *", "allow 10.0.0.1"],
            "10.0.0.1:80",
            "asked for by host rule \"*\"".into(),
        ),
        (
            "host loopback by rule",
            &["allow 127.0.0.1:3000"],
            "127.0.0.1:3000",
            allowed("127.0.0.1:3000"),
        ),
        (
            "localhost by rule",
            &["allow localhost:3000"],
            "localhost:3000",
            allowed("localhost:3000"),
        ),
        ("no rule at all", &[], "ok.test:443", none),
    ];
    for (name, rules, destination, expected) in cases {
        let policy = policy(rules);
        let (host, port) = parse_authority(destination).unwrap();
        assert_eq!(decide_host(&policy, &host, port).to_string(), expected, "{name}");
    }
}

#[test]
fn an_address_of_an_allowed_name_must_be_public_or_named() {
    for (name, rules, destination, address, expected) in [
        ("public", &["allow ok.test"][..], "ok.test:443", "93.184.216.34", "rule"),
        ("private", &["allow ok.test"], "ok.test:443", "10.0.0.1", "special_address"),
        (
            "private but named",
            &["allow ok.test", "allow 10.0.0.0/8"],
            "ok.test:443",
            "10.0.0.1",
            "rule",
        ),
        (
            "named for another port",
            &["allow ok.test", "allow 10.0.0.0/8:22"],
            "ok.test:443",
            "10.0.0.1",
            "special_address",
        ),
        (
            "asked for is not named",
            &["allow ok.test", "ask 10.0.0.0/8"],
            "ok.test:443",
            "10.0.0.1",
            "special_address",
        ),
        (
            "a denied block",
            &["allow ok.test", "deny 93.184.0.0/16"],
            "ok.test:443",
            "93.184.216.34",
            "denied",
        ),
        (
            "a denied block in IPv6 form",
            &["allow ok.test", "deny 93.184.0.0/16"],
            "ok.test:443",
            "::ffff:93.184.216.34",
            "denied",
        ),
        ("rebinding to loopback", &["allow *"], "ok.test:443", "127.0.0.1", "special_address"),
        (
            "rebinding to metadata",
            &["allow *", "allow 169.254.0.0/16"],
            "ok.test:80",
            "169.254.169.254",
            "special_address",
        ),
        ("localhost by name", &["allow localhost:3000"], "localhost:3000", "127.0.0.1", "rule"),
        ("localhost by star", &["allow *:*"], "localhost:3000", "127.0.0.1", "special_address"),
        (
            "localhost that leads elsewhere",
            &["allow localhost:3000"],
            "localhost:3000",
            "10.0.0.1",
            "special_address",
        ),
        ("a literal is its own address", &["allow 10.0.0.1"], "10.0.0.1:80", "10.0.0.1", "rule"),
    ] {
        let policy = policy(rules);
        let (host, port) = parse_authority(destination).unwrap();
        let verdict = decide_address(&policy, &host, address.parse().unwrap(), port);
        assert_eq!(verdict.reason.word(), expected, "{name}");
        assert_eq!(verdict.action == HostAction::Allow, expected == "rule", "{name}");
    }
}

#[test]
fn a_refusal_says_which_rule_would_lift_it_unless_it_is_meant() {
    for (rules, destination, expected) in [
        (&["allow ok.test"][..], "api.test:443", Some("api.test")),
        (&["allow ok.test"], "api.test:8443", Some("api.test:8443")),
        (&["allow ok.test"], "93.184.216.34:443", Some("93.184.216.34:443")),
        (&["allow ok.test"], "[2606:4700::1111]:443", Some("[2606:4700::1111]:443")),
        (&["allow ok.test"], "ok.test:22", Some("ok.test:22")),
        (&["deny api.test"], "api.test:443", None),
        (&["allow *"], "127.0.0.1:80", None),
        (&["allow *"], "ok.test:443", None),
    ] {
        let policy = policy(rules);
        let (host, port) = parse_authority(destination).unwrap();
        let remedy = decide_host(&policy, &host, port).remedy(&host, port);
        assert_eq!(remedy.as_deref(), expected, "{destination}");
    }
}

#[test]
fn the_network_may_be_open_or_off() {
    let (host, port) = parse_authority("ok.test:443").unwrap();
    for (access, expected) in
        [(NetAccess::Open, HostReason::Open), (NetAccess::Off, HostReason::Off)]
    {
        let policy = NetPolicy { access, ..policy(&["allow *"]) };
        assert_eq!(decide_host(&policy, &host, port).reason, expected);
    }
}

#[test]
fn an_index_changes_no_verdict() {
    let rules = [
        "allow *.ok.test",
        "allow ok.test:8443",
        "deny bad.ok.test",
        "ask **.bad.ok.test",
        "allow a.b.c.test",
        "deny *.b.c.test:443",
        "allow localhost:*",
        "allow 10.0.0.0/8",
        "deny 10.1.0.0/16",
        "ask 93.184.216.34:443",
        "allow 2606:4700::/32",
        "deny *:25",
        "ask *:9",
    ];
    let hosts = [
        "ok.test",
        "x.ok.test",
        "bad.ok.test",
        "x.bad.ok.test",
        "a.b.c.test",
        "notok.test",
        "test",
        "localhost",
        "x.localhost",
        "10.0.0.1",
        "10.1.0.1",
        "127.0.0.1",
        "93.184.216.34",
        "169.254.169.254",
        "[2606:4700::1]",
        "[::1]",
    ];
    let addresses = ["10.0.0.1", "10.1.0.1", "127.0.0.1", "8.8.8.8", "93.184.216.34", "::1"];
    // Every rule left out once, and the two orders.
    for without in 0..=rules.len() {
        let mut kept: Vec<&str> = rules.to_vec();
        if without < kept.len() {
            kept.remove(without);
        }
        for _ in 0..2 {
            kept.reverse();
            let plain = policy(&kept);
            let indexed = IndexedPolicy::new(plain.clone());
            for (host, port) in hosts.iter().flat_map(|host| [443, 8443, 25, 9].map(|p| (host, p)))
            {
                let (host, port) = parse_authority(&format!("{host}:{port}")).unwrap();
                let expected = decide_host(&plain, &host, port);
                assert_eq!(indexed.decide_host(&host, port), expected, "{host:?} {port} {kept:?}");
                for address in addresses.map(|address| address.parse().unwrap()) {
                    let expected = decide_address(&plain, &host, address, port);
                    let found = indexed.decide_address(&host, address, port);
                    assert_eq!(found, expected, "{host:?} {address} {port} {kept:?}");
                }
            }
        }
    }
}

#[test]
fn no_rule_is_suggested_that_cannot_be_written() {
    for (name, expected) in [("a-.test", None), ("-", None), ("a_b.test", Some("a_b.test"))] {
        let policy = policy(&[]);
        let host = Host::parse(name).unwrap();
        let verdict = decide_host(&policy, &host, 443);
        assert_eq!(verdict.action, HostAction::Deny, "{name}");
        assert_eq!(verdict.remedy(&host, 443).as_deref(), expected, "{name}");
    }
}
