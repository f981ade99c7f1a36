//! Host rules on the real kernel: what is reached, what is refused, and what the
//! host's own server saw.
#![allow(clippy::unwrap_used, clippy::panic)]

mod origin;
mod world;

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use origin::Server;
use world::{Output, World};

/// Asks for `url` over a connection to `address`, inside.
fn ask(world: &World, options: &[&str], (address, port): (&str, u16), url: &str) -> Output {
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let script = format!(
        "exec 3<>/dev/tcp/{address}/{port} || exit 9\n\
         printf 'GET {url} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n' >&3\n\
         timeout 5 cat <&3"
    );
    let mut arguments = vec!["run"];
    arguments.extend(options);
    arguments.extend(["--", "bash", "-c", &script]);
    world.pinfold(&arguments)
}

#[test]
fn a_service_that_a_rule_names_is_reached_through_the_proxy() {
    let (world, server) = (World::new("net-allowed"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    let output = ask(&world, &["--net", &rule], ("127.0.0.1", 3128), &format!("http://{rule}/"));
    assert!(output.stdout.ends_with("served"), "{}{}", output.stdout, output.stderr);
    assert_eq!(server.seen(), 1);
}

#[test]
fn what_no_rule_names_is_refused_with_the_rule_that_would_allow_it() {
    let (world, server) = (World::new("net-refused"), Server::start());
    let url = format!("http://127.0.0.1:{}/", server.port);
    let options = ["--net", "example.com", "--json", "out.json"];
    let output = ask(&world, &options, ("127.0.0.1", 3128), &url);
    assert!(output.stdout.starts_with("HTTP/1.1 403"), "{}", output.stdout);
    let expected = format!(
        "pinfold: denied connect 127.0.0.1:{0} by \"bash\": it is a loopback address and no rule names it; \
         to allow: --net 127.0.0.1:{0}",
        server.port
    );
    assert!(output.stderr.contains(&expected), "{}", output.stderr);
    let outcome = std::fs::read_to_string(world.path("out.json")).unwrap();
    assert!(outcome.contains("\"blocked\":[{\"destination\":\"127.0.0.1"), "{outcome}");
    assert_eq!(server.seen(), 0);
}

#[test]
fn a_program_that_ignores_the_proxy_meets_the_same_rules() {
    let (world, server) = (World::new("net-captured"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    // A captured port of any address leads to the proxy, not to that address.
    let output = ask(&world, &["--net", &rule], ("192.0.2.1", 80), "http://blocked.example/");
    assert!(output.stdout.starts_with("HTTP/1.1 4"), "{}{}", output.stdout, output.stderr);
    // The named port is captured as well, whatever address is dialled.
    let other =
        ask(&world, &["--net", &rule], ("198.51.100.7", server.port), "http://198.51.100.7/");
    assert!(!other.stdout.contains("served"), "{}", other.stdout);
    assert_eq!(server.seen(), 0);
}

#[test]
fn without_rules_the_hosts_loopback_is_out_of_reach() {
    let (world, server) = (World::new("net-off"), Server::start());
    let url = format!("http://127.0.0.1:{}/", server.port);
    for options in [&[][..], &["--net", "example.com"]] {
        let output = ask(&world, options, ("127.0.0.1", server.port), &url);
        assert_eq!(output.status, 9, "{}{}", output.stdout, output.stderr);
    }
    assert_eq!(server.seen(), 0);
    // The same without enforcement arrives: this test can fail.
    let output = ask(&world, &["-p", ":danger-full-access"], ("127.0.0.1", server.port), &url);
    assert!(output.stdout.ends_with("served"), "{}", output.stdout);
}

/// An address of this host that is not loopback; asking for it sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Cases N01 to N03 of the network study: no proxy variables, no proxy.
#[test]
fn n01_n02_n03_no_address_of_the_host_is_reached_past_the_proxy() {
    let (world, server) = (World::new("net-past"), Server::start());
    let mut places = vec![(IpAddr::from([127, 0, 0, 1]), server.port)];
    let other = own_address().map(|address| TcpListener::bind((address, 0)).unwrap());
    if let Some(listener) = &other {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        places.push((address.ip(), address.port()));
    }
    for options in [&[][..], &["--net", "example.com"]] {
        for (address, port) in &places {
            let script = format!(
                "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY\n\
                 timeout 5 bash -c 'echo >/dev/tcp/{address}/{port}' 2>/dev/null; echo $?"
            );
            let mut arguments = vec!["run"];
            arguments.extend(options);
            arguments.extend(["--", "sh", "-c", &script]);
            let output = world.pinfold(&arguments);
            assert_eq!(output.stdout, "1\n", "{options:?} {address} {}", output.stderr);
        }
    }
    assert_eq!(server.seen(), 0);
    if let Some(listener) = other {
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

/// Case N72.
#[test]
fn n72_a_server_of_the_command_is_reached_by_it_and_the_proxy_sees_nothing_of_it() {
    let world = World::new("net-inside");
    let script = "import socket\n\
        server = socket.create_server(('0.0.0.0', 8080))\n\
        client = socket.create_connection(('127.0.0.1', 8080))\n\
        server.accept()[0].sendall(b'inside')\n\
        print(client.recv(10).decode())";
    let audit = world.path("audit");
    let options = ["run", "--net", "example.com", "--audit", audit.to_str().unwrap()];
    let output = world.pinfold(&[&options[..], &["--", "python3", "-c", script]].concat());
    assert_eq!(output.stdout, "inside\n", "{}", output.stderr);
    let audit = std::fs::read_to_string(audit).unwrap();
    assert!(!audit.contains("8080"), "{audit}");
}

/// Case N73.
#[test]
fn n73_what_the_command_leaves_behind_has_no_network_and_no_life() {
    let (world, server) = (World::new("net-daemon"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    world.file(
        "fetch",
        &format!(
            "exec 3<>/dev/tcp/127.0.0.1/3128\n\
             printf 'GET http://{rule}/ HTTP/1.1\\r\\nHost: {rule}\\r\\n\\r\\n' >&3\n\
             timeout 5 head -c 12 <&3\n"
        ),
    );
    let daemon = "setsid sh -c '(sleep 1; bash fetch) >late 2>&1 &'";
    let script = format!("bash fetch >soon; {daemon}");
    let output = world.pinfold(&["run", "--net", &rule, "--", "sh", "-c", &script]);
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert_eq!(std::fs::read_to_string(world.path("soon")).unwrap(), "HTTP/1.1 200");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(server.seen(), 1, "the daemon has reached the server");
    // The same daemon of a command that waits for it: this test can fail.
    let waits = format!("{daemon}; sleep 3");
    world.pinfold(&["run", "--net", &rule, "--", "sh", "-c", &waits]);
    assert_eq!(server.seen(), 1);
}

#[test]
fn names_are_answered_inside_and_programs_are_led_to_the_proxy() {
    let world = World::new("net-names");
    let script = "getent ahostsv4 some.example | head -1; echo $https_proxy; echo $no_proxy";
    let output = world.pinfold(&["run", "--net", "example.com", "--", "sh", "-c", script]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].starts_with("198.1"), "{}{}", output.stdout, output.stderr);
    assert_eq!(lines[1], "http://127.0.0.1:3128");
    assert_eq!(lines[2], "localhost,127.0.0.1,::1");
}

#[test]
fn an_open_network_is_the_hosts() {
    let (world, server) = (World::new("net-open"), Server::start());
    let url = format!("http://127.0.0.1:{}/", server.port);
    let output = ask(&world, &["--net", "open"], ("127.0.0.1", server.port), &url);
    assert!(output.stdout.ends_with("served"), "{}{}", output.stdout, output.stderr);
}

#[test]
fn a_program_decides_about_ask_rules_and_the_audit_says_so() {
    let (world, server) = (World::new("net-ask"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    let url = format!("http://{rule}/");
    for (decision, served) in [("allow", true), ("deny", false)] {
        world.file(
            "decider",
            &format!(
                "#!/bin/sh\nwhile read -r question; do\n  id=$(expr \"$question\" : '.*\"id\":\\([0-9]*\\)')\n  \
                 echo \"{{\\\"id\\\":$id,\\\"decision\\\":\\\"{decision}\\\"}}\"\ndone\n"
            ),
        );
        world.outside("chmod +x decider");
        let (decider, audit) = (world.path("decider"), world.path("audit"));
        let asked = format!("{rule}=ask");
        let options = [
            "--net",
            asked.as_str(),
            "--decider",
            decider.to_str().unwrap(),
            "--audit",
            audit.to_str().unwrap(),
        ];
        let output = ask(&world, &options, ("127.0.0.1", 3128), &url);
        assert_eq!(output.stdout.ends_with("served"), served, "{}{}", output.stdout, output.stderr);
    }
    assert_eq!(server.seen(), 1);
    let audit = std::fs::read_to_string(world.path("audit")).unwrap();
    assert!(audit.contains("\"decision\":\"allow\""), "{audit}");
    assert!(audit.contains("\"reason\":\"ask_denied\""), "{audit}");
}

#[test]
fn a_proxy_that_cannot_start_stops_the_run() {
    let world = World::new("net-fail");
    for options in [&["--decider", "/no/such/program"][..], &["--audit", "/no/such/dir/file"]] {
        let mut arguments = vec!["run", "--net", "example.com"];
        arguments.extend(options);
        arguments.extend(["--", "touch", "ran"]);
        let output = world.pinfold(&arguments);
        assert_eq!(output.status, 125, "{}", output.stderr);
        assert!(output.stderr.contains("hint: "), "{}", output.stderr);
        assert!(!world.path("ran").exists(), "the command ran without a proxy");
    }
}

/// A proxy of the caller's own that remembers what it is asked for, and answers itself.
fn upstream() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            let tunnel = first.starts_with("CONNECT");
            noted.lock().unwrap().push(first);
            if tunnel {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            }
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved",
            );
        }
    });
    (port, asked)
}

#[test]
fn the_callers_proxy_resolves_names_only_where_the_profile_says_so() {
    let configuration = |resolves: &str| {
        format!(
            "default_permissions = \"p\"\n[permissions.p]\nextends = \":workspace\"\n\
             [permissions.p.network]\nenabled = true\n{resolves}\n\
             [permissions.p.network.domains]\n\"no.such.invalid\" = \"allow\"\n\"no.such.invalid:8080\" = \"allow\"\n"
        )
    };
    let world = World::new("net-upstream");
    let (port, asked) = upstream();
    let script = "exec 3<>/dev/tcp/$1/$2; printf 'GET %s HTTP/1.1\\r\\nHost: no.such.invalid%s\\r\\n\\r\\n' $3 $4 >&3
        timeout 5 cat <&3 | tail -n 1; echo";
    let through = |address: &str, port_inside: &str, url: &str, suffix: &str| {
        let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
        command.env("HTTPS_PROXY", format!("http://user:pass@127.0.0.1:{port}"));
        command.args([
            "run",
            "-q",
            "--",
            "bash",
            "-c",
            script,
            "bash",
            address,
            port_inside,
            url,
            suffix,
        ]);
        world.output(&mut command).stdout
    };
    // What goes to the proxy inside, and what is captured.
    let plain = ("127.0.0.1", "3128", "http://no.such.invalid/", "");
    let captured = ("no.such.invalid", "8080", "/", ":8080");
    for (address, port, url, suffix) in [plain, captured] {
        world.configuration(&configuration(""));
        assert!(!through(address, port, url, suffix).contains("served"), "{url}");
        assert_eq!(asked.lock().unwrap().len(), 0, "{url}");
        world.configuration(&configuration("upstream_resolves = true"));
        assert_eq!(through(address, port, url, suffix), "served\n", "{url}");
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        let expected =
            ["GET http://no.such.invalid/ HTTP/1.1", "CONNECT no.such.invalid:8080 HTTP/1.1"];
        assert!(expected.contains(&asked[0].as_str()), "{asked:?}");
    }
}

#[test]
fn what_a_message_is_sent_to_is_told_where_everything_is_looked_at() {
    // One message, and then two in one call.
    const SEND: &str = "
import ctypes, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: s.sendmsg([b'x'], [], 0, ('192.0.2.7', 9))
except OSError: pass
names, headers = [], b''
for last in (8, 9):
    name = struct.pack('=HH4B8x', socket.AF_INET, socket.htons(9), 192, 0, 2, last)
    names.append(ctypes.create_string_buffer(name, len(name)))
    headers += struct.pack('QI4xQQQQi4xI4x', ctypes.addressof(names[-1]), len(name), 0, 0, 0, 0, 0, 0)
assert len(headers) == 128
ctypes.CDLL(None).sendmmsg(s.fileno(), ctypes.create_string_buffer(headers, 128), 2, 0)
print('sent')";
    let world = World::new("network-messages");
    for (level, told) in [("all", true), ("writes", false)] {
        let level = format!("--log-denials={level}");
        let output = world.pinfold(&["run", &level, "--", "python3", "-c", SEND]);
        assert_eq!((output.status, output.stdout.as_str()), (0, "sent\n"), "{}", output.stderr);
        for address in ["192.0.2.7:9", "192.0.2.8:9", "192.0.2.9:9"] {
            assert_eq!(output.stderr.contains(address), told, "{level}: {}", output.stderr);
        }
    }
}
