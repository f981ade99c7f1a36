//! Reading and writing the heads of messages. What two programs could read in
//! two ways is refused, and nothing is passed on as it came.

use pinfold_policy::net::{Host, HostError, parse_authority};

use super::headers::{Headers, put};
use crate::gate::Via;

/// Most header fields of one message.
const MOST_FIELDS: usize = 128;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All that comes until the connection ends (answers only).
    UntilClose,
}

/// The head of a request that is safe to act on.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) target: Target,
    /// The host of the `Host` field with its port, when there is one.
    pub(crate) host: Option<(Host, Option<u16>)>,
    pub(crate) body: Framing,
    /// Whether the client can take another answer on this connection.
    pub(crate) keep_alive: bool,
    pub(crate) version_1_0: bool,
    /// The protocol that the client offers to switch to; never `h2c`.
    pub(crate) upgrade: Option<Vec<u8>>,
    pub(crate) expects_continue: bool,
    pub(crate) headers: Headers,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `http://host[:port]/path`
    Absolute(Host, u16, String),
    /// `host:port`, for CONNECT.
    Authority(Host, u16),
    /// `/path` or `*`
    Path(String),
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    phrase: String,
    pub(crate) body: Framing,
    /// Whether the origin will take another request on this connection.
    pub(crate) keep_alive: bool,
    headers: Headers,
}

/// Why a message is refused.
pub(crate) type Malformed = &'static str;

/// Where the head ends, counted from its first byte; nothing when more must be
/// read. Looks only at what `seen` bytes before did not show.
pub(crate) fn head_end(bytes: &[u8], seen: usize) -> Result<Option<usize>, Malformed> {
    let from = seen.saturating_sub(3);
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'\n' if at.checked_sub(1).and_then(|at| bytes.get(at)) != Some(&b'\r') => {
                return Err("a line ends without a carriage return");
            }
            b'\n' if bytes.get(..=at).is_some_and(|head| head.ends_with(b"\r\n\r\n")) => {
                return Ok(Some(at + 1));
            }
            0 => return Err("the head holds a zero byte"),
            _ => {}
        }
    }
    Ok(None)
}

/// Whether these bytes begin with a request line of HTTP/1; nothing when more
/// must be read to tell.
pub(crate) fn first_line_is_request(bytes: &[u8]) -> Option<bool> {
    const LONGEST_METHOD: usize = 24;
    let method =
        bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    match bytes.get(method) {
        Some(b' ') if method > 0 => {}
        None if method <= LONGEST_METHOD => return None,
        _ => return Some(false),
    }
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = bytes.get(..end).unwrap_or_default().trim_ascii_end();
            Some(line.windows(8).last().is_some_and(|end| end.starts_with(b"HTTP/")))
        }
        None if bytes.len() > 16 * 1024 => Some(false),
        None => None,
    }
}

/// Reads a whole request head.
pub(crate) fn parse_request(bytes: &[u8]) -> Result<RequestHead, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err("the head is not whole"),
        Err(error) => return Err(why(error)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err("the request line is not whole");
    };
    let headers = Headers(owned(parsed.headers)?);
    if headers.connection_lists_framing() {
        return Err("the connection header lists a field that must stay");
    }
    let connection = headers.tokens("connection");
    let version_1_0 = minor == 0;
    let upgrade = offered_upgrade(&headers, &connection);
    Ok(RequestHead {
        method: String::from(method),
        target: parse_target(method, target)?,
        host: parse_host_field(&headers)?,
        body: request_framing(&headers, version_1_0)?,
        keep_alive: !version_1_0 && !connection.iter().any(|token| token == "close"),
        version_1_0,
        upgrade,
        expects_continue: headers.tokens("expect").iter().any(|token| token == "100-continue"),
        headers,
    })
}

/// Reads a whole head of an answer to a request of this method.
pub(crate) fn parse_response(bytes: &[u8], method: &str) -> Result<ResponseHead, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err("the head is not whole"),
        Err(error) => return Err(why(error)),
    }
    let status = parsed.code.ok_or("the status line is not whole")?;
    let phrase = String::from(parsed.reason.unwrap_or_default());
    let minor = parsed.version.unwrap_or_default();
    let headers = Headers(owned(parsed.headers)?);
    let body = response_framing(&headers, method, status)?;
    let connection = headers.tokens("connection");
    let keep_alive = minor == 1
        && body != Framing::UntilClose
        && !connection.iter().any(|token| token == "close");
    Ok(ResponseHead { status, phrase, body, keep_alive, headers })
}

fn why(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::HeaderName => "a header field has an invalid name",
        httparse::Error::HeaderValue => "a header field has an invalid value",
        httparse::Error::TooManyHeaders => "there are too many header fields",
        httparse::Error::Version => "the version is not HTTP/1",
        _ => "the first line is invalid",
    }
}

fn owned(fields: &[httparse::Header<'_>]) -> Result<Vec<(String, Vec<u8>)>, Malformed> {
    let field = |field: &httparse::Header<'_>| {
        let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        match field.value.iter().any(control) {
            true => Err("a header field has an invalid value"),
            false => Ok((String::from(field.name), field.value.trim_ascii().to_vec())),
        }
    };
    fields.iter().map(field).collect()
}

fn parse_target(method: &str, target: &str) -> Result<Target, Malformed> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains('#') {
        return Err("the target has a character that no target has");
    }
    if method == "CONNECT" {
        let (host, port) = parse_authority(target).map_err(explain)?;
        return Ok(Target::Authority(host, port));
    }
    if target.starts_with('/') || target == "*" && method == "OPTIONS" {
        return Ok(Target::Path(String::from(target)));
    }
    let (scheme, rest) =
        target.split_once("://").ok_or("the target is neither a URL nor a path")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("ws") {
        return Err("only http URLs can be requested in the clear");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = parse_host(authority)?;
    let path = match path.strip_prefix('?') {
        Some(query) => format!("/?{query}"),
        None if path.is_empty() => String::from("/"),
        None => String::from(path),
    };
    Ok(Target::Absolute(host, port.unwrap_or(80), path))
}

fn explain(error: HostError) -> Malformed {
    match error {
        HostError::Port => "the port is not a number from 1 to 65535",
        HostError::User => "there is a user name in front of the host",
        _ => "the host is neither a name nor an address",
    }
}

/// Reads `HOST[:PORT]`.
fn parse_host(text: &str) -> Result<(Host, Option<u16>), Malformed> {
    match text.rsplit_once(':') {
        Some((_, after)) if !after.ends_with(']') => {
            let (host, port) = parse_authority(text).map_err(explain)?;
            Ok((host, Some(port)))
        }
        _ => Ok((Host::parse(text).map_err(explain)?, None)),
    }
}

fn parse_host_field(headers: &Headers) -> Result<Option<(Host, Option<u16>)>, Malformed> {
    let mut values = headers.values("host");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there is more than one host header");
    }
    let text = std::str::from_utf8(value).map_err(|_| "the host header is not text")?;
    parse_host(text).map(Some)
}

fn content_length(headers: &Headers) -> Result<Option<u64>, Malformed> {
    let mut values = headers.values("content-length");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there is more than one content length");
    }
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.filter(|_| digits).map(Some).ok_or("the content length is not a number")
}

fn request_framing(headers: &Headers, version_1_0: bool) -> Result<Framing, Malformed> {
    let length = content_length(headers)?;
    if headers.values("transfer-encoding").next().is_none() {
        return Ok(match length {
            None | Some(0) => length.map_or(Framing::None, Framing::Length),
            Some(length) => Framing::Length(length),
        });
    }
    match headers.tokens("transfer-encoding").as_slice() {
        _ if length.is_some() => Err("there is a content length and a transfer encoding"),
        _ if version_1_0 => Err("HTTP/1.0 has no transfer encoding"),
        [only] if only == "chunked" => Ok(Framing::Chunked),
        _ => Err("the transfer encoding is not exactly \"chunked\""),
    }
}

fn response_framing(headers: &Headers, method: &str, status: u16) -> Result<Framing, Malformed> {
    if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    let length = content_length(headers)?;
    if headers.values("transfer-encoding").next().is_some() {
        return match headers.tokens("transfer-encoding").as_slice() {
            [only] if only == "chunked" && length.is_none() => Ok(Framing::Chunked),
            _ => Err("the length of the answer is ambiguous"),
        };
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

/// A switch to anything but clear-text HTTP/2, whose requests could not be
/// decided one by one.
fn offered_upgrade(headers: &Headers, connection: &[String]) -> Option<Vec<u8>> {
    let offered = connection.iter().any(|token| token == "upgrade");
    let mut values = headers.values("upgrade");
    let value = values.next().filter(|_| offered)?;
    let is_h2c = headers.tokens("upgrade").iter().any(|token| token.starts_with("h2"));
    (!is_h2c && values.next().is_none()).then(|| value.to_vec())
}

impl RequestHead {
    /// The head for whoever is at the other end: a path or a URL, the host that
    /// was decided, and what is meant for the origin.
    pub(crate) fn for_origin(
        &self,
        authority: &str,
        path: &str,
        upgrade: bool,
        via: &Via,
    ) -> Vec<u8> {
        let method = &self.method;
        let mut head = match via {
            Via::Origin => format!("{method} {path} HTTP/1.1\r\n"),
            // The form of "OPTIONS *" for proxies has no path (RFC 9112, 3.2.4).
            Via::Upstream { .. } if path == "*" => {
                format!("{method} http://{authority} HTTP/1.1\r\n")
            }
            Via::Upstream { .. } => format!("{method} http://{authority}{path} HTTP/1.1\r\n"),
        }
        .into_bytes();
        put(&mut head, "Host", authority.as_bytes());
        if let Via::Upstream { authorization: Some(authorization) } = via {
            put(&mut head, "Proxy-Authorization", authorization.as_bytes());
        }
        for (name, value) in self.headers.end_to_end() {
            let expectation = name.eq_ignore_ascii_case("expect") && self.version_1_0;
            if !name.eq_ignore_ascii_case("host") && !expectation {
                put(&mut head, name, value);
            }
        }
        if self.body == Framing::Chunked {
            put(&mut head, "Transfer-Encoding", b"chunked");
        }
        if let Some(protocol) = self.upgrade.as_ref().filter(|_| upgrade) {
            put(&mut head, "Connection", b"Upgrade");
            put(&mut head, "Upgrade", protocol);
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

impl ResponseHead {
    /// The head for the client.
    pub(crate) fn for_client(&self, keep_alive: bool, chunked: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, self.phrase).into_bytes();
        for (name, value) in self.headers.end_to_end() {
            put(&mut head, name, value);
        }
        if chunked {
            put(&mut head, "Transfer-Encoding", b"chunked");
        }
        if self.status == 101 {
            put(&mut head, "Connection", b"Upgrade");
            for protocol in self.headers.values("upgrade") {
                put(&mut head, "Upgrade", protocol);
            }
        } else if self.status >= 200 && !keep_alive {
            put(&mut head, "Connection", b"close");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
