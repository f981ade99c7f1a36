//! Tunnels: what flows through one must be for the host that it was opened for.

use std::io;
use std::time::Duration;

use pinfold_policy::net::{Host, HostReason};
use pinfold_policy::profile::NetMode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::farewell::ACCESS_DENIED;
use crate::gate::{Gate, Grant, Request, Via};
use crate::hello::{HelloError, client_hello};
use crate::http::{self, Route, Scope, first_line_is_request, is_web};
use crate::journal::Event;
use crate::link::Link;
use crate::refusal::{Reason, Refusal};

/// First byte of a TLS client.
const HANDSHAKE: u8 = 22;

/// Wait for the rest of what may become a request line, where it need not be one.
const SHORT_MESSAGE: Duration = Duration::from_millis(100);

/// Bytes of a tunnel's buffer, in each direction: at first, and in full flow.
const SMALLEST_BUFFER: usize = 16 * 1024;
const LARGEST_BUFFER: usize = 256 * 1024;

/// What a client begins with.
enum Opening {
    Tls(Option<String>),
    Http,
    /// Neither, or the server spoke first.
    Other,
    /// A hello or a request line that never came, or makes no sense.
    Unclear(&'static str),
    Closed,
}

/// Admits a tunnel and connects it, but sends nothing.
pub(crate) async fn open(gate: &Gate, request: &Request) -> Result<(Grant, Link), Box<Refusal>> {
    let grant = gate.admit(request).await?;
    if gate.policy.policy().mode == NetMode::Limited && request.port == 443 {
        let detail = "limited mode reads every request, and TLS cannot be read";
        return Err(Refusal::new(grant.id, request, Reason::Method, detail));
    }
    let origin = gate.reach(request, &grant).await?;
    Ok((grant, origin))
}

/// Serves one CONNECT request.
pub(crate) async fn connect(gate: &Gate, mut client: Link, request: Request) {
    match open(gate, &request).await {
        Ok((grant, origin)) => {
            if client.write(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
                carry(gate, client, origin, request, grant).await;
            }
        }
        Err(refusal) => {
            gate.refused(&refusal);
            // The client may have gone already.
            let _ = client.write(&refusal.http(false)).await;
            client.finish().await;
        }
    }
}

/// Looks at what the client begins with, and lets it through if it fits.
pub(crate) async fn carry(
    gate: &Gate,
    mut client: Link,
    mut origin: Link,
    mut request: Request,
    grant: Grant,
) {
    let opening = first_words(gate, &mut client, &mut origin, request.port).await;
    let limited = gate.policy.policy().mode == NetMode::Limited;
    let refusal = match opening {
        Ok(Opening::Http) => {
            let scope = Scope::Tunnel(request.host.clone(), request.port);
            let route = Route {
                link: origin,
                host: request.host,
                port: request.port,
                id: grant.id,
                via: Via::Origin,
            };
            // The conversation and the tunnel call each other.
            return Box::pin(http::serve(gate, client, scope, Some(route))).await;
        }
        Ok(Opening::Tls(name)) => {
            request.sni = name;
            if limited {
                Some((Reason::Method, "limited mode reads every request, and TLS cannot be read"))
            } else {
                name_mismatch(gate, &request)
            }
        }
        Ok(Opening::Other) if limited => {
            Some((Reason::Method, "limited mode lets only readable HTTP requests through"))
        }
        Ok(Opening::Other) if is_web(request.port) => {
            Some((Reason::Unsupported, "neither TLS nor HTTP on a port of the web"))
        }
        Ok(Opening::Other) => None,
        Ok(Opening::Unclear(why)) => Some((Reason::Malformed, why)),
        Ok(Opening::Closed) | Err(_) => {
            gate.journal.record(&Event::Closed { id: grant.id, sent: 0, received: 0 });
            return;
        }
    };
    match refusal {
        None => relay(gate, client, origin, grant.id).await,
        Some((reason, detail)) => {
            let refusal = Refusal::new(grant.id, &request, reason, detail);
            gate.refused(&refusal);
            if client.ahead.bytes().first() == Some(&HANDSHAKE) {
                // The client may have gone already.
                let _ = client.write(&ACCESS_DENIED).await;
            }
            client.finish().await;
        }
    }
}

/// Whether the name in the hello is another one than the tunnel's. A tunnel to
/// an address may name anything that no rule denies; a port that is not the
/// web's may go without a name.
fn name_mismatch(gate: &Gate, request: &Request) -> Option<(Reason, &'static str)> {
    let mismatch = |why| Some((Reason::SniMismatch, why));
    let Some(name) = &request.sni else {
        return match &request.host {
            Host::Name(_) if is_web(request.port) => mismatch("the TLS hello names no host"),
            _ => None,
        };
    };
    let Ok(named) = Host::parse(name) else {
        return mismatch("the TLS hello names something that is no host");
    };
    match &request.host {
        host if *host == named => None,
        Host::Name(_) => mismatch("the TLS hello names another host than the tunnel"),
        Host::Address(_) => match gate.policy.decide_host(&named, request.port).reason {
            HostReason::Denied => mismatch("the TLS hello names a host that is denied"),
            _ => None,
        },
    }
}

/// Reads until it is clear what the client speaks. Where the client need not
/// speak first, what the server says passes meanwhile.
async fn first_words(
    gate: &Gate,
    client: &mut Link,
    origin: &mut Link,
    port: u16,
) -> io::Result<Opening> {
    if !is_web(port) && client.ahead.is_empty() {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_origin, _) = origin.split();
        tokio::select! {
            more = from_client.fill() => if !more? {
                return Ok(Opening::Other);
            },
            more = from_origin.fill() => {
                if more? {
                    let said = from_origin.ahead().take_all();
                    to_client.write_all(&said).await?;
                }
                return Ok(Opening::Other);
            }
        }
    }
    let may_be_short = !is_web(port) && client.ahead.bytes().first() != Some(&HANDSHAKE);
    let reading = async {
        loop {
            if let Some(opening) = opening(client.ahead.bytes(), gate.bounds.head) {
                return Ok(opening);
            }
            if !client.fill().await? {
                return Ok(if client.ahead.is_empty() { Opening::Closed } else { Opening::Other });
            }
        }
    };
    if may_be_short {
        // A protocol with short messages, or the slow beginning of a request,
        // which may be anything on a port that is not the web's.
        return tokio::time::timeout(SHORT_MESSAGE, reading).await.unwrap_or(Ok(Opening::Other));
    }
    let late = Ok(Opening::Unclear("the client did not say what it wants in time"));
    tokio::time::timeout(gate.bounds.head_time, reading).await.unwrap_or(late)
}

/// What these first bytes are; nothing when more are needed.
fn opening(bytes: &[u8], most: usize) -> Option<Opening> {
    match bytes {
        [] => None,
        [HANDSHAKE] | [HANDSHAKE, 3, ..] => match client_hello(bytes) {
            Ok(hello) => Some(Opening::Tls(hello.server_name)),
            Err(HelloError::Incomplete) if bytes.len() < most => None,
            Err(HelloError::Incomplete) => Some(Opening::Unclear("the TLS hello is too long")),
            Err(HelloError::Invalid) => Some(Opening::Unclear("the TLS hello is malformed")),
        },
        _ => match first_line_is_request(bytes)? {
            true => Some(Opening::Http),
            false => Some(Opening::Other),
        },
    }
}

/// Copies both ways until both sides have closed; one side may close first.
pub(crate) async fn relay(gate: &Gate, mut client: Link, mut origin: Link, id: u64) {
    let (out, back) = (client.ahead.take_all(), origin.ahead.take_all());
    let (mut sent, mut received) = (0, 0);
    let (mut from_client, mut to_client) = client.stream.split();
    let (mut from_origin, mut to_origin) = origin.stream.split();
    // A reset ends a tunnel like any other end.
    let _ = tokio::try_join!(
        pump(&out, &mut from_client, &mut to_origin, &mut sent),
        pump(&back, &mut from_origin, &mut to_client, &mut received),
    );
    gate.journal.record(&Event::Closed { id, sent, received });
}

/// Copies one way to the end, first what was read ahead. The buffer is small
/// while little flows and grows with the stream: idle tunnels cost little memory
/// and bulk few system calls.
async fn pump(
    ahead: &[u8],
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    count: &mut u64,
) -> io::Result<()> {
    to.write_all(ahead).await?;
    *count += ahead.len() as u64;
    let mut room = vec![0; SMALLEST_BUFFER];
    loop {
        let length = from.read(&mut room).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(room.get(..length).unwrap_or_default()).await?;
        *count += length as u64;
        if length == room.len() && length < LARGEST_BUFFER {
            room = vec![0; length * 4];
        }
    }
}
