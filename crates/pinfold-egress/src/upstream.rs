//! The proxy between this host and the Internet, where there is one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use pinfold_policy::net::{Host, parse_authority};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::outside::Outside;

/// Longest answer of an upstream proxy to CONNECT.
const LONGEST_ANSWER: usize = 16 * 1024;

/// An HTTP proxy that takes CONNECT. Its credentials stay in this process: the
/// command never sees them.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    host: Host,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
    /// Hosts that are reached directly, as in `NO_PROXY`.
    direct: Vec<String>,
    /// Who resolves names.
    pub resolution: Resolution,
}

/// Who resolves names when there is an upstream proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// We do, and the upstream proxy is given the address that was checked, by
    /// CONNECT even for plain HTTP, which it must allow.
    Here,
    /// The upstream proxy does: the kind of address stays unchecked. Plain HTTP
    /// goes to it as requests with whole URLs.
    There,
}

/// Never shows credentials.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({}:{}, {:?})", self.host, self.port, self.resolution)
    }
}

/// Why a proxy's URL cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// Only `http://` proxies can be used.
    Scheme,
    /// No readable host and port.
    Authority,
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UpstreamError::Scheme => "only http:// proxies can be used",
            UpstreamError::Authority => "it holds no readable host and port",
        })
    }
}

impl std::error::Error for UpstreamError {}

impl Upstream {
    /// Reads `http://[user:password@]host[:port]`; the port is 80 when it is
    /// missing. `direct` is the text of `NO_PROXY`.
    ///
    /// # Errors
    /// Other schemes, and unreadable hosts and ports.
    pub fn parse(
        url: &str,
        direct: &str,
        resolution: Resolution,
    ) -> Result<Upstream, UpstreamError> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(UpstreamError::Scheme),
            None => url,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = parse_authority(place)
            .or_else(|_| parse_authority(&format!("{place}:80")))
            .map_err(|_| UpstreamError::Authority)?;
        let direct = direct.split(',').map(|entry| entry.trim().to_ascii_lowercase());
        Ok(Upstream {
            host,
            port,
            authorization: user.map(|user| format!("Basic {}", base64(&percent_decoded(user)))),
            direct: direct.filter(|entry| !entry.is_empty()).collect(),
            resolution,
        })
    }

    /// The proxy that the caller's environment names, `variable` being how to
    /// look one up.
    ///
    /// # Errors
    /// A proxy that is named but cannot be used.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        resolution: Resolution,
    ) -> Result<Option<Upstream>, UpstreamError> {
        let first = |names: [&str; 2]| {
            names.into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()))
        };
        let Some(url) = first(["https_proxy", "HTTPS_PROXY"])
            .or_else(|| first(["all_proxy", "ALL_PROXY"]))
            .or_else(|| variable("http_proxy").filter(|value| !value.is_empty()))
        else {
            return Ok(None);
        };
        let direct = first(["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Upstream::parse(&url, &direct, resolution).map(Some)
    }

    /// Whether this host is reached without the upstream proxy. Loopback always
    /// is.
    pub(crate) fn bypasses(&self, host: &Host) -> bool {
        let text = match host {
            Host::Address(address) if address.is_loopback() => return true,
            Host::Address(address) => address.to_string(),
            Host::Name(name) if name == "localhost" || name.ends_with(".localhost") => return true,
            Host::Name(name) => name.clone(),
        };
        self.direct.iter().any(|entry| {
            let base = entry.trim_start_matches('*').trim_start_matches('.');
            let below = text.strip_suffix(base).is_some_and(|front| front.ends_with('.'));
            entry == "*" || text == base || !base.is_empty() && below
        })
    }

    /// The field that plain requests to the upstream proxy carry.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// A connection to the upstream proxy itself.
    pub(crate) async fn open(&self, outside: &dyn Outside) -> io::Result<TcpStream> {
        let addresses: Vec<IpAddr> = match &self.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => outside.resolve(name).await?,
        };
        let mut stream = Err(io::Error::other("the upstream proxy has no address"));
        for address in addresses {
            stream = outside.connect(SocketAddr::new(address, self.port)).await;
            if stream.is_ok() {
                break;
            }
        }
        stream
    }

    /// A tunnel to `host` through the upstream proxy.
    pub(crate) async fn connect(
        &self,
        outside: &dyn Outside,
        host: &Host,
        port: u16,
    ) -> io::Result<TcpStream> {
        let mut stream = self.open(outside).await?;
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(authorization) = &self.authorization {
            request += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await?;
        let answer = answer_head(&mut stream).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        if status.starts_with('2') {
            return Ok(stream);
        }
        let first = answer.lines().next().unwrap_or_default();
        Err(io::Error::other(format!("the upstream proxy answered \"{first}\"")))
    }
}

/// Reads to the end of the head and not a byte further: what follows belongs to
/// the tunnel.
async fn answer_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_ANSWER {
            return Err(io::Error::other("the upstream proxy's answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Undoes `%XX` in the user name and password of a URL.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let value = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, value) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Base 64 with padding (RFC 4648), as Basic authentication needs it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at) & 63) as usize;
            text.push(if at <= group.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_proxy_is_read_from_its_url() {
        for (url, expected) in [
            ("http://proxy.test:3128", "Ok(Upstream(proxy.test:3128, Here))"),
            ("http://u:p@proxy.test", "Ok(Upstream(proxy.test:80, Here))"),
            ("proxy.test:3128/", "Ok(Upstream(proxy.test:3128, Here))"),
            ("https://proxy.test", "Err(Scheme)"),
            ("socks5h://proxy.test", "Err(Scheme)"),
            ("http://", "Err(Authority)"),
        ] {
            assert_eq!(format!("{:?}", Upstream::parse(url, "", Resolution::Here)), expected);
        }
        let upstream = Upstream::parse("http://us%40r:p@proxy.test", "", Resolution::Here).unwrap();
        assert_eq!(upstream.authorization.as_deref(), Some("Basic dXNAcjpw"));
    }

    #[test]
    fn hosts_of_no_proxy_and_loopback_are_reached_directly() {
        let direct = "corp.test, .internal.test,*.star.test,10.0.0.1";
        let upstream = Upstream::parse("http://proxy.test", direct, Resolution::Here).unwrap();
        for (host, expected) in [
            ("corp.test", true),
            ("a.corp.test", true),
            ("notcorp.test", false),
            ("a.internal.test", true),
            ("a.star.test", true),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("127.0.0.1", true),
            ("localhost", true),
            ("ok.test", false),
        ] {
            assert_eq!(upstream.bypasses(&Host::parse(host).unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn base64_is_padded() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
