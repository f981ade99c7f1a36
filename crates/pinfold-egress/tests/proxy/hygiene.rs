//! Requests that two programs could read in two ways never reach an origin.

use std::io::Write;

use crate::harness::{Scene, get, hello, read_all, tunnel};

const P: &[&str] = &["allow ok.test"];

/// The status codes of the answers, in order.
fn statuses(answers: &str) -> Vec<&str> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3))
        .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

#[test]
fn ambiguous_requests_are_refused_and_the_connection_ends() {
    let request = |rest: &str| format!("POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n{rest}");
    for (name, sent) in [
        (
            "N51 another host in the header",
            String::from("GET http://ok.test/ HTTP/1.1\r\nHost: deny.test\r\n\r\n"),
        ),
        (
            "N53 length and encoding",
            request("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("N53 two lengths", request("Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd")),
        ("N53 two lengths in one", request("Content-Length: 4, 5\r\n\r\nabcd")),
        ("N53 a signed length", request("Content-Length: +4\r\n\r\nabcd")),
        ("N53 a folded line", request("X-A: 1\r\n 2\r\n\r\n")),
        ("N53 a bare line feed", request("X-A: 1\nX-B: 2\r\n\r\n")),
        ("N53 a bare carriage return", request("X-A: 1\rX-B: 2\r\n\r\n")),
        ("N53 a space before the colon", request("Content-Length : 4\r\n\r\nabcd")),
        ("N53 an encoding in disguise", request("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("N53 an encoding twice", request("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")),
        ("N53 two hosts", request("Host: deny.test\r\n\r\n")),
        (
            "N53 an encoding in HTTP/1.0",
            String::from(
                "POST http://ok.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
        ),
        ("N54 the preface of HTTP/2", String::from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        ("no host header", String::from("GET http://ok.test/ HTTP/1.1\r\n\r\n")),
        ("a connection header that drops the host", request("Connection: host\r\n\r\n")),
        (
            "a user name in the URL",
            String::from("GET http://ok.test@deny.test/ HTTP/1.1\r\nHost: deny.test\r\n\r\n"),
        ),
        ("a path without a host", String::from("GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n")),
        (
            "an https URL in the clear",
            String::from("GET https://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n"),
        ),
        (
            "letters outside ASCII",
            String::from("GET http://ok.test/ü HTTP/1.1\r\nHost: ok.test\r\n\r\n"),
        ),
        ("a TLS hello to the proxy itself", String::from("\x16\x03\x01\0\x05hello\r\n\r\n")),
    ] {
        let scene = Scene::new(P);
        let second = String::from_utf8(get("ok.test")).unwrap();
        let answers = scene.talk(format!("{sent}{second}").as_bytes());
        assert_eq!(statuses(&answers), ["400"], "{name}: {answers:?}");
        assert_eq!(scene.decisions(), ["malformed"], "{name}");
        assert_eq!(scene.heads(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_broken_body_ends_the_connection_and_what_follows_is_no_request() {
    for (name, body) in [
        ("N53 a chunk size that overflows", "fffffffffffffffff\r\n"),
        ("N53 a chunk size with a sign", "+4\r\nabcd\r\n0\r\n\r\n"),
        ("N53 a chunk longer than it says", "2\r\nabcd\r\n0\r\n\r\n"),
        ("N53 a chunk that ends in a bare line feed", "2\nab\n0\n\n"),
    ] {
        let scene = Scene::new(P);
        let head =
            "POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let second = String::from_utf8(get("ok.test")).unwrap();
        let answers = scene.talk(format!("{head}{body}{second}").as_bytes());
        assert!(scene.heads().len() <= 1, "{name}: {:?}", scene.heads());
        assert_eq!(scene.decisions(), ["allow"], "{name}: {answers:?}");
    }
}

#[test]
fn only_what_is_meant_for_the_origin_reaches_it() {
    let scene = Scene::new(P);
    scene.talk(
        b"GET http://ok.test/p?q HTTP/1.1\r\nHost: OK.test:80\r\nProxy-Authorization: Basic x\r\n\
          Proxy-Connection: keep-alive\r\nConnection: X-A, keep-alive, Upgrade\r\nX-A: 1\r\nX-B: 2\r\n\
          Upgrade: h2c\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n",
    );
    let expected = "GET /p?q HTTP/1.1\r\nHost: ok.test\r\nX-B: 2\r\n\r\n";
    assert_eq!(scene.heads(), [expected], "N54 and N59");
}

#[test]
fn every_request_on_a_connection_is_decided_on_its_own() {
    let one = get("ok.test");
    let other = get("deny.test");
    let post =
        b"POST http://deny.test/ HTTP/1.1\r\nHost: deny.test\r\nContent-Length: 3\r\n\r\nabc"
            .to_vec();
    let chunked = b"POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n".to_vec();
    for (name, requests, expected) in [
        ("N52 the second is refused", [&one, &other, &one], ["200", "403", "200"]),
        ("the body of a refused one is skipped", [&post, &one, &one], ["403", "200", "200"]),
        ("chunks keep their place", [&chunked, &one, &chunked], ["200", "200", "200"]),
    ] {
        let scene = Scene::new(P);
        let answers = scene.talk(&requests.map(Clone::clone).concat());
        assert_eq!(statuses(&answers), expected, "{name}: {answers:?}");
        let reached = expected.iter().filter(|status| **status == "200").count();
        assert_eq!(scene.heads().len(), reached, "{name}");
        assert_eq!(scene.dialled().len(), 1, "{name}: one connection is used again");
    }
}

#[test]
fn limited_mode_lets_only_readable_requests_that_read_through() {
    let method = |method: &str| {
        format!("{method} http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n").into_bytes()
    };
    let inside = |method: &str| {
        let request = format!("{method} / HTTP/1.1\r\nHost: ok.test\r\n\r\n");
        tunnel("ok.test:80", request.as_bytes())
    };
    for (name, sent, expected, decisions) in [
        (
            "N48 GET, then DELETE",
            [method("GET"), method("DELETE")].concat(),
            &["200", "403"][..],
            &["allow", "method"][..],
        ),
        ("HEAD", method("HEAD"), &["200"], &["allow"]),
        ("OPTIONS", method("OPTIONS"), &["200"], &["allow"]),
        ("a method that looks like GET", method("GETS"), &["403"], &["method"]),
        ("a tunnel for TLS", crate::harness::connect("ok.test:443"), &["403"], &["method"]),
        ("a request inside a tunnel", inside("GET"), &["200", "200"], &["allow", "allow"]),
        ("a writing one inside a tunnel", inside("PUT"), &["200", "403"], &["allow", "method"]),
    ] {
        let scene = Scene::limited(P);
        let answers = scene.talk(&sent);
        assert_eq!(statuses(&answers), expected, "{name}: {answers:?}");
        assert_eq!(scene.decisions(), decisions, "{name}");
    }
}

#[test]
fn an_endless_head_is_refused() {
    let scene = Scene::new(P);
    let mut stream = scene.client();
    // The proxy stops reading and closes at some point.
    let _ = stream.write_all(b"GET http://ok.test/ HTTP/1.1\r\n");
    for _ in 0..4096 {
        if stream.write_all(b"X-Filler: 0123456789012345678901234567890\r\n").is_err() {
            break;
        }
    }
    read_all(&mut stream);
    assert_eq!(scene.decisions(), ["malformed"]);
}

/// Small and the same everywhere (xorshift).
struct Dice(u32);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % below
    }
}

#[test]
fn damaged_conversations_reach_no_host_without_a_rule_and_break_nothing() {
    let post = "POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let conversations = [
        get("ok.test"),
        post.as_bytes().to_vec(),
        tunnel("ok.test:443", &hello(Some("ok.test"), 0)),
        tunnel("ok.test:80", b"GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n"),
        b"\x05\x01\0\x05\x01\0\x03\x07ok.test\x01\xbb".to_vec(),
        b"\x04\x01\x01\xbb\0\0\0\x01u\0ok.test\0".to_vec(),
    ];
    let scene = Scene::new(P);
    let mut dice = Dice(0x2545_f491);
    for round in 0..600 {
        let mut bytes = conversations[round % conversations.len()].clone();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(bytes.len());
            match dice.roll(3) {
                0 => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
                1 => bytes.insert(at, b"\r\n :@/.\0%"[dice.roll(9)]),
                _ => drop(bytes.remove(at)),
            }
        }
        scene.talk(&bytes);
    }
    let strangers = |address: &String| !address.starts_with("93.184.216.34:");
    assert_eq!(scene.dialled().into_iter().find(strangers), None);
    let asked = scene.world.asked.lock().unwrap().clone();
    assert_eq!(asked.into_iter().find(|name| name != "ok.test"), None);
    assert!(scene.talk(&get("ok.test")).starts_with("HTTP/1.1 200 "));
}
