//! A client's connection, request by request: each is decided on its own.

use std::time::Duration;

use pinfold_policy::net::{DEFAULT_PORTS, Host, HostReason};
use pinfold_policy::profile::NetMode;

use super::body::{Writing, copy_body};
use super::exchange::{Ending, Traffic, exchange};
use super::head::{Framing, Malformed, RequestHead, Target, head_end, parse_request};
use crate::gate::{Gate, Grant, Request, Via};
use crate::journal::Event;
use crate::link::Link;
use crate::refusal::{Protocol, Reason, Refusal};
use crate::tunnel;
use crate::upstream::base64;

/// Largest body of a refused request that is read so that the connection can go
/// on.
const LARGEST_REFUSED_BODY: u64 = 64 * 1024;

/// What requests on a connection may be for.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// Anything: the client speaks to a proxy.
    Proxy,
    /// One host and port: the client speaks through a tunnel.
    Tunnel(Host, u16),
}

/// A connection to an origin that can take the next request.
pub(crate) struct Route {
    pub(crate) link: Link,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The request that opened it.
    pub(crate) id: u64,
    pub(crate) via: Via,
}

/// What to do after a request.
enum Step {
    Again,
    Close,
    Connect(Request),
    Switched(Route),
}

struct Conversation<'g> {
    gate: &'g Gate,
    client: Link,
    scope: Scope,
    route: Option<Route>,
    traffic: Traffic,
}

/// Serves one client until it or we close.
pub(crate) async fn serve(gate: &Gate, client: Link, scope: Scope, route: Option<Route>) {
    let traffic = Traffic::default();
    let mut conversation = Conversation { gate, client, scope, route, traffic };
    let mut wait = gate.bounds.head_time;
    loop {
        let step = match conversation.read_head(wait).await {
            Ok(Some(head)) => conversation.step(&head).await,
            Ok(None) => return conversation.close_route(),
            Err(refusal) => conversation.refuse(&refusal, None).await,
        };
        match step {
            Step::Again => wait = gate.bounds.idle_time,
            Step::Close => {
                conversation.close_route();
                return conversation.client.finish().await;
            }
            Step::Connect(request) => {
                conversation.close_route();
                return tunnel::connect(gate, conversation.client, request).await;
            }
            Step::Switched(route) => {
                return tunnel::relay(gate, conversation.client, route.link, route.id).await;
            }
        }
    }
}

impl Conversation<'_> {
    /// Reads one head; nothing when the client is done.
    async fn read_head(&mut self, wait: Duration) -> Result<Option<RequestHead>, Box<Refusal>> {
        let malformed = |why: Malformed| self.gate.unread(Protocol::Http, Reason::Malformed, why);
        // Old clients send an empty line after a body.
        loop {
            if self.client.ahead.bytes().starts_with(b"\r\n") {
                self.client.ahead.consume(2);
            } else if self.client.ahead.bytes().len() >= 2 {
                break;
            } else if !matches!(tokio::time::timeout(wait, self.client.fill()).await, Ok(Ok(true)))
            {
                return Ok(None);
            }
        }
        let time = self.gate.bounds.head_time;
        let most = self.gate.bounds.head;
        match tokio::time::timeout(time, whole_head(&mut self.client, most)).await {
            Ok(Ok(Some(bytes))) => parse_request(&bytes).map(Some).map_err(malformed),
            Ok(Ok(None)) => Ok(None),
            Ok(Err(why)) => Err(malformed(why)),
            Err(_) => Err(malformed("the head did not arrive in time")),
        }
    }

    async fn step(&mut self, head: &RequestHead) -> Step {
        if !self.has_token(head) {
            let detail = "the proxy needs the token of this run";
            let refusal = self.gate.unread(Protocol::Http, Reason::ProxyAuth, detail);
            return self.refuse(&refusal, Some(head)).await;
        }
        let (request, path) = match self.destination(head) {
            Ok(Destination::Connect(request)) => return Step::Connect(request),
            Ok(Destination::Forward(request, path)) => (request, path),
            Err(refusal) => return self.refuse(&refusal, Some(head)).await,
        };
        if self.gate.policy.policy().mode == NetMode::Limited && !is_limited_method(&head.method) {
            let detail = format!(
                "{} in limited mode, which lets GET, HEAD and OPTIONS through",
                head.method
            );
            let id = self.gate.journal.next_id();
            let refusal = Refusal::new(id, &request, Reason::Method, detail);
            return self.refuse(&refusal, Some(head)).await;
        }
        let grant = match self.gate.admit(&request).await {
            Ok(grant) => grant,
            Err(refusal) => return self.refuse(&refusal, Some(head)).await,
        };
        self.forward(head, &request, &grant, &path).await
    }

    /// Sends an admitted request to its origin.
    async fn forward(
        &mut self,
        head: &RequestHead,
        request: &Request,
        grant: &Grant,
        path: &str,
    ) -> Step {
        let upgrade = self.gate.policy.policy().mode == NetMode::Full;
        let authority = self.authority(head, request);
        let most = self.gate.bounds.head;
        loop {
            let mut route = match self.route_for(head, request, grant).await {
                Ok(route) => route,
                Err(refusal) => return self.refuse(&refusal, Some(head)).await,
            };
            let bytes = head.for_origin(&authority, path, upgrade, &route.via);
            let fresh = route.id == grant.id;
            let traffic = &mut self.traffic;
            let ending =
                exchange(&mut self.client, &mut route.link, head, &bytes, most, traffic).await;
            let failed =
                |detail: &str| Refusal::new(grant.id, request, Reason::ConnectFailed, detail);
            match ending {
                Ending::Switched => return Step::Switched(route),
                Ending::Done(reuse) => {
                    self.route = Some(route);
                    if !reuse.origin {
                        self.close_route();
                    }
                    return if reuse.client { Step::Again } else { Step::Close };
                }
                // The origin closed the idle connection while we sent: what only
                // reads can be sent again.
                Ending::Unanswered
                    if !fresh && head.body == Framing::None && is_limited_method(&head.method) =>
                {
                    self.route = Some(route);
                    self.close_route();
                }
                Ending::Unanswered => {
                    let refusal = failed("the origin closed without an answer");
                    return self.refuse(&refusal, None).await;
                }
                Ending::BadAnswer(why) => {
                    let refusal = failed(&format!("the origin's answer is malformed: {why}"));
                    return self.refuse(&refusal, None).await;
                }
                Ending::Broken => {
                    self.route = Some(route);
                    return Step::Close;
                }
            }
        }
    }

    /// What a request is for, checked against what the connection is for.
    fn destination(&self, head: &RequestHead) -> Result<Destination, Box<Refusal>> {
        let malformed = |why: &str| self.gate.unread(Protocol::Http, Reason::Malformed, why);
        let (host, port, path) = match (&self.scope, &head.target) {
            (Scope::Proxy, Target::Authority(host, port)) => {
                let request = Request::new(Protocol::Connect, host.clone(), *port);
                return Ok(Destination::Connect(request));
            }
            (Scope::Tunnel(..), Target::Authority(..)) => {
                return Err(self.gate.unread(
                    Protocol::Http,
                    Reason::Unsupported,
                    "a tunnel inside a tunnel",
                ));
            }
            (Scope::Proxy, Target::Path(_)) => {
                return Err(malformed("this is a proxy: the request line needs a whole URL"));
            }
            (_, Target::Absolute(host, port, path)) => (host, *port, path),
            (Scope::Tunnel(host, port), Target::Path(path)) => (host, *port, path),
        };
        let mut request = Request::new(Protocol::Http, host.clone(), port);
        request.method = Some(head.method.clone());
        request.path = path.split('?').next().map(String::from);
        match &head.host {
            None if !head.version_1_0 => return Err(malformed("the host header is missing")),
            Some((named, named_port)) => {
                self.check_host(&request, named, named_port.unwrap_or(request.port))?;
            }
            None => {}
        }
        if let Scope::Tunnel(host, port) = &self.scope {
            self.check_host(&request, host, *port)?;
        }
        Ok(Destination::Forward(request, path.clone()))
    }

    /// The host that a message names must be the one that is decided about. An
    /// address may be named as anything that no rule denies.
    fn check_host(&self, request: &Request, host: &Host, port: u16) -> Result<(), Box<Refusal>> {
        if *host == request.host && port == request.port {
            return Ok(());
        }
        let by_address = match &self.scope {
            Scope::Tunnel(Host::Address(_), _) => true,
            // What a rule calls by its name was connected to by its address, or the other way.
            Scope::Tunnel(tunnel, _) => tunnel.is_loopback() && host.is_loopback(),
            Scope::Proxy => false,
        };
        let denied = self.gate.policy.decide_host(host, port).reason == HostReason::Denied;
        if by_address && port == request.port && !denied {
            return Ok(());
        }
        let (reason, detail) = match self.scope {
            Scope::Proxy => (Reason::Malformed, "the host header names another host than the URL"),
            Scope::Tunnel(..) => {
                (Reason::HostMismatch, "the request names another host than the tunnel")
            }
        };
        Err(Refusal::new(self.gate.journal.next_id(), request, reason, detail))
    }

    /// The `Host` field for the origin.
    fn authority(&self, head: &RequestHead, request: &Request) -> String {
        let host = match (&self.scope, &head.host) {
            (Scope::Tunnel(Host::Address(_), _), Some((named, _))) => named,
            _ => &request.host,
        };
        match request.port {
            80 => host.to_string(),
            port => format!("{host}:{port}"),
        }
    }

    /// A connection for this request: the open one if it fits, or a new one.
    async fn route_for(
        &mut self,
        head: &RequestHead,
        request: &Request,
        grant: &Grant,
    ) -> Result<Route, Box<Refusal>> {
        if let Some(route) = self.reusable(request) {
            self.gate.allowed(request, grant, None);
            return Ok(route);
        }
        // Upstream proxies switch protocols only inside a tunnel.
        let (link, via) = match head.upgrade.is_some() {
            true => (self.gate.reach(request, grant).await?, Via::Origin),
            false => self.gate.reach_plain(request, grant).await?,
        };
        let (host, port) = (request.host.clone(), request.port);
        Ok(Route { link, host, port, id: grant.id, via })
    }

    /// The open connection, if it leads where the request goes.
    fn reusable(&mut self, request: &Request) -> Option<Route> {
        let route = self.route.take()?;
        let fits = route.host == request.host && route.port == request.port;
        if fits && !route.link.is_stale() {
            return Some(route);
        }
        self.route = Some(route);
        self.close_route();
        None
    }

    fn close_route(&mut self) {
        if let Some(route) = self.route.take() {
            let Traffic { sent, received } = std::mem::take(&mut self.traffic);
            self.gate.journal.record(&Event::Closed { id: route.id, sent, received });
        }
    }

    fn has_token(&self, head: &RequestHead) -> bool {
        let (Some(token), Scope::Proxy) = (&self.gate.token, &self.scope) else { return true };
        let expected = format!("Basic {}", base64(format!("pinfold:{token}").as_bytes()));
        head.headers.values("proxy-authorization").any(|value| value == expected.as_bytes())
    }

    /// Answers with a refusal. The connection goes on when the rest of the
    /// request is known and short.
    async fn refuse(&mut self, refusal: &Refusal, head: Option<&RequestHead>) -> Step {
        self.gate.refused(refusal);
        let readable = |head: &&RequestHead| {
            head.keep_alive && !head.expects_continue && refusal.reason != Reason::Malformed
        };
        let keep = match head.filter(readable) {
            Some(head) => match head.body {
                Framing::None => true,
                Framing::Length(length) if length <= LARGEST_REFUSED_BODY => {
                    let mut waste = tokio::io::sink();
                    let mut source = self.client.split().0;
                    let read = copy_body(&mut source, &mut waste, head.body, Writing::Plain);
                    matches!(
                        tokio::time::timeout(self.gate.bounds.head_time, read).await,
                        Ok(Ok(_))
                    )
                }
                _ => false,
            },
            None => false,
        };
        let sent = self.client.write(&refusal.http(keep)).await;
        if keep && sent.is_ok() { Step::Again } else { Step::Close }
    }
}

enum Destination {
    Connect(Request),
    Forward(Request, String),
}

/// Reads to the end of a head; nothing when the client closes.
async fn whole_head(client: &mut Link, most: usize) -> Result<Option<Vec<u8>>, Malformed> {
    let mut seen = 0;
    loop {
        let bytes = client.ahead.bytes();
        if let Some(end) = head_end(bytes, seen)? {
            return Ok(Some(client.ahead.take(end)));
        }
        seen = bytes.len();
        if seen >= most {
            return Err("the head is too long");
        }
        if !matches!(client.fill().await, Ok(true)) {
            return Ok(None);
        }
    }
}

fn is_limited_method(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// Whether clients speak first, and only TLS or HTTP, on this port.
pub(crate) fn is_web(port: u16) -> bool {
    DEFAULT_PORTS.contains(&port)
}
