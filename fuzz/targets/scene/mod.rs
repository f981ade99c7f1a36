//! A proxy whose rules allow one host, and what it does outside. Whatever bytes are taken
//! for: no other name is resolved, no other address dialled, and what reaches the origin as
//! a request names that host once and cannot be read in two ways.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use pinfold_egress::{Bounds, Door, Egress, Options, Outside, Pending};
use pinfold_policy::net::parse_host_rule;
use pinfold_policy::origin::Origin;
use pinfold_policy::profile::{HostAction, HostRule, NetAccess, NetMode, NetPolicy};

const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// What happened outside.
#[derive(Default)]
struct World {
    asked: Mutex<Vec<String>>,
    dialled: Mutex<Vec<SocketAddr>>,
    heads: Mutex<Vec<Vec<u8>>>,
}

struct Outdoors {
    world: Arc<World>,
    web: SocketAddr,
    other: SocketAddr,
}

impl Outside for Outdoors {
    fn resolve(&self, name: &str) -> Pending<Vec<IpAddr>> {
        self.world.asked.lock().unwrap().push(name.into());
        Box::pin(async { Ok(vec![PUBLIC]) })
    }

    fn connect(&self, address: SocketAddr) -> Pending<tokio::net::TcpStream> {
        self.world.dialled.lock().unwrap().push(address);
        let server = if address.port() == 80 { self.web } else { self.other };
        Box::pin(tokio::net::TcpStream::connect(server))
    }
}

fn rule(text: &str, action: HostAction) -> HostRule {
    let (host, ports) = parse_host_rule(text).unwrap();
    HostRule { text: text.into(), host, ports, action, origin: Origin::BuiltIn("fuzz") }
}

/// Reads one head, notes it and answers, as long as there are more.
fn serve(mut stream: TcpStream, world: &World) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let (mut head, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            world.heads.lock().unwrap().push(std::mem::take(&mut head));
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let _ = stream.write_all(answer);
            // What follows a body is the next connection's business.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        }
    }
}

fn listen(world: &Arc<World>, serves: fn(TcpStream, &World)) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let world = world.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serves(stream, &world);
        }
    });
    address
}

/// A proxy with this door and its world, which all inputs share.
fn scene(door: fn(TcpListener) -> Door) -> &'static (SocketAddr, Arc<World>) {
    static SCENE: OnceLock<(SocketAddr, Arc<World>)> = OnceLock::new();
    SCENE.get_or_init(|| {
        let world = Arc::new(World::default());
        let web = listen(&world, serve);
        let other = listen(&world, |stream, _| drop(stream));
        let policy = NetPolicy {
            access: NetAccess::Rules,
            origin: Origin::BuiltIn("fuzz"),
            mode: NetMode::Full,
            allow_local_binding: None,
            upstream_resolves: false,
            hosts: vec![rule("ok.test", HostAction::Allow), rule("no.test", HostAction::Deny)],
            unix_sockets: Vec::new(),
        };
        let outside = Arc::new(Outdoors { world: world.clone(), web, other });
        let bounds = Bounds { head_time: Duration::from_secs(2), ..Bounds::default() };
        let options = Options { outside, bounds, ..Options::default() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = listener.local_addr().unwrap();
        let running = Egress::new(policy, options).start(vec![door(listener)]).unwrap();
        std::mem::forget(running);
        (proxy, world)
    })
}

/// One connection with what `words` makes of the address of the door.
pub(crate) fn connect(door: fn(TcpListener) -> Door, words: impl FnOnce(SocketAddr) -> Vec<u8>) {
    let (proxy, world) = scene(door);
    let mut client = TcpStream::connect(proxy).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // A proxy that has refused does not read on.
    let _ = client.write_all(&words(*proxy));
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.read_to_end(&mut Vec::new());
    for name in std::mem::take(&mut *world.asked.lock().unwrap()) {
        assert_eq!(name, "ok.test", "resolved");
    }
    for address in std::mem::take(&mut *world.dialled.lock().unwrap()) {
        assert!(address.ip() == PUBLIC && matches!(address.port(), 80 | 443), "dialled {address}");
    }
    for head in std::mem::take(&mut *world.heads.lock().unwrap()) {
        check(&head);
    }
}

fn check(head: &[u8]) {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(!head.contains(&0), "a NUL: {text}");
    let bare = head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
    assert!(!bare, "a bare line feed: {text}");
    let lines: Vec<&str> = text.split("\r\n").collect();
    let fields = |name: &str| {
        let value = |line: &&str| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
        lines[1..].iter().filter_map(value).collect::<Vec<String>>()
    };
    assert!(!lines[1..].iter().any(|line| line.starts_with([' ', '\t'])), "folded: {text}");
    let name = |line: &&str| line.split(':').next().is_some_and(|name| name.ends_with([' ', '\t']));
    assert!(!lines[1..].iter().any(name), "a space before a colon: {text}");
    let hosts = fields("host");
    let host = hosts.first().map(|host| host.trim());
    assert!(hosts.len() == 1 && matches!(host, Some("ok.test" | "ok.test:80")), "host: {text}");
    let (lengths, encodings) = (fields("content-length"), fields("transfer-encoding"));
    assert!(lengths.len() + encodings.len() <= 1, "two lengths: {text}");
    assert!(encodings.iter().all(|encoding| encoding.trim() == "chunked"), "{text}");
    assert!(!lines[1..].iter().any(|line| line.starts_with("proxy-")), "for one hop: {text}");
}
