//! Why a request is refused, and how a client is told.

use std::net::SocketAddr;

use pinfold_policy::net::{Host, HostReason, HostVerdict};

use crate::gate::Request;

/// How a client spoke to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A plain HTTP request.
    Http,
    /// HTTP CONNECT.
    Connect,
    /// SOCKS version 5.
    Socks5,
    /// SOCKS version 4 or 4a.
    Socks4,
    /// A connection that was caught on its way.
    Tcp,
    /// A name server's port.
    Dns,
}

impl Protocol {
    /// The word for logs.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Connect => "connect",
            Protocol::Socks5 => "socks5",
            Protocol::Socks4 => "socks4",
            Protocol::Tcp => "tcp",
            Protocol::Dns => "dns",
        }
    }
}

/// Why something is refused. The list is closed: programs may match the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No rule covers the host.
    NotAllowed,
    /// A deny rule covers it.
    Denied,
    /// It is, or leads to, an address that is not public and that no rule names.
    SpecialAddress,
    /// An address, where rules cover only names.
    AddressLiteral,
    /// Rules cover the host but not the port.
    Port,
    /// `mode = "limited"` lets only GET, HEAD and OPTIONS through, readable.
    Method,
    /// The TLS hello names another host than the connection.
    SniMismatch,
    /// The HTTP request names another host than the connection.
    HostMismatch,
    /// The answer to the question was no, or there is nobody to ask.
    AskDenied,
    /// The question was not answered in time.
    AskTimeout,
    /// Too many connections.
    Limit,
    /// Not what the protocol allows.
    Malformed,
    /// Something that this proxy does not do.
    Unsupported,
    /// The token is missing or wrong.
    ProxyAuth,
    /// The name could not be resolved.
    DnsFailed,
    /// No connection could be made, or the origin broke the protocol.
    ConnectFailed,
    /// The origin, or the client, took too long.
    Timeout,
    /// The proxy itself has a defect, which ended the connection.
    Defect,
}

impl Reason {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Reason::NotAllowed => "not_allowed",
            Reason::Denied => "denied",
            Reason::SpecialAddress => "special_address",
            Reason::AddressLiteral => "ip_literal",
            Reason::Port => "port",
            Reason::Method => "method",
            Reason::SniMismatch => "sni_mismatch",
            Reason::HostMismatch => "host_mismatch",
            Reason::AskDenied => "ask_denied",
            Reason::AskTimeout => "ask_timeout",
            Reason::Limit => "limit",
            Reason::Malformed => "malformed",
            Reason::Unsupported => "unsupported",
            Reason::ProxyAuth => "proxy_auth",
            Reason::DnsFailed => "dns_failed",
            Reason::ConnectFailed => "connect_failed",
            Reason::Timeout => "timeout",
            Reason::Defect => "defect",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Reason::Malformed => 400,
            Reason::ProxyAuth => 407,
            Reason::HostMismatch => 421,
            Reason::Defect => 500,
            Reason::Limit => 429,
            Reason::Unsupported => 501,
            Reason::DnsFailed | Reason::ConnectFailed => 502,
            Reason::Timeout => 504,
            _ => 403,
        }
    }

    /// Whether the policy refused, as opposed to the network or the client.
    pub fn is_policy(self) -> bool {
        matches!(self.status(), 403 | 421)
    }

    /// The error type of RFC 9209.
    fn proxy_status(self) -> &'static str {
        match self {
            Reason::SpecialAddress => "destination_ip_prohibited",
            Reason::DnsFailed => "dns_error",
            Reason::ConnectFailed => "destination_unavailable",
            Reason::Timeout => "connection_timeout",
            Reason::Limit => "connection_limit_reached",
            Reason::Defect => "proxy_internal_error",
            Reason::SniMismatch => "tls_protocol_error",
            Reason::Malformed => "http_request_error",
            _ => "http_request_denied",
        }
    }

    /// The reply code of SOCKS 5.
    pub(crate) fn socks5(self) -> u8 {
        match self {
            Reason::DnsFailed | Reason::Timeout => 4,
            Reason::ConnectFailed => 5,
            Reason::Unsupported => 7,
            Reason::Malformed | Reason::Limit | Reason::Defect => 1,
            _ => 2,
        }
    }
}

/// One refusal, with everything that a client or a log can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the request in the audit.
    pub id: u64,
    /// Why, as a stable word.
    pub reason: Reason,
    /// What was asked for; nothing when that could not be read.
    pub request: Option<Request>,
    /// How the client spoke.
    pub protocol: Protocol,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// The rule that would allow it, where it may be said.
    pub remedy: Option<String>,
    /// Why, in words.
    pub detail: String,
    /// Whose it is, once it is told of.
    pub connection: Option<Connection>,
}

/// The connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client's end.
    pub from: SocketAddr,
    /// The end that was accepted; where it was meant to go if it was captured.
    pub to: SocketAddr,
}

tokio::task_local! {
    /// The connection that is being served.
    pub(crate) static SERVED: Connection;
}

impl Refusal {
    /// What the policy refused.
    pub(crate) fn by_verdict(
        id: u64,
        request: &Request,
        verdict: &HostVerdict<'_>,
    ) -> Box<Refusal> {
        let mut refusal = Refusal::new(id, request, reason_of(verdict.reason), verdict.why());
        refusal.rule = verdict.rule.map(|rule| rule.text.clone());
        refusal.remedy = verdict.remedy(&request.host, request.port);
        refusal
    }

    /// What was refused for another reason than a host rule.
    pub(crate) fn new(
        id: u64,
        request: &Request,
        reason: Reason,
        detail: impl Into<String>,
    ) -> Box<Refusal> {
        let mut refusal = Refusal::unread(id, request.protocol, reason, detail);
        refusal.request = Some(request.clone());
        refusal
    }

    /// A request that could not even be read.
    pub(crate) fn unread(
        id: u64,
        protocol: Protocol,
        reason: Reason,
        detail: impl Into<String>,
    ) -> Box<Refusal> {
        Box::new(Refusal {
            id,
            reason,
            protocol,
            request: None,
            rule: None,
            remedy: None,
            detail: detail.into(),
            connection: None,
        })
    }

    /// One line for people: what, why, and what would allow it.
    pub fn line(&self) -> String {
        let subject = match &self.request {
            Some(request) => format!("{}:{}", request.host, request.port),
            None => String::from("request"),
        };
        let title = self.title();
        match &self.remedy {
            Some(rule) => format!("{title}: {subject}: {}; to allow: --net {rule}", self.detail),
            None => format!("{title}: {subject}: {}", self.detail),
        }
    }

    fn title(&self) -> &'static str {
        if self.reason.is_policy() { "Blocked by sandbox" } else { "Sandbox proxy" }
    }

    /// The whole HTTP answer.
    pub(crate) fn http(&self, keep_alive: bool) -> Vec<u8> {
        let body = self.problem();
        let (status, reason) = (self.reason.status(), self.reason.word());
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let mut head = format!("HTTP/1.1 {status} {}\r\n", printable(&self.line()));
        head += &format!(
            "Proxy-Status: pinfold; error={}; details=\"{reason}\"\r\n",
            self.reason.proxy_status()
        );
        head += &format!("X-Sandbox-Decision: deny; reason={reason}");
        if let Some(request) = &self.request {
            head += &format!("; host={}; port={}", request.host, request.port);
        }
        head += &format!("; id={}\r\n", self.id);
        if self.reason == Reason::ProxyAuth {
            head += "Proxy-Authenticate: Basic realm=\"pinfold\"\r\n";
        }
        head += &format!(
            "Content-Type: application/problem+json\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        let mut answer = head.into_bytes();
        let is_head = self.request.as_ref().is_some_and(|request| request.is_method("HEAD"));
        if !is_head {
            answer.extend_from_slice(body.as_bytes());
        }
        answer
    }

    /// The body of RFC 9457.
    fn problem(&self) -> String {
        let request = self.request.as_ref();
        let note = self
            .reason
            .is_policy()
            .then_some("Deliberate policy. Do not retry by another resolver, proxy or address.");
        serde_json::json!({
            "type": "about:blank",
            "title": self.title(),
            "status": self.reason.status(),
            "reason": self.reason.word(),
            "detail": self.detail,
            "host": request.map(|request| request.host.to_string()),
            "port": request.map(|request| request.port),
            "protocol": self.protocol.word(),
            "rule": self.rule,
            "remedy": self.remedy.as_ref().map(|rule| format!("--net {rule}")),
            "retry": self.reason == Reason::AskTimeout,
            "id": self.id,
            "note": note,
        })
        .to_string()
    }
}

/// What may stand in a status line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

fn reason_of(reason: HostReason) -> Reason {
    match reason {
        HostReason::Denied => Reason::Denied,
        HostReason::Port => Reason::Port,
        HostReason::AddressLiteral => Reason::AddressLiteral,
        HostReason::SpecialAddress(_) => Reason::SpecialAddress,
        HostReason::Open
        | HostReason::Off
        | HostReason::Rule
        | HostReason::ApexNotCovered
        | HostReason::NotAllowed => Reason::NotAllowed,
    }
}

impl Request {
    /// Whether the request is of this HTTP method.
    pub(crate) fn is_method(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }

    /// The host without brackets, as TLS and logs write it.
    pub(crate) fn host_text(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        }
    }
}
