//! What is let through and what is refused, with the reason, by one request each.

use crate::harness::{Scene, connect, get, hello, tunnel};

/// One request: its number and name, the rules, what is sent, how the answer
/// begins, the decisions, and the addresses that were dialled.
struct Case<'c> {
    name: &'c str,
    rules: &'c [&'c str],
    sent: Vec<u8>,
    answer: &'c str,
    decisions: &'c [&'c str],
    dialled: &'c [&'c str],
}

fn check(cases: Vec<Case<'_>>) {
    for case in cases {
        let scene = Scene::new(case.rules);
        let answer = scene.talk(&case.sent);
        let name = case.name;
        assert!(answer.starts_with(case.answer), "{name}: {answer:?}");
        assert_eq!(scene.decisions(), case.decisions, "{name}: {answer:?}");
        assert_eq!(scene.dialled(), case.dialled, "{name}");
        let asked = scene.world.asked.lock().unwrap().len();
        assert!(case.decisions.first() == Some(&"allow") || asked <= 1, "{name}: asked {asked}");
    }
}

const PUBLIC_443: &[&str] = &["93.184.216.34:443"];
const PUBLIC_80: &[&str] = &["93.184.216.34:80"];
const P: &[&str] = &["allow ok.test"];

fn case<'c>(
    name: &'c str,
    rules: &'c [&'c str],
    sent: Vec<u8>,
    answer: &'c str,
    decisions: &'c [&'c str],
    dialled: &'c [&'c str],
) -> Case<'c> {
    Case { name, rules, sent, answer, decisions, dialled }
}

fn socks5(kind: u8, address: &[u8], port: u16, command: u8) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 5, command, 0, kind];
    bytes.extend(address);
    bytes.extend(port.to_be_bytes());
    bytes
}

fn socks5_name(name: &str, port: u16) -> Vec<u8> {
    let mut address = vec![u8::try_from(name.len()).unwrap()];
    address.extend(name.as_bytes());
    socks5(3, &address, port, 1)
}

fn socks4(address: [u8; 4], name: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![4, 1];
    bytes.extend(port.to_be_bytes());
    bytes.extend(address);
    bytes.push(0);
    if !name.is_empty() {
        bytes.extend(name.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// A tunnel request, refused.
fn refused<'c>(name: &'c str, rules: &'c [&'c str], to: &str, reason: &'c [&'c str]) -> Case<'c> {
    case(name, rules, connect(to), "HTTP/1.1 403 Blocked by sandbox: ", reason, &[])
}

#[test]
fn what_the_rules_cover_passes() {
    let allow: &[&str] = &["allow"];
    let ok = hello(Some("ok.test"), 0);
    let open = "HTTP/1.1 200 Connection established";
    let through = |name, rules, to: &str, host: &str| {
        case(name, rules, tunnel(to, &hello(Some(host), 0)), open, allow, PUBLIC_443)
    };
    check(vec![
        case("N04 a plain request", P, get("ok.test"), "HTTP/1.1 200 OK", allow, PUBLIC_80),
        case("N05 a tunnel", P, tunnel("ok.test:443", &ok), open, allow, PUBLIC_443),
        case(
            "N06 SOCKS 5 by name",
            P,
            [socks5_name("ok.test", 443), ok.clone()].concat(),
            "\u{5}\0\u{5}\0\0\u{1}",
            allow,
            PUBLIC_443,
        ),
        case(
            "N08 SOCKS 4a by name",
            P,
            [socks4([0, 0, 0, 1], "ok.test", 443), ok.clone()].concat(),
            "\0Z",
            allow,
            PUBLIC_443,
        ),
        through("N19 below a star", &["allow *.ok.test"], "a.b.ok.test:443", "a.b.ok.test"),
        through("N20 two stars, the apex", &["allow **.ok.test"], "ok.test:443", "ok.test"),
        through("N20 two stars, below", &["allow **.ok.test"], "a.b.ok.test:443", "a.b.ok.test"),
        through("N23 upper case", P, "OK.TEST:443", "ok.test"),
        through("N23 a trailing dot", P, "ok.test.:443", "OK.test"),
        through(
            "N24 an encoded name",
            &["allow xn--bcher-kva.test"],
            "xn--bcher-kva.test:443",
            "xn--bcher-kva.test",
        ),
        case(
            "N29 a range of ports",
            &["allow ok.test:8000-9000"],
            tunnel("ok.test:8443", b"GET / HTTP/1.1\r\nHost: ok.test:8443\r\n\r\n"),
            open,
            &["allow", "allow"],
            &["93.184.216.34:8443"],
        ),
        case(
            "N35 private by rule",
            &["allow priv.test", "allow 10.0.0.0/8"],
            get("priv.test"),
            "HTTP/1.1 200 OK",
            allow,
            &["10.0.0.1:80"],
        ),
        case(
            "N36 only the permitted address",
            &["allow mix.test"],
            get("mix.test"),
            "HTTP/1.1 200 OK",
            allow,
            PUBLIC_80,
        ),
        case(
            "N38 a block and its port",
            &["allow 10.0.0.0/8:5432"],
            tunnel("10.0.0.1:5432", b"GET / HTTP/1.1\r\nHost: db\r\n\r\n"),
            open,
            &["allow", "allow"],
            &["10.0.0.1:5432"],
        ),
        case(
            "N40 host loopback by address",
            &["allow 127.0.0.1:3000"],
            get("127.0.0.1:3000"),
            "HTTP/1.1 200 OK",
            allow,
            &["127.0.0.1:3000"],
        ),
        case(
            "N40 host loopback by name",
            &["allow localhost:3000"],
            get("localhost:3000"),
            "HTTP/1.1 200 OK",
            allow,
            &["127.0.0.1:3000"],
        ),
        case(
            "IPv6 that fails gives way to IPv4",
            &["allow two.test"],
            get("two.test"),
            "HTTP/1.1 200 OK",
            allow,
            &["[2606:4700::1]:80", "93.184.216.34:80"],
        ),
    ]);
}

#[test]
fn what_no_rule_covers_is_refused_before_anything_is_resolved() {
    let none: &[&str] = &["not_allowed"];
    let port: &[&str] = &["port"];
    let literal: &[&str] = &["ip_literal"];
    let mut cases = vec![
        case(
            "N07 SOCKS 5 by address",
            P,
            socks5(1, &[93, 184, 216, 34], 443, 1),
            "\u{5}\0\u{5}\u{2}",
            literal,
            &[],
        ),
        case("N08 SOCKS 4 by address", P, socks4([93, 184, 216, 34], "", 443), "\0[", literal, &[]),
        case(
            "N09 SOCKS BIND",
            P,
            socks5(1, &[93, 184, 216, 34], 443, 2),
            "\u{5}\0\u{5}\u{7}",
            &["unsupported"],
            &[],
        ),
        case(
            "N09 SOCKS UDP",
            P,
            socks5(1, &[93, 184, 216, 34], 443, 3),
            "\u{5}\0\u{5}\u{7}",
            &["unsupported"],
            &[],
        ),
        case(
            "N13 a tunnel",
            P,
            connect("deny.test:443"),
            "HTTP/1.1 403 Blocked by sandbox: deny.test:443: no rule covers this host; to allow: --net deny.test\r\nProxy-Status: pinfold; error=http_request_denied",
            none,
            &[],
        ),
        case(
            "N14 a plain request",
            P,
            get("deny.test"),
            "HTTP/1.1 403 Blocked by sandbox: deny.test:80",
            none,
            &[],
        ),
        refused("N17 below a name", P, "sub.ok.test:443", none),
        case(
            "N18 the apex of a star",
            &["allow *.ok.test"],
            connect("ok.test:443"),
            "HTTP/1.1 403 Blocked by sandbox: ok.test:443: host rule \"*.ok.test\", which does not cover the name itself; \"**.ok.test\" would; to allow: --net ok.test\r\n",
            none,
            &[],
        ),
        case(
            "N22 denied, without a remedy",
            &["allow **.ok.test", "deny sub.ok.test"],
            connect("sub.ok.test:443"),
            "HTTP/1.1 403 Blocked by sandbox: sub.ok.test:443: host rule \"sub.ok.test\"\r\n",
            &["denied"],
            &[],
        ),
        refused("N27 another port", P, "ok.test:8443", port),
        case(
            "N28 the other default port",
            &["allow ok.test:443"],
            get("ok.test"),
            "HTTP/1.1 403 Blocked",
            port,
            &[],
        ),
        refused("N38 another port of a block", &["allow 10.0.0.0/8:5432"], "10.0.0.1:5433", port),
        refused("N39 the address of an allowed name", P, "93.184.216.34:443", literal),
        case(
            "N40 host loopback without a rule",
            &["allow *:*"],
            get("localhost:3000"),
            "HTTP/1.1 403 Blocked",
            &["special_address"],
            &[],
        ),
    ];
    for host in ["notok.test", "ok.test.evil.test", "xok.test"] {
        cases.push(refused(
            "N21 no label boundary",
            &["allow **.ok.test"],
            &format!("{host}:443"),
            none,
        ));
    }
    check(cases);
}

#[test]
fn special_addresses_are_refused_in_every_spelling() {
    let special: &[&str] = &["special_address"];
    let mut cases = Vec::new();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ] {
        cases.push(refused("N31 loopback", &["allow *"], &format!("{host}:80"), special));
    }
    for host in ["[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]"] {
        cases.push(refused(
            "N32 loopback inside IPv6",
            &["allow *"],
            &format!("{host}:80"),
            special,
        ));
    }
    for host in ["169.254.169.254", "0xA9FEA9FE", "[fd00:ec2::254]", "100.100.100.200", "meta.test"]
    {
        cases.push(refused("N33 metadata", &["allow *"], &format!("{host}:80"), special));
    }
    cases.push(refused(
        "N34 a name with a private address",
        &["allow priv.test"],
        "priv.test:443",
        special,
    ));
    check(cases);
}

#[test]
fn what_cannot_be_read_one_way_is_malformed() {
    let malformed: &[&str] = &["malformed"];
    let authorities = [
        ("N23 two trailing dots", "ok.test..:443"),
        ("N25 full-width letters", "ｏk.test:443"),
        ("N25 a soft hyphen", "o\u{ad}k.test:443"),
        ("N25 a zero-width space", "o\u{200b}k.test:443"),
        ("N25 an escaped letter", "%6fk.test:443"),
        ("N26 a user name", "ok.test@deny.test:443"),
        ("N26 a user name with a port", "ok.test:443@deny.test"),
        ("N26 a zero byte", "ok.test\0:443"),
        ("N26 a tab", "ok.test\t:443"),
        ("N26 a line end", "ok.test\r\n:443"),
        ("N30 port 0", "ok.test:0"),
        ("N30 port 65536", "ok.test:65536"),
        ("N30 an empty port", "ok.test:"),
        ("N30 no port", "ok.test"),
        ("N30 a signed port", "ok.test:+443"),
        ("N30 a zero in front", "ok.test:0443"),
    ];
    let case = |(name, authority): (&'static str, &str)| {
        case(name, P, connect(authority), "HTTP/1.1 400 ", malformed, &[])
    };
    check(authorities.into_iter().map(case).collect());
}

#[test]
fn a_tunnel_carries_only_what_it_was_opened_for() {
    let open = "HTTP/1.1 200 Connection established\r\n\r\n";
    let alert = "HTTP/1.1 200 Connection established\r\n\r\n\u{15}\u{3}\u{3}\0\u{2}\u{2}1";
    let inside = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    check(vec![
        case(
            "N41 another name in the hello",
            P,
            tunnel("ok.test:443", &hello(Some("deny.test"), 0)),
            alert,
            &["allow", "sni_mismatch"],
            PUBLIC_443,
        ),
        case(
            "N42 no name in the hello",
            P,
            tunnel("ok.test:443", &hello(None, 0)),
            alert,
            &["allow", "sni_mismatch"],
            PUBLIC_443,
        ),
        case(
            "N43 a request inside",
            P,
            tunnel("ok.test:80", &inside("ok.test")),
            "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK",
            &["allow", "allow"],
            PUBLIC_80,
        ),
        case(
            "N43 a request inside for another host",
            P,
            tunnel("ok.test:80", &inside("deny.test")),
            "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 421 ",
            &["allow", "host_mismatch"],
            PUBLIC_80,
        ),
        case(
            "N43 unknown bytes on a port of the web",
            P,
            tunnel("ok.test:443", b"\x01\x02\x03"),
            open,
            &["allow", "unsupported"],
            PUBLIC_443,
        ),
        case(
            "N44 a hello of 16 KiB",
            P,
            tunnel("ok.test:443", &hello(Some("ok.test"), 16_384)),
            open,
            &["allow"],
            PUBLIC_443,
        ),
        case(
            "a hello that is none",
            P,
            tunnel("ok.test:443", &[22, 3, 1, 0, 1, 9]),
            alert,
            &["allow", "malformed"],
            PUBLIC_443,
        ),
        case(
            "N11 a server that speaks first",
            &["allow ok.test:22"],
            tunnel("ok.test:22", b""),
            "HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0-origin",
            &["allow"],
            &["93.184.216.34:22"],
        ),
        case(
            "a tunnel inside a tunnel",
            P,
            tunnel("ok.test:80", &connect("deny.test:443")),
            "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 501 ",
            &["allow", "unsupported"],
            PUBLIC_80,
        ),
    ]);
}

#[test]
fn what_lies_outside_is_told_apart_from_what_is_refused() {
    check(vec![
        case(
            "a name that does not exist",
            &["allow nowhere.test"],
            connect("nowhere.test:443"),
            "HTTP/1.1 502 Sandbox proxy: nowhere.test:443: cannot resolve",
            &["dns_failed"],
            &[],
        ),
        case(
            "a port where nobody listens",
            &["allow ok.test:9"],
            connect("ok.test:9"),
            "HTTP/1.1 502 Sandbox proxy: ok.test:9: cannot connect",
            &["connect_failed"],
            &["93.184.216.34:9"],
        ),
    ]);
}
