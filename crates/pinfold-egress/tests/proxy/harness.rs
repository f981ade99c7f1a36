//! A proxy between scripted clients and servers on loopback.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinfold_egress::{Door, Egress, Event, Options, Outside, Pending, Running};
use pinfold_policy::net::parse_host_rule;
use pinfold_policy::origin::Origin;
use pinfold_policy::profile::{HostAction, HostRule, NetAccess, NetMode, NetPolicy};

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The names of the test world. Public ones lead to the servers on loopback.
const HOSTS: [(&str, &[&str]); 10] = [
    ("ok.test", &["93.184.216.34"]),
    ("sub.ok.test", &["93.184.216.34"]),
    ("a.b.ok.test", &["93.184.216.34"]),
    ("xn--bcher-kva.test", &["93.184.216.34"]),
    ("deny.test", &["93.184.216.34"]),
    ("priv.test", &["10.0.0.1"]),
    ("meta.test", &["169.254.169.254"]),
    ("mix.test", &["10.0.0.1", "93.184.216.34"]),
    ("two.test", &["2606:4700::1", "93.184.216.34"]),
    ("localhost", &["127.0.0.1"]),
];

/// A policy from lines such as `allow *.ok.test:443`.
pub(crate) fn policy(lines: &[&str]) -> NetPolicy {
    let rule = |line: &&str| {
        let (action, text) = line.split_once(' ').unwrap();
        let (host, ports) = parse_host_rule(text).unwrap();
        let action = match action {
            "allow" => HostAction::Allow,
            "ask" => HostAction::Ask,
            "deny" => HostAction::Deny,
            other => panic!("{other}"),
        };
        HostRule { text: text.into(), host, ports, action, origin: Origin::BuiltIn("test") }
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

/// The network outside, as the test world has it.
#[derive(Default)]
pub(crate) struct World {
    /// Which server on loopback answers for a port, whatever the address.
    servers: Mutex<BTreeMap<u16, SocketAddr>>,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) dialled: Mutex<Vec<String>>,
    pub(crate) events: Mutex<Vec<Event>>,
    /// What the HTTP server saw: one head per request.
    pub(crate) heads: Mutex<Vec<String>>,
}

pub(crate) struct Outdoors(Arc<World>);

impl Outside for Outdoors {
    fn resolve(&self, name: &str) -> Pending<Vec<IpAddr>> {
        self.0.asked.lock().unwrap().push(name.into());
        assert_ne!(name, "defect.test", "a defect of the proxy");
        let found = HOSTS.iter().find(|(host, _)| *host == name);
        let addresses = found.map(|(_, addresses)| {
            addresses.iter().map(|address| address.parse().unwrap()).collect()
        });
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        Box::pin(async move { addresses.ok_or_else(missing) })
    }

    fn connect(&self, address: SocketAddr) -> Pending<tokio::net::TcpStream> {
        self.0.dialled.lock().unwrap().push(address.to_string());
        let server = self.0.servers.lock().unwrap().get(&address.port()).copied();
        Box::pin(async move {
            match server.filter(|_| address.is_ipv4()) {
                Some(server) => tokio::net::TcpStream::connect(server).await,
                None => Err(std::io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}

/// One proxy in its world.
pub(crate) struct Scene {
    pub(crate) world: Arc<World>,
    pub(crate) proxy: SocketAddr,
    pub(crate) running: Option<Running>,
}

impl Scene {
    pub(crate) fn new(lines: &[&str]) -> Scene {
        Scene::with(policy(lines), Options::default(), |listener| vec![Door::Proxy(listener)])
    }

    pub(crate) fn limited(lines: &[&str]) -> Scene {
        let policy = NetPolicy { mode: NetMode::Limited, ..policy(lines) };
        Scene::with(policy, Options::default(), |listener| vec![Door::Proxy(listener)])
    }

    pub(crate) fn with(
        policy: NetPolicy,
        options: Options,
        doors: impl FnOnce(TcpListener) -> Vec<Door>,
    ) -> Scene {
        let world = Arc::new(World::default());
        for port in [80, 3000, 5432, 8443] {
            world.serve(port, http_server);
        }
        for port in [443, 8022] {
            world.serve(port, echo_server);
        }
        world.serve(22, banner_server);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = listener.local_addr().unwrap();
        let watcher = world.clone();
        let options = Options {
            outside: Arc::new(Outdoors(world.clone())),
            observer: Some(Arc::new(move |event: &Event| {
                watcher.events.lock().unwrap().push(event.clone());
            })),
            ..options
        };
        let running = Egress::new(policy, options).start(doors(listener)).unwrap();
        Scene { world, proxy, running: Some(running) }
    }

    pub(crate) fn client(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends everything, closes the writing side and returns all that comes back.
    pub(crate) fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.client();
        // The proxy may close before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        read_all(&mut stream)
    }

    /// The decisions so far: `allow`, or the reason of a refusal.
    pub(crate) fn decisions(&self) -> Vec<&'static str> {
        let events = self.world.events.lock().unwrap();
        let word = |event: &Event| match event {
            Event::Allowed { .. } => Some("allow"),
            Event::Refused(refusal) => Some(refusal.reason.word()),
            Event::Closed { .. } => None,
        };
        events.iter().filter_map(word).collect()
    }

    pub(crate) fn dialled(&self) -> Vec<String> {
        self.world.dialled.lock().unwrap().clone()
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.world.heads.lock().unwrap().clone()
    }
}

pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

impl World {
    pub(crate) fn serve(
        self: &Arc<World>,
        port: u16,
        server: fn(&World, TcpStream) -> std::io::Result<()>,
    ) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.servers.lock().unwrap().insert(port, listener.local_addr().unwrap());
        let world = Arc::downgrade(self);
        // The thread waits for connections until the test process ends.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(world) = world.upgrade() else { return };
                std::thread::spawn(move || server(&world, stream));
            }
        });
    }
}

/// Answers every request with its own head, and keeps the connection.
fn http_server(world: &World, mut stream: TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break bytes.drain(..end + 4).collect::<Vec<u8>>();
            }
            if !read_more(&mut stream, &mut bytes)? {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        world.heads.lock().unwrap().push(head.clone());
        let length = read_body(&mut stream, &mut bytes, &head.to_ascii_lowercase())?;
        if head.contains("Upgrade: websocket") {
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
            stream.write_all(&bytes)?;
            return echo_server(world, stream);
        }
        let body = format!("{head}body {length}\n");
        let part = if head.starts_with("HEAD") { "" } else { &body };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nKeep-Alive: x\r\nContent-Length: {}\r\n\r\n{part}",
            body.len()
        )?;
    }
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut block = [0; 64 * 1024];
    let count = stream.read(&mut block)?;
    bytes.extend(&block[..count]);
    Ok(count > 0)
}

/// Reads the body of a request and returns its length.
fn read_body(stream: &mut TcpStream, bytes: &mut Vec<u8>, head: &str) -> std::io::Result<usize> {
    if head.contains("transfer-encoding: chunked") {
        while !bytes.windows(5).any(|five| five == b"0\r\n\r\n") && read_more(stream, bytes)? {}
        return Ok(std::mem::take(bytes).len());
    }
    let value = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = value.map_or(0, |value| value.parse().unwrap());
    while bytes.len() < length && read_more(stream, bytes)? {}
    Ok(bytes.drain(..length.min(bytes.len())).count())
}

/// Sends back whatever comes, to the end.
pub(crate) fn echo_server(_: &World, mut stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    std::io::copy(&mut stream, &mut writer)?;
    writer.shutdown(Shutdown::Write)
}

/// Speaks first, as SSH servers do, then echoes.
fn banner_server(world: &World, mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"SSH-2.0-origin\r\n")?;
    echo_server(world, stream)
}

/// The hello of a TLS client, padded to `size` bytes.
pub(crate) fn hello(name: Option<&str>, size: usize) -> Vec<u8> {
    let sized = |bytes: Vec<u8>| {
        let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        out.extend(bytes);
        out
    };
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let entry = [vec![0], sized(name.as_bytes().to_vec())].concat();
        extensions.extend([vec![0, 0], sized(sized(entry))].concat());
    }
    extensions.extend([vec![0, 21], sized(vec![0; size])].concat());
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(sized(extensions));
    let message = [vec![1, 0], sized(body)].concat();
    message
        .chunks(16_000)
        .flat_map(|part| [vec![22, 3, 1], sized(part.to_vec())].concat())
        .collect()
}

/// A request for a tunnel.
pub(crate) fn connect(authority: &str) -> Vec<u8> {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes()
}

/// A request for a tunnel and what follows in it.
pub(crate) fn tunnel(authority: &str, inside: &[u8]) -> Vec<u8> {
    [connect(authority), inside.to_vec()].concat()
}

/// A plain request to a proxy.
pub(crate) fn get(host: &str) -> Vec<u8> {
    format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}
