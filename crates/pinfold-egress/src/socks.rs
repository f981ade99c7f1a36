//! SOCKS 5 and 4a, CONNECT only.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use pinfold_policy::net::Host;

use crate::gate::Gate;
use crate::gate::Request;
use crate::link::Link;
use crate::refusal::{Protocol, Reason, Refusal};
use crate::tunnel;

/// Longest user name or host of SOCKS 4.
const LONGEST_TEXT: usize = 255;

const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const GRANTED_4: u8 = 90;
const REJECTED_4: u8 = 91;

/// Why a handshake does not lead to a request.
enum Failure {
    /// The client has gone, or nothing sensible can be answered.
    Gone,
    /// Refused, to be answered with the protocol's own code.
    Refused(Box<Refusal>, u8),
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Gone
    }
}

/// Serves one SOCKS client whose first byte has been seen.
pub(crate) async fn serve(gate: &Gate, mut client: Link, version: u8) {
    let protocol = if version == 5 { Protocol::Socks5 } else { Protocol::Socks4 };
    let handshake = async {
        if protocol == Protocol::Socks5 {
            greet_5(gate, &mut client).await?;
            request_5(gate, &mut client).await
        } else {
            request_4(gate, &mut client).await
        }
    };
    let request = match tokio::time::timeout(gate.bounds.head_time, handshake).await {
        Ok(Ok(request)) => request,
        Ok(Err(Failure::Refused(refusal, code))) => {
            gate.refused(&refusal);
            // The client may have gone already.
            let _ = client.write(&answer(protocol, code)).await;
            return client.finish().await;
        }
        Ok(Err(Failure::Gone)) | Err(_) => return,
    };
    match tunnel::open(gate, &request).await {
        Ok((grant, origin)) => {
            let code = if protocol == Protocol::Socks5 { 0 } else { GRANTED_4 };
            if client.write(&answer(protocol, code)).await.is_ok() {
                tunnel::carry(gate, client, origin, request, grant).await;
            }
        }
        Err(refusal) => {
            gate.refused(&refusal);
            let code = match protocol {
                Protocol::Socks5 => refusal.reason.socks5(),
                _ => REJECTED_4,
            };
            // The client may have gone already.
            let _ = client.write(&answer(protocol, code)).await;
            client.finish().await;
        }
    }
}

/// An answer with no address in it: clients of CONNECT have no use for one.
fn answer(protocol: Protocol, code: u8) -> Vec<u8> {
    match protocol {
        Protocol::Socks5 => vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0],
        _ => vec![0, code, 0, 0, 0, 0, 0, 0],
    }
}

/// Agrees on how to authenticate, and does.
async fn greet_5(gate: &Gate, client: &mut Link) -> Result<(), Failure> {
    let [_, count] = take(client).await?;
    let methods = take_many(client, count.into()).await?;
    let wanted = if gate.token.is_some() { USER_AND_PASSWORD } else { NO_AUTHENTICATION };
    if !methods.contains(&wanted) {
        client.write(&[5, NO_METHOD]).await?;
        return Err(Failure::Gone);
    }
    client.write(&[5, wanted]).await?;
    let Some(token) = &gate.token else { return Ok(()) };
    let [_, user] = take(client).await?;
    take_many(client, user.into()).await?;
    let [length] = take(client).await?;
    let password = take_many(client, length.into()).await?;
    let right = password == token.as_bytes();
    client.write(&[1, u8::from(!right)]).await?;
    if right { Ok(()) } else { Err(Failure::Gone) }
}

async fn request_5(gate: &Gate, client: &mut Link) -> Result<Request, Failure> {
    let fail = |reason: Reason, code: u8, detail: &str| {
        Failure::Refused(gate.unread(Protocol::Socks5, reason, detail), code)
    };
    let [version, command, _, kind] = take(client).await?;
    let host = match kind {
        1 => Ok(Host::from(std::net::IpAddr::from(Ipv4Addr::from(take::<4>(client).await?)))),
        4 => Ok(Host::from(std::net::IpAddr::from(Ipv6Addr::from(take::<16>(client).await?)))),
        3 => {
            let [length] = take(client).await?;
            parse_host(&take_many(client, length.into()).await?)
        }
        _ => return Err(fail(Reason::Unsupported, 8, "an unknown kind of address")),
    };
    let port = u16::from_be_bytes(take(client).await?);
    match host {
        _ if version != 5 => Err(fail(Reason::Malformed, 1, "not a request of SOCKS 5")),
        _ if command != CONNECT => {
            Err(fail(Reason::Unsupported, 7, "only the command CONNECT is supported"))
        }
        Ok(host) if port != 0 => Ok(Request::new(Protocol::Socks5, host, port)),
        Ok(_) => Err(fail(Reason::Malformed, 1, "the port is zero")),
        Err(why) => Err(fail(Reason::Malformed, 1, &why)),
    }
}

async fn request_4(gate: &Gate, client: &mut Link) -> Result<Request, Failure> {
    let fail = |reason: Reason, detail: &str| {
        Failure::Refused(gate.unread(Protocol::Socks4, reason, detail), REJECTED_4)
    };
    let [_, command] = take(client).await?;
    let port = u16::from_be_bytes(take(client).await?);
    let address: [u8; 4] = take(client).await?;
    let user = take_text(client).await?;
    // 0.0.0.x with x not zero announces a name (4a).
    let host = match address {
        [0, 0, 0, last] if last != 0 => parse_host(&take_text(client).await?),
        four => Ok(Host::from(std::net::IpAddr::from(Ipv4Addr::from(four)))),
    };
    if gate.token.as_ref().is_some_and(|token| user != token.as_bytes()) {
        return Err(fail(Reason::ProxyAuth, "the proxy needs the token of this run"));
    }
    match host {
        _ if command != CONNECT => {
            Err(fail(Reason::Unsupported, "only the command CONNECT is supported"))
        }
        Ok(host) if port != 0 => Ok(Request::new(Protocol::Socks4, host, port)),
        Ok(_) => Err(fail(Reason::Malformed, "the port is zero")),
        Err(why) => Err(fail(Reason::Malformed, &why)),
    }
}

/// A host as clients of SOCKS write it: addresses without brackets.
fn parse_host(bytes: &[u8]) -> Result<Host, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| String::from("the host is not text"))?;
    match text.parse::<Ipv6Addr>() {
        Ok(address) => Ok(Host::from(std::net::IpAddr::V6(address))),
        Err(_) => Host::parse(text).map_err(|error| error.to_string()),
    }
}

async fn take<const N: usize>(client: &mut Link) -> Result<[u8; N], Failure> {
    let bytes = take_many(client, N).await?;
    bytes.try_into().map_err(|_| Failure::Gone)
}

async fn take_many(client: &mut Link, count: usize) -> Result<Vec<u8>, Failure> {
    while client.ahead.bytes().len() < count {
        if !client.fill().await? {
            return Err(Failure::Gone);
        }
    }
    Ok(client.ahead.take(count))
}

/// A text that ends in a zero byte.
async fn take_text(client: &mut Link) -> Result<Vec<u8>, Failure> {
    loop {
        let bytes = client.ahead.bytes();
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            let mut text = client.ahead.take(end + 1);
            text.pop();
            return Ok(text);
        }
        if bytes.len() > LONGEST_TEXT || !client.fill().await? {
            return Err(Failure::Gone);
        }
    }
}
