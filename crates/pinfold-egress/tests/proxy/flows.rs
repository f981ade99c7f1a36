//! Streams, questions, limits and ends.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pinfold_egress::{
    Answer, Bounds, Decider, Door, Event, Options, Remember, Resolution, Upstream,
};

use crate::harness::{PATIENCE, Scene, connect, get, hello, policy, read_all, tunnel};

fn scene_with(rules: &[&str], options: Options) -> Scene {
    Scene::with(policy(rules), options, |listener| vec![Door::Proxy(listener)])
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends `bytes` while reading as many back, and compares.
fn echoed(stream: &mut std::net::TcpStream, bytes: &[u8]) {
    let mut writer = stream.try_clone().unwrap();
    let mut back = vec![0; bytes.len()];
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(bytes).unwrap());
        stream.read_exact(&mut back).unwrap();
    });
    assert!(back == bytes, "what came back is not what was sent");
}

fn read_head(stream: &mut std::net::TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

#[test]
fn n44_a_hello_in_single_bytes_passes() {
    let scene = Scene::new(&["allow ok.test"]);
    let mut stream = scene.client();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&connect("ok.test:443")).unwrap();
    read_head(&mut stream);
    let hello = hello(Some("ok.test"), 0);
    for byte in &hello {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut back = vec![0; hello.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, hello);
}

#[test]
fn a_client_of_another_protocol_may_begin_with_one_letter() {
    let scene = Scene::new(&["allow ok.test:8022"]);
    let mut stream = scene.client();
    stream.write_all(&tunnel("ok.test:8022", b"B")).unwrap();
    read_head(&mut stream);
    let mut back = [0];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, *b"B");
}

#[test]
fn n44_a_silent_client_is_let_go() {
    let bounds = Bounds { head_time: Duration::from_millis(100), ..Bounds::default() };
    let scene = scene_with(&["allow ok.test"], Options { bounds, ..Options::default() });
    for (sent, expected) in [
        (Vec::new(), ""),
        (b"GET http://ok.test/ HT".to_vec(), "HTTP/1.1 400 "),
        (connect("ok.test:443"), "HTTP/1.1 200 "),
        (vec![5], ""),
    ] {
        let mut stream = scene.client();
        stream.write_all(&sent).unwrap();
        assert!(read_all(&mut stream).starts_with(expected), "{sent:?}");
    }
}

#[test]
fn n55_a_websocket_carries_ten_megabytes_each_way_and_is_counted() {
    let scene = Scene::new(&["allow ok.test"]);
    let mut stream = scene.client();
    let request = "GET http://ok.test/ws HTTP/1.1\r\nHost: ok.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("Upgrade: websocket\r\n"), "{head}");
    let bytes = pattern(10 << 20);
    echoed(&mut stream, &bytes);
    stream.shutdown(Shutdown::Write).unwrap();
    read_all(&mut stream);
    let size = bytes.len() as u64;
    wait_until("the end is recorded", || {
        scene.world.events.lock().unwrap().iter().any(|event| {
            matches!(event, Event::Closed { sent, received, .. } if *sent == size && *received == size)
        })
    });
}

#[test]
fn n56_events_arrive_as_they_are_sent() {
    let scene = Scene::new(&["allow ok.test"]);
    scene.world.serve(80, |_, mut stream| {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        // Each event waits until the client has confirmed the one before.
        for _ in 0..5 {
            stream.write_all(b"8\r\ndata: 1\n\r\n")?;
            let _ = stream.read(&mut head)?;
        }
        stream.write_all(b"0\r\n\r\n")
    });
    let mut stream = scene.client();
    let request =
        "POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    read_head(&mut stream);
    for _ in 0..5 {
        let mut event = [0; 13];
        stream.read_exact(&mut event).unwrap();
        assert_eq!(&event, b"8\r\ndata: 1\n\r\n");
        stream.write_all(b"1\r\nx\r\n").unwrap();
    }
}

#[test]
fn n57_large_bodies_arrive_whole_in_both_directions() {
    let scene = Scene::new(&["allow ok.test"]);
    let mut stream = scene.client();
    let hello = hello(Some("ok.test"), 0);
    stream.write_all(&connect("ok.test:443")).unwrap();
    read_head(&mut stream);
    echoed(&mut stream, &hello);
    echoed(&mut stream, &pattern(64 << 20));
}

#[test]
fn n58_a_client_that_closes_its_side_still_gets_everything() {
    let scene = Scene::new(&["allow ok.test"]);
    let mut stream = scene.client();
    let bytes = [hello(Some("ok.test"), 0), pattern(1 << 20)].concat();
    stream.write_all(&connect("ok.test:443")).unwrap();
    read_head(&mut stream);
    let mut writer = stream.try_clone().unwrap();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut back).unwrap();
    });
    assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
}

/// A decider that counts its questions.
fn decider(count: &Arc<AtomicUsize>, pause: Duration, answer: Answer) -> Decider {
    let count = count.clone();
    Arc::new(move |_| {
        count.fetch_add(1, SeqCst);
        std::thread::sleep(pause);
        answer
    })
}

#[test]
fn n63_the_answer_to_a_question_decides_and_no_answer_is_no() {
    let soon = Duration::ZERO;
    let late = Duration::from_secs(3);
    let answer = |allow| Answer { allow, remember: Remember::Run };
    for (name, pause, said, status, decision) in [
        ("yes", soon, Some(answer(true)), "200", "allow"),
        ("no", soon, Some(answer(false)), "403", "ask_denied"),
        ("too late", late, Some(answer(true)), "403", "ask_timeout"),
        ("nobody to ask", soon, None, "403", "ask_denied"),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let bounds = Bounds { ask_time: Duration::from_millis(500), ..Bounds::default() };
        let decider = said.map(|said| decider(&count, pause, said));
        let scene =
            scene_with(&["ask deny.test"], Options { bounds, decider, ..Options::default() });
        let answer = scene.talk(&get("deny.test"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(scene.decisions(), [decision], "{name}");
        assert_eq!(scene.world.asked.lock().unwrap().len(), usize::from(status == "200"), "{name}");
    }
}

#[test]
fn a_defect_ends_its_connection_and_no_other() {
    let scene = Scene::new(&["allow ok.test", "allow defect.test"]);
    let request = |host: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for _ in 0..3 {
        assert_eq!(scene.talk(request("defect.test").as_bytes()), "");
        assert!(scene.talk(request("ok.test").as_bytes()).starts_with("HTTP/1.1 200"));
    }
    let expected = ["defect", "allow", "defect", "allow", "defect", "allow"];
    assert_eq!(scene.decisions(), expected);
}

#[test]
fn an_origin_that_resets_is_an_error_for_its_client_only() {
    let scene = Scene::new(&["allow ok.test", "allow ok.test:9000"]);
    scene.world.serve(9000, |_, mut stream| {
        stream.read_exact(&mut [0; 1024])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart")?;
        // What it does not read resets the connection when it is closed.
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    });
    let request = |port: u16| {
        format!(
            "GET http://ok.test:{port}/ HTTP/1.1\r\nHost: ok.test:{port}\r\nX: {}\r\n\r\n",
            "x".repeat(8000)
        )
    };
    let answer = scene.talk(request(9000).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("part"), "{answer:?}");
    assert!(scene.talk(request(80).as_bytes()).starts_with("HTTP/1.1 200"));
}

#[test]
fn n63_a_decider_that_panics_is_no() {
    let decider: Decider = Arc::new(|_| panic!("a decider's own fault"));
    let scene =
        scene_with(&["ask deny.test"], Options { decider: Some(decider), ..Options::default() });
    scene.talk(&get("deny.test"));
    assert_eq!(scene.decisions(), ["ask_denied"]);
}

#[test]
fn n64_many_connections_to_one_host_make_one_question() {
    for (remember, rounds, expected) in [(Remember::Run, 2, 1), (Remember::Once, 2, 2)] {
        let count = Arc::new(AtomicUsize::new(0));
        let answer = Answer { allow: true, remember };
        let decider = decider(&count, Duration::from_millis(300), answer);
        let options = Options { decider: Some(decider), ..Options::default() };
        let scene = scene_with(&["ask deny.test"], options);
        for _ in 0..rounds {
            std::thread::scope(|scope| {
                let clients: Vec<_> =
                    (0..20).map(|_| scope.spawn(|| scene.talk(&get("deny.test")))).collect();
                for client in clients {
                    assert!(client.join().unwrap().starts_with("HTTP/1.1 200 "));
                }
            });
        }
        assert_eq!(count.load(SeqCst), expected, "{remember:?}");
    }
}

#[test]
fn n65_a_connection_too_many_is_refused_at_once() {
    let bounds = Bounds { connections: 2, ..Bounds::default() };
    let scene = scene_with(&["allow ok.test"], Options { bounds, ..Options::default() });
    let mut held: Vec<_> = (0..2).map(|_| scene.client()).collect();
    for stream in &mut held {
        stream.write_all(&tunnel("ok.test:443", &hello(Some("ok.test"), 0))).unwrap();
        read_head(stream);
    }
    assert!(read_all(&mut scene.client()).starts_with("HTTP/1.1 429 "));
    assert_eq!(scene.decisions(), ["allow", "allow", "limit"]);
    drop(held);
    wait_until("room again", || scene.talk(&get("ok.test")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn n69_an_upstream_proxy_gets_the_checked_address_and_our_credentials_only() {
    for (resolution, expected) in [
        (Resolution::Here, "CONNECT 93.184.216.34:443 HTTP/1.1\r\nHost: 93.184.216.34:443\r\n"),
        (Resolution::There, "CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\n"),
    ] {
        let upstream = Upstream::parse("http://u:p@10.1.1.1:3128", "", resolution).unwrap();
        let options = Options { upstream: Some(upstream), ..Options::default() };
        let scene = scene_with(&["allow ok.test"], options);
        scene.world.serve(3128, |world, mut stream| {
            let head = read_head(&mut stream);
            world.heads.lock().unwrap().push(head);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            crate::harness::echo_server(world, stream)
        });
        let answer = scene.talk(&tunnel("ok.test:443", &hello(Some("ok.test"), 0)));
        assert!(answer.starts_with("HTTP/1.1 200 Connection established"), "{answer:?}");
        assert_eq!(scene.heads(), [format!("{expected}Proxy-Authorization: Basic dTpw\r\n\r\n")]);
        let refused = scene.talk(&connect("deny.test:443"));
        assert!(refused.starts_with("HTTP/1.1 403 "), "the policy comes first: {refused}");
        assert_eq!(scene.heads().len(), 1);
    }
}

#[test]
fn n69_plain_requests_go_to_an_upstream_proxy_that_resolves_as_whole_urls() {
    let upstream = Upstream::parse("http://u:p@10.1.1.1:3000", "", Resolution::There).unwrap();
    let scene =
        scene_with(&["allow ok.test"], Options { upstream: Some(upstream), ..Options::default() });
    let request = get("ok.test");
    let answer = scene.talk(&[request.clone(), request].concat());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    let head =
        "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nProxy-Authorization: Basic dTpw\r\n\r\n";
    assert_eq!(scene.heads(), [head, head]);
    assert_eq!(scene.dialled(), ["10.1.1.1:3000"]);
    assert!(scene.world.asked.lock().unwrap().is_empty());
}

#[test]
fn n70_the_end_of_a_run_closes_everything() {
    let mut scene = Scene::new(&["allow ok.test"]);
    let mut stream = scene.client();
    stream.write_all(&tunnel("ok.test:443", &hello(Some("ok.test"), 0))).unwrap();
    read_head(&mut stream);
    let report = scene.running.take().unwrap().stop();
    assert_eq!(report.allowed, 1);
    read_all(&mut stream);
    assert!(std::net::TcpStream::connect(scene.proxy).is_err(), "the door is closed");
}

#[test]
fn n71_two_proxies_do_not_share_anything() {
    let (one, other) = (Scene::new(&["allow ok.test"]), Scene::new(&["allow deny.test"]));
    assert!(one.talk(&get("ok.test")).starts_with("HTTP/1.1 200 "));
    assert!(one.talk(&get("deny.test")).starts_with("HTTP/1.1 403 "));
    assert!(other.talk(&get("ok.test")).starts_with("HTTP/1.1 403 "));
    assert!(other.talk(&get("deny.test")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_token_is_needed_where_one_is_set() {
    let with =
        |header: &str| format!("GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n{header}\r\n");
    for (name, sent, expected) in [
        ("none", with(""), "HTTP/1.1 407 "),
        ("wrong", with("Proxy-Authorization: Basic cGluZm9sZDp3cm9uZw==\r\n"), "HTTP/1.1 407 "),
        ("right", with("Proxy-Authorization: Basic cGluZm9sZDpzZWNyZXQ=\r\n"), "HTTP/1.1 200 "),
        ("SOCKS without", "\x05\x01\0".into(), "\x05\u{fffd}"),
        ("SOCKS wrong", "\x05\x01\x02\x01\x01u\x05wrong".into(), "\x05\x02\x01\x01"),
        ("SOCKS right", "\x05\x01\x02\x01\x01u\x06secret".into(), "\x05\x02\x01\0"),
    ] {
        let options = Options { token: Some("secret".into()), ..Options::default() };
        let scene = scene_with(&["allow ok.test"], options);
        let answer = scene.talk(sent.as_bytes());
        assert!(answer.starts_with(expected), "{name}: {answer:?}");
        assert!(!scene.heads().concat().contains("Proxy"), "{name}");
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_not_passed_on() {
    for (name, answer) in [
        (
            "length and encoding",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        (
            "a switch that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        ),
        ("no HTTP", "hello\r\n\r\n"),
        ("nothing", ""),
    ] {
        static NEXT: std::sync::Mutex<&str> = std::sync::Mutex::new("");
        *NEXT.lock().unwrap() = answer;
        let scene = Scene::new(&["allow ok.test"]);
        scene.world.serve(80, |_, mut stream| {
            read_head(&mut stream);
            stream.write_all(NEXT.lock().unwrap().as_bytes())
        });
        let got = scene.talk(&get("ok.test"));
        assert!(got.starts_with("HTTP/1.1 502 "), "{name}: {got}");
    }
}

#[test]
fn answers_keep_their_frame_whatever_it_is() {
    for (name, request, answer, expected) in [
        ("to the end", "GET", "HTTP/1.1 200 OK\r\n\r\nabc", "\r\nConnection: close\r\n\r\nabc"),
        (
            "chunks",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        ("none", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "none after HEAD",
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "an interim answer",
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ),
    ] {
        static NEXT: std::sync::Mutex<&str> = std::sync::Mutex::new("");
        *NEXT.lock().unwrap() = answer;
        let scene = Scene::new(&["allow ok.test"]);
        scene.world.serve(80, |_, mut stream| {
            read_head(&mut stream);
            stream.write_all(NEXT.lock().unwrap().as_bytes())
        });
        let sent = format!("{request} http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n");
        let got = scene.talk(sent.as_bytes());
        assert!(got.ends_with(expected), "{name}: {got:?}");
    }
}

#[test]
fn the_audit_has_one_line_per_decision_and_end_and_no_query() {
    #[derive(Clone, Default)]
    struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let audit = Shared::default();
    let options = Options {
        audit: Some(Box::new(audit.clone())),
        run: "r1".into(),
        clock: || std::time::UNIX_EPOCH,
        ..Options::default()
    };
    let mut scene = scene_with(&["allow ok.test"], options);
    scene.talk(b"GET http://ok.test/p?secret HTTP/1.1\r\nHost: ok.test\r\n\r\nGET http://deny.test/ HTTP/1.1\r\nHost: deny.test\r\n\r\n");
    let report = scene.running.take().unwrap().stop();
    let bytes = audit.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    let front = r#"{"v":1,"t":"1970-01-01T00:00:00.000Z","run":"r1","id":"#;
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix(front).unwrap()).collect();
    assert_eq!(
        lines[..2],
        [
            r#"1,"ev":"decision","door":"http","host":"ok.test","port":80,"addr":"93.184.216.34","method":"GET","path":"/p","decision":"allow","reason":"rule","rule":"ok.test"}"#,
            r#"2,"ev":"decision","door":"http","host":"deny.test","port":80,"method":"GET","path":"/","decision":"deny","reason":"not_allowed"}"#,
        ]
    );
    assert!(lines[2].starts_with(r#"1,"ev":"close","out":"#), "{}", lines[2]);
    assert_eq!(report.blocked.len(), 1);
    let blocked = &report.blocked[0];
    assert_eq!((blocked.destination().as_str(), blocked.count), ("deny.test:80", 1));
    assert_eq!(blocked.remedy.as_deref(), Some("deny.test"));
}
