//! Doors for programs that know of no proxy.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use pinfold_egress::{Door, Options, ProxyAddress, bridge};
use pinfold_policy::net::{Host, Introduction, Secret};

use crate::harness::{PATIENCE, Scene, hello, policy, read_all};

/// A proxy whose only door leads to one host and port, as a captured connection
/// to that place would.
fn forward(rules: &[&str], host: &str, port: u16) -> Scene {
    let host = Host::parse(host).unwrap();
    Scene::with(policy(rules), Options::default(), |listener| {
        vec![Door::Forward(listener, host, port)]
    })
}

#[test]
fn a_client_without_a_proxy_is_served_or_refused_in_its_own_words() {
    let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let rules = &["allow ok.test", "allow ok.test:22"];
    for (name, host, port, sent, expected, decisions) in [
        ("N10 HTTP", "ok.test", 80, request("ok.test"), "HTTP/1.1 200 OK", &["allow", "allow"][..]),
        ("N10 TLS", "ok.test", 443, hello(Some("ok.test"), 0), "\x16\x03\x01", &["allow"]),
        (
            "N11 SSH",
            "ok.test",
            22,
            b"SSH-2.0-c\r\n".to_vec(),
            "SSH-2.0-origin\r\nSSH-2.0-c\r\n",
            &["allow"],
        ),
        (
            "N12 SSH, refused",
            "deny.test",
            22,
            b"SSH-2.0-c\r\n".to_vec(),
            "SSH-2.0-pinfold\r\n",
            &["not_allowed"],
        ),
        (
            "N15 TLS, refused",
            "deny.test",
            443,
            hello(Some("deny.test"), 0),
            "\x15\x03\x03\0\x02\x021",
            &["not_allowed"],
        ),
        (
            "HTTP, refused",
            "deny.test",
            80,
            request("deny.test"),
            "HTTP/1.1 403 Blocked by sandbox: deny.test:80",
            &["not_allowed"],
        ),
        (
            "another host than the connection's",
            "ok.test",
            80,
            request("deny.test"),
            "HTTP/1.1 421 ",
            &["allow", "host_mismatch"],
        ),
        (
            "another name than the connection's",
            "ok.test",
            443,
            hello(Some("deny.test"), 0),
            "\x15\x03\x03\0\x02\x021",
            &["allow", "sni_mismatch"],
        ),
    ] {
        let scene = forward(rules, host, port);
        let answer = scene.talk(&sent);
        assert!(answer.starts_with(expected), "{name}: {answer:?}");
        assert_eq!(scene.decisions(), decisions, "{name}");
    }
}

#[test]
fn n12_the_text_for_ssh_names_the_rule() {
    let answer = forward(&[], "deny.test", 22).talk(b"SSH-2.0-c\r\n");
    assert!(
        answer.contains("no rule covers this host; to allow: --net deny.test:22"),
        "{answer:?}"
    );
}

#[test]
fn a_captured_connection_to_the_commands_own_loopback_is_closed() {
    let scene = Scene::with(
        policy(&["allow *:*", "allow 127.0.0.0/8:*"]),
        Options::default(),
        |listener| vec![Door::Captured(listener)],
    );
    assert_eq!(scene.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "");
    assert_eq!(scene.decisions(), Vec::<&str>::new());
}

/// A question of this type, with recursion desired.
fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

#[test]
fn n46_questions_are_answered_over_udp_and_tcp_and_nothing_is_resolved() {
    // On every address, and asked at one that is not the system's first choice.
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let udp_address = (Ipv4Addr::new(127, 7, 7, 7), udp.local_addr().unwrap().port());
    let tcp_address = tcp.local_addr().unwrap();
    let scene = Scene::with(policy(&["allow ok.test"]), Options::default(), |listener| {
        vec![Door::Proxy(listener), Door::Names(udp), Door::NamesStream(tcp)]
    });
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = question("ok.test", 1);
    client.connect(udp_address).unwrap();
    client.send(&ask).unwrap();
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    let over_udp = reply[..length].to_vec();
    assert_eq!(&over_udp[length - 6..length - 2], &[0, 4, 198, over_udp[length - 3]]);

    let mut stream = TcpStream::connect(tcp_address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut framed = u16::try_from(ask.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(&ask);
    stream.write_all(&framed).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut over_tcp = Vec::new();
    stream.read_to_end(&mut over_tcp).unwrap();
    assert_eq!(over_tcp[2..], over_udp, "the same answer, with its length in front");
    assert_eq!(scene.world.asked.lock().unwrap().len(), 0, "N47");
    assert_eq!(read_all(&mut stream), "");
}

#[test]
fn a_program_that_takes_a_command_gets_through_or_is_told_why() {
    let options = Options { token: Some("secret".into()), ..Options::default() };
    let scene =
        Scene::with(policy(&["allow ok.test:22"]), options, |listener| vec![Door::Proxy(listener)]);
    let proxy = |token: &str| ProxyAddress { address: scene.proxy, token: Some(token.into()) };
    let host = |name| Host::parse(name).unwrap();
    let mut stream = bridge(&proxy("secret"), &host("ok.test"), 22).unwrap();
    let mut banner = [0; 16];
    stream.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-2.0-origin\r\n");
    for (token, expected) in [
        (
            "secret",
            "Blocked by sandbox: deny.test:22: no rule covers this host; to allow: --net deny.test:22",
        ),
        ("wrong", "Sandbox proxy: request: the proxy needs the token of this run"),
    ] {
        let refused = bridge(&proxy(token), &host("deny.test"), 22).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
}

/// What a connection that was led to the proxy begins with.
fn introduced(secret: Secret, destination: SocketAddr, words: &[u8]) -> Vec<u8> {
    [&Introduction { secret, destination }.to_bytes()[..], words].concat()
}

#[test]
fn a_led_connection_is_for_where_it_says_if_it_knows_the_secret() {
    let secret = *b"what only one is";
    let rules = &["allow ok.test", "allow 127.0.0.1:22"];
    let get =
        |host: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let ask = question("ok.test", 1);
    let framed = [&u16::try_from(ask.len()).unwrap().to_be_bytes()[..], &ask].concat();
    let other = *b"what nobody is..";
    for (name, secret, to, words, expected, decisions) in [
        ("the proxy", secret, None, get("ok.test"), "HTTP/1.1 200 OK", &["allow"][..]),
        ("the proxy, refused", secret, None, get("no.test"), "HTTP/1.1 403 ", &["not_allowed"]),
        ("names", secret, Some("192.0.2.1:53"), framed, "\0", &[]),
        (
            "the host's loopback, by a rule",
            secret,
            Some("127.0.0.1:22"),
            b"SSH-2.0-c\r\n".to_vec(),
            "SSH-2.0-origin\r\n",
            &["allow"],
        ),
        (
            "the same without one",
            secret,
            Some("127.0.0.1:80"),
            get("127.0.0.1"),
            "HTTP/1.1 403 ",
            &["port"],
        ),
        (
            "an address",
            secret,
            Some("[2606:2800::1]:443"),
            hello(None, 0),
            "\x15\x03\x03\0\x02\x021",
            &["ip_literal"],
        ),
        ("another secret", other, None, get("ok.test"), "", &[]),
        ("another secret for loopback", other, Some("127.0.0.1:22"), Vec::new(), "", &[]),
    ] {
        let door = Cell::new(None);
        let scene = Scene::with(policy(rules), Options::default(), |listener| {
            door.set(listener.local_addr().ok());
            vec![Door::Led(listener, *b"what only one is")]
        });
        let to = to.map(|to| to.parse().unwrap()).or(door.get()).unwrap();
        let answer = scene.talk(&introduced(secret, to, &words));
        assert!(answer.starts_with(expected), "{name}: {answer:?}");
        assert_eq!(answer.is_empty(), expected.is_empty(), "{name}: {answer:?}");
        assert_eq!(scene.decisions(), decisions, "{name}");
    }
}
