//! What a client asks for: a name or an address, and a port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::unmapped;

/// A host that a client named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name: lower case, ASCII, without a trailing dot.
    Name(String),
    /// An address, never an IPv4 one in IPv6 form.
    Address(IpAddr),
}

/// An address is written as in a URL, an IPv6 one in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Why a text is no host or no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Nothing where a host belongs.
    Empty,
    /// A character that no host name has; names outside ASCII must come encoded.
    Character,
    /// A label that is empty or longer than 63, or a name longer than 253.
    Length,
    /// Ends in a number but is no address.
    Number,
    /// Not an IPv6 address inside the brackets.
    Bracket,
    /// No port where one is needed, or not a number from 1 to 65535.
    Port,
    /// A user name in front of the host.
    User,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostError::Empty => "the host is empty",
            HostError::Character => "the host has a character that no host name has",
            HostError::Length => "a part of the host name is empty or too long",
            HostError::Number => "the host ends in a number but is no address",
            HostError::Bracket => "there is no IPv6 address inside the brackets",
            HostError::Port => "the port is not a number from 1 to 65535",
            HostError::User => "there is a user name in front of the host",
        })
    }
}

impl std::error::Error for HostError {}

impl Host {
    /// Whether it is this machine's loopback, by address or by name (RFC 6761).
    pub fn is_loopback(&self) -> bool {
        match self {
            Host::Name(name) => is_localhost(name),
            Host::Address(address) => unmapped(*address).is_loopback(),
        }
    }

    /// Reads a host as a client writes it, IPv6 addresses in brackets.
    ///
    /// The short, octal and hexadecimal forms of IPv4 that C libraries accept
    /// are addresses here too, so that they meet the rules for addresses. One
    /// trailing dot is dropped. Nothing is decoded or cleaned up.
    ///
    /// # Errors
    /// Whatever is neither a host name nor an address.
    pub fn parse(text: &str) -> Result<Host, HostError> {
        if let Some(rest) = text.strip_prefix('[') {
            let inner = rest.strip_suffix(']').ok_or(HostError::Bracket)?;
            let address: Ipv6Addr = inner.parse().map_err(|_| HostError::Bracket)?;
            return Ok(Host::from(IpAddr::V6(address)));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !text.bytes().all(known) {
            return Err(HostError::Character);
        }
        let name = text.to_ascii_lowercase();
        if let Some(address) = legacy_ipv4(&name) {
            return address.map(|four| Host::Address(four.into())).ok_or(HostError::Number);
        }
        if name.len() > 253 || name.split('.').any(|label| !(1..=63).contains(&label.len())) {
            return Err(HostError::Length);
        }
        Ok(Host::Name(name))
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        Host::Address(super::unmapped(address))
    }
}

/// Reads `HOST:PORT`.
///
/// # Errors
/// Whatever [`Host::parse`] refuses, and ports that are not written as a plain
/// number from 1 to 65535.
pub fn parse_authority(text: &str) -> Result<(Host, u16), HostError> {
    if text.contains('@') {
        return Err(HostError::User);
    }
    let (host, port) = text.rsplit_once(':').ok_or(HostError::Port)?;
    Ok((Host::parse(host)?, parse_port(port).ok_or(HostError::Port)?))
}

/// Reads a URL, `HOST:PORT` or `HOST` (port 443), for questions such as "may
/// the command reach this?".
///
/// # Errors
/// As [`parse_authority`].
pub fn parse_destination(text: &str) -> Result<(Host, u16), HostError> {
    let (port, authority) = match text.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let port = match scheme.to_ascii_lowercase().as_str() {
                "http" | "ws" => 80,
                "ssh" | "git+ssh" | "sftp" => 22,
                "git" => 9418,
                _ => 443,
            };
            (port, authority.rsplit('@').next().unwrap_or_default())
        }
        None => (443, text),
    };
    // A bare IPv6 address is full of colons, none of which begins a port.
    if let Ok(address) = authority.parse::<Ipv6Addr>() {
        return Ok((Host::from(IpAddr::V6(address)), port));
    }
    match authority.rsplit_once(':') {
        Some((_, after)) if !after.ends_with(']') => parse_authority(authority),
        _ if authority.contains('@') => Err(HostError::User),
        _ => Ok((Host::parse(authority)?, port)),
    }
}

/// A port from 1 to 65535 in plain digits, without sign or leading zero.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port > 0)
}

/// Whether this can stand between two dots of a host name.
pub(super) fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Reads a lower-case host that ends in a number the way C libraries and
/// browsers do: one to four parts, decimal, octal (`0…`) or hexadecimal (`0x…`),
/// the last part filling what is left. Nothing when the host does not end in a
/// number; `Some(None)` when it does but is no address.
pub(super) fn legacy_ipv4(host: &str) -> Option<Option<Ipv4Addr>> {
    let parts: Vec<&str> = host.split('.').collect();
    let (last, first) = parts.split_last()?;
    let numeric = |part: &str| {
        let hexadecimal = part.strip_prefix("0x");
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
            || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    numeric(last).then(|| {
        let fewer = u32::try_from(first.len()).ok().filter(|count| *count <= 3)?;
        let room = u64::from(u32::MAX) >> (8 * fewer);
        let last = legacy_number(last).filter(|value| *value <= room)?;
        let mut bits = u32::try_from(last).ok()?;
        for (index, part) in (0u32..).zip(first) {
            let value = legacy_number(part).filter(|value| *value <= 255)?;
            bits |= u32::try_from(value).ok()? << (24 - 8 * index);
        }
        Some(Ipv4Addr::from(bits))
    })
}

fn legacy_number(text: &str) -> Option<u64> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) => (digits, 8),
        (None, None) => (text, 10),
    };
    match digits {
        "" if radix != 10 => Some(0),
        // The standard library would also take a sign.
        digits if digits.starts_with(['+', '-']) => None,
        digits => u64::from_str_radix(digits, radix).ok(),
    }
}

/// Whether a name means this machine.
pub(super) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(result: Result<(Host, u16), HostError>) -> String {
        match result {
            Ok((Host::Name(name), port)) => format!("name {name} {port}"),
            Ok((Host::Address(address), port)) => format!("address {address} {port}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_authority_is_read_strictly() {
        let character = "the host has a character that no host name has";
        let length = "a part of the host name is empty or too long";
        let port = "the port is not a number from 1 to 65535";
        for (text, expected) in [
            ("OK.test:443", "name ok.test 443"),
            ("ok.test.:443", "name ok.test 443"),
            ("ok.test..:443", length),
            (":443", "the host is empty"),
            (".:443", "the host is empty"),
            ("..:443", length),
            ("ok_1.test:1", "name ok_1.test 1"),
            ("127.0.0.1:80", "address 127.0.0.1 80"),
            ("127.1:80", "address 127.0.0.1 80"),
            ("0x7f000001:80", "address 127.0.0.1 80"),
            ("2130706433:80", "address 127.0.0.1 80"),
            ("0177.0.0.1:80", "address 127.0.0.1 80"),
            ("0:80", "address 0.0.0.0 80"),
            ("0x:80", "address 0.0.0.0 80"),
            ("1.2.3.4.5:80", "the host ends in a number but is no address"),
            ("256.1.1.1:80", "the host ends in a number but is no address"),
            ("4294967296:80", "the host ends in a number but is no address"),
            ("08.0.0.1:80", "the host ends in a number but is no address"),
            ("a.1:80", "the host ends in a number but is no address"),
            ("[::1]:80", "address ::1 80"),
            ("[::ffff:127.0.0.1]:80", "address 127.0.0.1 80"),
            ("[::1%lo]:80", "there is no IPv6 address inside the brackets"),
            ("[127.0.0.1]:80", "there is no IPv6 address inside the brackets"),
            ("::1:80", character),
            ("ok.test@deny.test:443", "there is a user name in front of the host"),
            ("ok.test:443@deny.test", "there is a user name in front of the host"),
            ("ok\u{0}.test:443", character),
            ("ok.test\t:443", character),
            ("ok%2etest:443", character),
            ("ｏk.test:443", character),
            ("o\u{ad}k.test:443", character),
            ("o\u{200b}k.test:443", character),
            ("ok。test:443", character),
            ("ok.test", port),
            ("ok.test:", port),
            ("ok.test:0", port),
            ("ok.test:65536", port),
            ("ok.test:+443", port),
            ("ok.test:0443", port),
            ("ok.test: 443", port),
        ] {
            assert_eq!(shown(parse_authority(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn a_destination_may_be_a_url() {
        for (text, expected) in [
            ("https://sub.ok.test/x?y", "name sub.ok.test 443"),
            ("http://ok.test", "name ok.test 80"),
            ("https://u:p@ok.test:8443/", "name ok.test 8443"),
            ("ssh://git@ok.test/repo", "name ok.test 22"),
            ("ok.test", "name ok.test 443"),
            ("ok.test:80", "name ok.test 80"),
            ("::1", "address ::1 443"),
            ("[::1]", "address ::1 443"),
            ("http://[::1]:3000/", "address ::1 3000"),
            ("https:///x", "the host is empty"),
        ] {
            assert_eq!(shown(parse_destination(text)), expected, "{text:?}");
        }
    }
}
