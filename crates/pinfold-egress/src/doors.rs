//! The doors: listening sockets, and what the first byte on them says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pinfold_policy::net::{Host, Introduction, Secret};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::datagrams::Datagrams;
use crate::defect::{Defect, Guarded, guarded};
use crate::dns::{Names, answer, is_fake, serve_stream};
use crate::farewell::{ACCESS_DENIED, ssh_disconnect};
use crate::gate::{Gate, Request};
use crate::hello::{HelloError, client_hello};
use crate::http::{self, Scope, first_line_is_request};
use crate::link::Link;
use crate::refusal::{Connection, Protocol, Reason, Refusal, SERVED};
use crate::{socks, tunnel};

/// Pause when the system has no descriptor left for a connection, or reports an
/// error on a socket that lives on.
const NO_DESCRIPTOR: Duration = Duration::from_millis(50);

/// Where questions to a name server go.
const NAMES_PORT: u16 = 53;

/// Time for a refused client to show what it speaks.
const SHOW: Duration = Duration::from_secs(2);

/// Time for open connections to deliver their last bytes when the run ends.
const DRAIN: Duration = Duration::from_millis(200);

/// A listening socket and what it is for. It may belong to another network
/// namespace than this process.
#[derive(Debug)]
pub enum Door {
    /// HTTP, CONNECT, SOCKS 5 and SOCKS 4a, told apart by the first byte.
    Proxy(std::net::TcpListener),
    /// Connections that were meant for somewhere else: their local address is
    /// where to. Addresses that [`Names`] handed out stand for their names.
    Captured(std::net::TcpListener),
    /// Connections that were led here, and say where they were meant to go: a
    /// [`pinfold_policy::net::Introduction`] with this secret comes first. One to the door itself
    /// is as at [`Door::Proxy`], one to port 53 as at [`Door::NamesStream`], every other
    /// as at [`Door::Captured`].
    Led(std::net::TcpListener, Secret),
    /// Connections that all go to one host and port, such as a service on the
    /// host's loopback that a rule allows.
    Forward(std::net::TcpListener, Host, u16),
    /// Questions to a name server over UDP.
    Names(std::net::UdpSocket),
    /// Questions to a name server over TCP.
    NamesStream(std::net::TcpListener),
}

/// Everything a door needs.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) gate: Arc<Gate>,
    pub(crate) names: Arc<Mutex<Names>>,
    connections: Arc<Semaphore>,
}

/// What an accepted connection is for.
#[derive(Clone)]
enum Purpose {
    Proxy,
    Captured,
    Led(Secret),
    Forward(Host, u16),
    Names,
}

impl Purpose {
    fn protocol(&self) -> Protocol {
        match self {
            Purpose::Proxy => Protocol::Http,
            Purpose::Captured | Purpose::Led(_) | Purpose::Forward(..) => Protocol::Tcp,
            Purpose::Names => Protocol::Dns,
        }
    }
}

impl House {
    pub(crate) fn new(gate: Arc<Gate>) -> House {
        let Gate { bounds, .. } = gate.as_ref();
        let names = Arc::new(Mutex::new(Names::new(bounds.names)));
        let connections = Arc::new(Semaphore::new(bounds.connections));
        House { gate, names, connections }
    }

    /// Opens the doors and serves until `end` comes.
    pub(crate) async fn serve(
        &self,
        doors: Vec<Door>,
        end: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut open = JoinSet::new();
        for door in doors {
            let house = self.clone();
            match door {
                Door::Proxy(listener) => {
                    open.spawn(house.accept(registered(listener)?, Purpose::Proxy));
                }
                Door::Captured(listener) => {
                    open.spawn(house.accept(registered(listener)?, Purpose::Captured));
                }
                Door::Led(listener, secret) => {
                    open.spawn(house.accept(registered(listener)?, Purpose::Led(secret)));
                }
                Door::Forward(listener, host, port) => {
                    let purpose = Purpose::Forward(host, port);
                    open.spawn(house.accept(registered(listener)?, purpose));
                }
                Door::NamesStream(listener) => {
                    open.spawn(house.accept(registered(listener)?, Purpose::Names));
                }
                Door::Names(socket) => {
                    open.spawn(house.name_server(Datagrams::new(socket)?));
                }
            }
        }
        end.await;
        open.abort_all();
        // What was sent before the end still goes out, for a moment.
        let all = u32::try_from(self.gate.bounds.connections).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(DRAIN, self.connections.acquire_many(all)).await;
        Ok(())
    }

    /// Accepts until it is dropped; a connection without room is refused.
    async fn accept(self, listener: TcpListener, purpose: Purpose) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (house, purpose) = (self.clone(), purpose.clone());
                    match self.connections.clone().try_acquire_owned() {
                        Ok(place) => {
                            let connection =
                                Connection { from, to: stream.local_addr().unwrap_or(from) };
                            tokio::spawn(SERVED.scope(connection, async move {
                                let protocol = purpose.protocol();
                                if let Err(Defect) =
                                    Guarded(pin!(house.enter(stream, purpose))).await
                                {
                                    house.defective(protocol);
                                }
                                drop(place);
                            }));
                        }
                        Err(_) => house.no_room(&stream, &purpose),
                    }
                }
                // A client that gave up; or no descriptor, until some are closed.
                Err(_) => tokio::time::sleep(NO_DESCRIPTOR).await,
            }
        }
    }

    fn no_room(&self, stream: &TcpStream, purpose: &Purpose) {
        let protocol = purpose.protocol();
        let refusal = self.gate.unread(protocol, Reason::Limit, "too many connections at once");
        self.gate.refused(&refusal);
        if protocol == Protocol::Http {
            // Without waiting: whoever floods does not get more.
            let _ = stream.try_write(&refusal.http(false));
        }
    }

    /// Says that a connection, or a question, met a defect of this proxy.
    fn defective(&self, protocol: Protocol) {
        let detail = "the proxy has a defect, which ended this connection; please report it";
        self.gate.refused(&self.gate.unread(protocol, Reason::Defect, detail));
    }

    async fn enter(&self, stream: TcpStream, purpose: Purpose) {
        let local = stream.local_addr();
        let mut client = Link::new(stream, self.gate.bounds.idle_time);
        match (purpose, local) {
            (Purpose::Proxy, _) => self.proxy(client).await,
            (Purpose::Forward(host, port), _) => {
                self.pass(client, Request::new(Protocol::Tcp, host, port)).await;
            }
            (Purpose::Captured, Ok(local)) => {
                if let Some(request) = self.captured(local) {
                    self.pass(client, request).await;
                }
            }
            (Purpose::Led(secret), Ok(local)) => {
                let introduced = introduced(&mut client, &secret);
                let introduced = tokio::time::timeout(self.gate.bounds.head_time, introduced);
                match introduced.await {
                    Ok(Some(to)) if to == local => self.proxy(client).await,
                    Ok(Some(to)) if to.port() == NAMES_PORT => {
                        serve_stream(&self.gate, &self.names, client).await;
                    }
                    Ok(Some(to)) => self.pass(client, self.meant_for(to)).await,
                    // Somebody else on this host.
                    Ok(None) | Err(_) => {}
                }
            }
            (Purpose::Names, _) => serve_stream(&self.gate, &self.names, client).await,
            (Purpose::Captured | Purpose::Led(_), Err(_)) => {}
        }
    }

    /// Serves a client that knows of the proxy.
    async fn proxy(&self, mut client: Link) {
        if client.ahead.is_empty() {
            let first = tokio::time::timeout(self.gate.bounds.head_time, client.fill());
            if !matches!(first.await, Ok(Ok(true))) {
                return;
            }
        }
        match client.ahead.bytes().first() {
            Some(version @ (4 | 5)) => {
                let version = *version;
                socks::serve(&self.gate, client, version).await;
            }
            _ => http::serve(&self.gate, client, Scope::Proxy, None).await,
        }
    }

    /// What a connection to this address was meant for; nothing when it was meant
    /// for the command's own loopback.
    fn captured(&self, local: SocketAddr) -> Option<Request> {
        match Host::from(local.ip()) {
            Host::Address(address) if address.is_loopback() => None,
            _ => Some(self.meant_for(local)),
        }
    }

    /// The same where loopback is the host's.
    fn meant_for(&self, destination: SocketAddr) -> Request {
        let port = destination.port();
        let host = match Host::from(destination.ip()) {
            Host::Address(IpAddr::V4(address)) if is_fake(address) => {
                let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                match names.name(address) {
                    Some(name) => Host::Name(name.into()),
                    None => Host::Address(IpAddr::V4(address)),
                }
            }
            Host::Address(address) => self.gate.named(address, port),
            host => host,
        };
        Request::new(Protocol::Tcp, host, port)
    }

    async fn pass(&self, client: Link, request: Request) {
        match tunnel::open(&self.gate, &request).await {
            Ok((grant, origin)) => tunnel::carry(&self.gate, client, origin, request, grant).await,
            Err(refusal) => self.turn_away(client, request, refusal).await,
        }
    }

    /// Refuses a captured client in words that it understands.
    async fn turn_away(&self, mut client: Link, request: Request, mut refusal: Box<Refusal>) {
        const SSH: u16 = 22;
        let spoken = if request.port == SSH {
            Spoken::Ssh
        } else {
            tokio::time::timeout(SHOW, spoken(&mut client)).await.unwrap_or(Spoken::Unknown)
        };
        if let (Spoken::Tls(name), Some(request)) = (&spoken, &mut refusal.request) {
            request.sni.clone_from(name);
        }
        self.gate.refused(&refusal);
        let words = match spoken {
            Spoken::Ssh => ssh_disconnect(&refusal.line()),
            Spoken::Tls(_) => ACCESS_DENIED.to_vec(),
            Spoken::Http => refusal.http(false),
            Spoken::Unknown => Vec::new(),
        };
        // The client may have gone already.
        let _ = client.write(&words).await;
        client.finish().await;
    }

    async fn name_server(self, mut socket: Datagrams) {
        loop {
            let Ok((ends, questions)) = socket.receive().await else {
                // An earlier answer could not be delivered; the socket lives on.
                tokio::time::sleep(NO_DESCRIPTOR).await;
                continue;
            };
            for question in questions {
                match guarded(|| answer(self.gate.policy.policy(), &self.names, &question)) {
                    // A lost answer is asked for again.
                    Ok(Some(reply)) => drop(socket.answer(ends, &reply).await),
                    Ok(None) => {}
                    Err(Defect) => self.defective(Protocol::Dns),
                }
            }
        }
    }
}

/// Where a connection was meant to go; nothing when it does not know the secret.
async fn introduced(client: &mut Link, secret: &Secret) -> Option<SocketAddr> {
    while client.ahead.bytes().len() < Introduction::LENGTH {
        if !matches!(client.fill().await, Ok(true)) {
            return None;
        }
    }
    let bytes = client.ahead.take(Introduction::LENGTH);
    let introduction = Introduction::of(bytes.first_chunk()?);
    (introduction.secret == *secret).then_some(introduction.destination)
}

fn registered(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// What a refused client speaks.
enum Spoken {
    Ssh,
    Tls(Option<String>),
    Http,
    Unknown,
}

async fn spoken(client: &mut Link) -> Spoken {
    loop {
        let bytes = client.ahead.bytes();
        let known = match bytes.first() {
            None => None,
            Some(22) => match client_hello(bytes) {
                Ok(hello) => Some(Spoken::Tls(hello.server_name)),
                Err(HelloError::Incomplete) => None,
                Err(HelloError::Invalid) => Some(Spoken::Unknown),
            },
            Some(_) => first_line_is_request(bytes)
                .map(|is| if is { Spoken::Http } else { Spoken::Unknown }),
        };
        if let Some(known) = known {
            return known;
        }
        if !matches!(client.fill().await, Ok(true)) {
            return Spoken::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use pinfold_policy::origin::Origin;
    use pinfold_policy::profile::{NetAccess, NetMode, NetPolicy};

    #[test]
    fn a_captured_connection_is_known_by_its_address() {
        let policy = NetPolicy {
            access: NetAccess::Rules,
            origin: Origin::BuiltIn("test"),
            mode: NetMode::Full,
            allow_local_binding: None,
            upstream_resolves: false,
            hosts: Vec::new(),
            unix_sockets: Vec::new(),
        };
        let house = House::new(Arc::new(Gate::new(policy, Options::default())));
        let fake = house.names.lock().unwrap().address("ok.test").unwrap();
        for (name, address, expected) in [
            ("an address that stands for a name", format!("{fake}:443"), Some("ok.test")),
            ("the same in IPv6 form", format!("[::ffff:{fake}]:443"), Some("ok.test")),
            ("one that stands for nothing", "198.19.255.255:443".into(), Some("198.19.255.255")),
            ("an address of the Internet", "93.184.216.34:443".into(), Some("93.184.216.34")),
            ("the command's own loopback", "127.0.0.1:443".into(), None),
            ("the same over IPv6", "[::1]:443".into(), None),
        ] {
            let request = house.captured(address.parse().unwrap());
            let host = request.map(|request| request.host.to_string());
            assert_eq!(host.as_deref(), expected, "{name}");
        }
    }
}
