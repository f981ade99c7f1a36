//! The gate: nothing gets a connection but through here.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pinfold_policy::net::{Host, IndexedPolicy};
use pinfold_policy::profile::{HostAction, NetPolicy};

use crate::ask::Book;
use crate::dial::dial;
use crate::journal::{Event, Journal};
use crate::link::Link;
use crate::options::{Bounds, Options};
use crate::outside::Outside;
use crate::refusal::{Protocol, Reason, Refusal, SERVED};
use crate::upstream::{Resolution, Upstream};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How it spoke.
    pub protocol: Protocol,
    /// The host that it named.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The name in the TLS hello, when one was seen.
    pub sni: Option<String>,
    /// The HTTP method, when it is readable.
    pub method: Option<String>,
    /// The HTTP path without its query, when it is readable.
    pub path: Option<String>,
}

impl Request {
    pub(crate) fn new(protocol: Protocol, host: Host, port: u16) -> Request {
        Request { protocol, host, port, sni: None, method: None, path: None }
    }
}

/// A request that the rules let through.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) id: u64,
    rule: Option<String>,
}

/// Who is at the other end of a connection for plain requests.
#[derive(Clone, Debug)]
pub(crate) enum Via {
    /// The origin: it is sent paths.
    Origin,
    /// The upstream proxy: it is sent whole URLs.
    Upstream { authorization: Option<String> },
}

impl Grant {
    fn no_connection(&self, request: &Request, error: &std::io::Error) -> Box<Refusal> {
        let reason = match error.kind() {
            ErrorKind::TimedOut => Reason::Timeout,
            _ => Reason::ConnectFailed,
        };
        self.failure(request, reason, format!("cannot connect: {error}"))
    }

    /// Why a request that the rules let through failed all the same.
    fn failure(&self, request: &Request, reason: Reason, detail: String) -> Box<Refusal> {
        let mut refusal = Refusal::new(self.id, request, reason, detail);
        refusal.rule.clone_from(&self.rule);
        refusal
    }
}

/// Everything that the tasks of one proxy share.
pub(crate) struct Gate {
    pub(crate) policy: IndexedPolicy,
    pub(crate) bounds: Bounds,
    pub(crate) journal: Journal,
    pub(crate) token: Option<String>,
    outside: Arc<dyn Outside>,
    upstream: Option<Upstream>,
    book: Book,
}

impl Gate {
    pub(crate) fn new(policy: NetPolicy, options: Options) -> Gate {
        Gate {
            policy: IndexedPolicy::new(policy),
            bounds: options.bounds,
            journal: Journal::new(options.run, options.clock, options.observer, options.audit),
            token: options.token,
            outside: options.outside,
            upstream: options.upstream,
            book: Book::new(options.decider, options.bounds.ask_time),
        }
    }

    /// Decides by name, address and port alone, asking where a rule says so.
    /// Nothing is resolved and nothing is sent.
    pub(crate) async fn admit(&self, request: &Request) -> Result<Grant, Box<Refusal>> {
        let id = self.journal.next_id();
        let verdict = self.policy.decide_host(&request.host, request.port);
        let rule = verdict.rule.map(|rule| rule.text.clone());
        match verdict.action {
            HostAction::Allow => {}
            HostAction::Deny => return Err(Refusal::by_verdict(id, request, &verdict)),
            HostAction::Ask => {
                let text = rule.as_deref().unwrap_or_default();
                let answer = self.book.ask(request, text).await;
                let grant = Grant { id, rule: rule.clone() };
                answer.map_err(|(reason, detail)| grant.failure(request, reason, detail))?;
            }
        }
        Ok(Grant { id, rule })
    }

    /// The host that is meant by an address that a program has found for itself: the
    /// address where rules let it be reached, or else its name, rather one that may
    /// be reached. Names are resolved again, so that nothing is reached by this that
    /// would not be by the name.
    pub(crate) fn named(&self, address: IpAddr, port: u16) -> Host {
        let literal = Host::Address(address);
        let refused = |host: &Host| self.policy.decide_host(host, port).action == HostAction::Deny;
        if !refused(&literal) {
            return literal;
        }
        let names = self.outside.names(address);
        let mut hosts = names.iter().filter_map(|name| Host::parse(name).ok()).peekable();
        let first = hosts.peek().cloned();
        hosts.find(|host| !refused(host)).or(first).unwrap_or(literal)
    }

    /// A connection for plain requests: to the upstream proxy itself where that
    /// one resolves, otherwise as [`Gate::reach`].
    pub(crate) async fn reach_plain(
        &self,
        request: &Request,
        grant: &Grant,
    ) -> Result<(Link, Via), Box<Refusal>> {
        let Some(upstream) = self.upstream_for(&request.host).filter(|upstream| {
            upstream.resolution == Resolution::There && matches!(request.host, Host::Name(_))
        }) else {
            return Ok((self.reach(request, grant).await?, Via::Origin));
        };
        let opening = upstream.open(self.outside.as_ref());
        let stream = tokio::time::timeout(self.bounds.connect_time, opening).await;
        let stream = stream.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| grant.no_connection(request, &error))?;
        self.allowed(request, grant, None);
        let authorization = upstream.authorization().map(String::from);
        Ok((Link::new(stream, self.bounds.idle_time), Via::Upstream { authorization }))
    }

    fn upstream_for(&self, host: &Host) -> Option<&Upstream> {
        self.upstream.as_ref().filter(|upstream| !upstream.bypasses(host))
    }

    /// Resolves what was admitted, checks every address, and dials only those
    /// that passed.
    pub(crate) async fn reach(
        &self,
        request: &Request,
        grant: &Grant,
    ) -> Result<Link, Box<Refusal>> {
        let time = self.bounds.connect_time;
        let upstream = self.upstream_for(&request.host);
        let unresolved = matches!(request.host, Host::Name(_))
            && upstream.is_some_and(|upstream| upstream.resolution == Resolution::There);
        let addresses = match unresolved {
            true => Vec::new(),
            false => self.pinned(request, grant).await?,
        };
        let (connected, address) = match (upstream, addresses.first()) {
            (Some(upstream), first) => {
                let host = first.map_or(request.host.clone(), |first| Host::from(first.ip()));
                let tunnel = upstream.connect(self.outside.as_ref(), &host, request.port);
                let connected = tokio::time::timeout(time, tunnel).await;
                (connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())), first.copied())
            }
            (None, _) => match dial(&self.outside, &addresses, time).await {
                Ok((stream, address)) => (Ok(stream), Some(address)),
                Err(error) => (Err(error), None),
            },
        };
        let stream = connected.map_err(|error| grant.no_connection(request, &error))?;
        self.allowed(request, grant, address.map(|address| address.ip()));
        Ok(Link::new(stream, self.bounds.idle_time))
    }

    /// The addresses that may be dialled.
    async fn pinned(
        &self,
        request: &Request,
        grant: &Grant,
    ) -> Result<Vec<SocketAddr>, Box<Refusal>> {
        let found = match &request.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolved(name, request, grant).await?,
        };
        let mut refused = None;
        let mut pinned = Vec::new();
        for address in found {
            let verdict = self.policy.decide_address(&request.host, address, request.port);
            // A literal that a rule asks about has been asked about.
            if verdict.action == HostAction::Deny {
                refused.get_or_insert(verdict);
            } else {
                pinned.push(SocketAddr::new(address, request.port));
            }
        }
        match refused {
            Some(verdict) if pinned.is_empty() => {
                Err(Refusal::by_verdict(grant.id, request, &verdict))
            }
            _ => Ok(pinned),
        }
    }

    async fn resolved(
        &self,
        name: &str,
        request: &Request,
        grant: &Grant,
    ) -> Result<Vec<IpAddr>, Box<Refusal>> {
        let fail = |reason, detail: &str| {
            grant.failure(request, reason, format!("cannot resolve the name: {detail}"))
        };
        match tokio::time::timeout(self.bounds.connect_time, self.outside.resolve(name)).await {
            Ok(Ok(found)) if found.is_empty() => Err(fail(Reason::DnsFailed, "it has no address")),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(fail(Reason::DnsFailed, &error.to_string())),
            Err(_) => Err(fail(Reason::Timeout, "no answer in time")),
        }
    }

    /// Records that a request was let through.
    pub(crate) fn allowed(&self, request: &Request, grant: &Grant, address: Option<IpAddr>) {
        self.journal.record(&Event::Allowed {
            id: grant.id,
            request: request.clone(),
            rule: grant.rule.clone(),
            address,
        });
    }

    /// Records a refusal.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let connection = SERVED.try_with(|connection| *connection).ok();
        self.journal.record(&Event::Refused(Refusal { connection, ..refusal.clone() }));
    }

    /// A refusal of something that could not be read as a request.
    pub(crate) fn unread(&self, protocol: Protocol, reason: Reason, detail: &str) -> Box<Refusal> {
        Refusal::unread(self.journal.next_id(), protocol, reason, detail)
    }
}
