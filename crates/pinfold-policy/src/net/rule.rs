//! The text of a host rule, `HOST[:PORTS]`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::host::{is_label, legacy_ipv4};
use crate::profile::HostPattern;

/// Why a text is no host rule, and how to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRuleError {
    reason: String,
    hint: String,
}

impl HostRuleError {
    fn new(reason: impl Into<String>, hint: impl Into<String>) -> HostRuleError {
        HostRuleError { reason: reason.into(), hint: hint.into() }
    }

    /// What to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// Says why, without the hint and without the text itself.
impl fmt::Display for HostRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for HostRuleError {}

/// A pattern and its inclusive port ranges, sorted and merged; no range means
/// the default ports.
type Parsed = (HostPattern, Vec<(u16, u16)>);

/// Reads the text of a host rule, `HOST[:PORTS]`.
///
/// `HOST` is a name, `*.name` (any depth below it), `**.name` (the name too),
/// `*`, an address or a block such as `10.0.0.0/8`; an IPv6 address or block
/// stands in brackets when ports follow. `PORTS` is a list of numbers and
/// ranges, `443,8000-8080`, or `*`.
///
/// # Errors
/// Anything else is refused, with the reason and with what to write instead.
///
/// ```
/// use pinfold_policy::net::parse_host_rule;
/// use pinfold_policy::profile::HostPattern;
///
/// let (host, ports) = parse_host_rule("*.Example.com:443,8000-8080").unwrap();
/// assert_eq!(host, HostPattern::Below("example.com".into()));
/// assert_eq!(ports, [(443, 443), (8000, 8080)]);
/// assert_eq!(parse_host_rule("http://a.example/x").unwrap_err().hint(), "write \"a.example:80\"");
/// ```
pub fn parse_host_rule(text: &str) -> Result<Parsed, HostRuleError> {
    refuse_urls(text)?;
    let (host, ports) = split_ports(text)?;
    let pattern = parse_pattern(host)?;
    let ports = match ports {
        Some(ports) => parse_ports(ports)?,
        None => Vec::new(),
    };
    Ok((pattern, ports))
}

/// The rule for exactly this host and port, as short as it can be written; nothing
/// for what a client may name and no rule can, such as a label that begins with a
/// hyphen.
pub fn rule_text(host: &super::Host, port: u16) -> Option<String> {
    let text = match host {
        super::Host::Name(name) if super::DEFAULT_PORTS.contains(&port) => name.clone(),
        super::Host::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        host => format!("{host}:{port}"),
    };
    parse_host_rule(&text).is_ok().then_some(text)
}

/// The forms that people paste, which are no rules.
fn refuse_urls(text: &str) -> Result<(), HostRuleError> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let port = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" if !host.contains(':') => ":80",
            "https" | "wss" if !host.contains(':') => ":443",
            _ => "",
        };
        return Err(HostRuleError::new(
            "a rule names hosts and ports, not URLs",
            if host.is_empty() { hint_general() } else { format!("write \"{host}{port}\"") },
        ));
    }
    if let Some((_, host)) = text.rsplit_once('@') {
        return Err(HostRuleError::new(
            "a rule holds no user name",
            format!("write \"{host}\" without the part before \"@\""),
        ));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(HostRuleError::new(
            "it contains a space or a control character",
            "write one host per rule, without spaces",
        ));
    }
    Ok(())
}

fn hint_general() -> String {
    String::from("write HOST or HOST:PORTS, for example \"example.com:443\"")
}

/// Separates host and ports. An IPv6 address without brackets has no ports.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), HostRuleError> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(HostRuleError::new(
                "the bracket is not closed",
                "write \"[ADDRESS]:PORT\"",
            ));
        };
        if !host.contains(':') {
            return Err(HostRuleError::new(
                "only IPv6 addresses stand in brackets",
                format!("write \"{host}{after}\""),
            ));
        }
        return match after.strip_prefix(':') {
            Some(ports) => Ok((host, Some(ports))),
            None if after.is_empty() => Ok((host, None)),
            None if after.starts_with('/') => Err(HostRuleError::new(
                "the prefix length stands outside the brackets",
                format!("write \"[{host}{}", after.replacen(':', "]:", 1)),
            )),
            None => Err(HostRuleError::new(
                format!("\"{after}\" follows the bracket"),
                format!("write \"[{host}]:PORT\""),
            )),
        };
    }
    match text.split_once(':') {
        Some((host, ports)) if !ports.contains(':') => Ok((host, Some(ports))),
        Some(_) if !looks_like_ipv6(text) => {
            Err(HostRuleError::new("it has more than one colon", hint_general()))
        }
        _ => Ok((text, None)),
    }
}

fn looks_like_ipv6(text: &str) -> bool {
    let address = text.split('/').next().unwrap_or_default();
    address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
}

fn parse_pattern(host: &str) -> Result<HostPattern, HostRuleError> {
    if host.is_empty() {
        return Err(HostRuleError::new("it names no host", "write \"*\" for every host"));
    }
    if host == "*" {
        return Ok(HostPattern::Any);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return network(address, if address.is_ipv4() { 32 } else { 128 });
    }
    if let Some((address, prefix)) = host.split_once('/') {
        return parse_block(address, prefix);
    }
    if let Some(name) = host.strip_prefix("**.") {
        return Ok(HostPattern::AtOrBelow(parse_name(name)?));
    }
    if let Some(name) = host.strip_prefix("*.") {
        return Ok(HostPattern::Below(parse_name(name)?));
    }
    Ok(HostPattern::Name(parse_name(host)?))
}

fn parse_block(address: &str, prefix: &str) -> Result<HostPattern, HostRuleError> {
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(HostRuleError::new(
            "a rule holds no path",
            format!("write \"{address}\" without the part after it"),
        ));
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    match prefix.parse::<u8>() {
        Ok(bits) if digits && bits <= longest => network(address, bits),
        _ => Err(HostRuleError::new(
            format!("\"{prefix}\" is no prefix length"),
            format!("write a number from 0 to {longest} after the slash"),
        )),
    }
}

fn network(address: IpAddr, prefix: u8) -> Result<HostPattern, HostRuleError> {
    if let IpAddr::V6(six) = address
        && let Some(four) = six.to_ipv4_mapped()
    {
        return Err(HostRuleError::new(
            "it is an IPv4 address in IPv6 form",
            match prefix.checked_sub(96) {
                Some(32) | None => format!("write \"{four}\""),
                Some(bits) => format!("write \"{four}/{bits}\""),
            },
        ));
    }
    let first = first_address(address, prefix);
    if first != address {
        return Err(HostRuleError::new(
            format!("{address} has bits beyond the first {prefix}"),
            format!("write \"{first}/{prefix}\" for the block or \"{address}\" for the address"),
        ));
    }
    Ok(HostPattern::Network { address, prefix })
}

/// The first address of the block with `prefix` bits that holds `address`.
pub(super) fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    let kept = |width: u32| u128::MAX.checked_shl(width.saturating_sub(prefix.into())).unwrap_or(0);
    match address {
        IpAddr::V4(four) => IpAddr::V4((u32::from(four) & kept(32) as u32).into()),
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from(u128::from(six) & kept(128))),
    }
}

fn parse_name(text: &str) -> Result<String, HostRuleError> {
    if let Some(name) = text.strip_prefix('.') {
        return Err(HostRuleError::new(
            "it begins with a dot",
            format!("write \"*.{name}\" for everything below, \"**.{name}\" for the name too"),
        ));
    }
    if let Some(name) = text.strip_suffix('.') {
        return Err(HostRuleError::new("it ends with a dot", format!("write \"{name}\"")));
    }
    if !text.is_ascii() {
        return Err(HostRuleError::new(
            "it has letters outside ASCII, which can look like others",
            "write the encoded name that goes over the network, with labels such as \"xn--bcher-kva\"",
        ));
    }
    if text.contains('*') {
        let name = text.rsplit_once("*").map_or(text, |(_, name)| name).trim_start_matches('.');
        let hint = format!("write \"*.{name}\" for everything below {name}");
        return Err(HostRuleError::new(
            "a star stands alone, or as the first label",
            if name.is_empty() { hint_general() } else { hint },
        ));
    }
    let name = text.to_ascii_lowercase();
    if let Some(address) = legacy_ipv4(&name) {
        return Err(match address {
            Some(address) => HostRuleError::new(
                format!("some programs read it as {address}"),
                format!("write \"{address}\""),
            ),
            None => HostRuleError::new("it is neither a name nor an address", hint_general()),
        });
    }
    if name.len() > 253 {
        return Err(HostRuleError::new("it is longer than 253 characters", hint_general()));
    }
    if let Some(label) = name.split('.').find(|label| !is_label(label)) {
        return Err(HostRuleError::new(
            format!("\"{label}\" is no part of a host name"),
            "use letters, digits, \"-\" and \"_\", 1 to 63 between dots",
        ));
    }
    Ok(name)
}

fn parse_ports(text: &str) -> Result<Vec<(u16, u16)>, HostRuleError> {
    if text == "*" {
        return Ok(vec![(1, u16::MAX)]);
    }
    let mut ranges = text.split(',').map(parse_range).collect::<Result<Vec<_>, _>>()?;
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    Ok(merged)
}

fn parse_range(text: &str) -> Result<(u16, u16), HostRuleError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    if first > last {
        return Err(HostRuleError::new(
            format!("the range \"{text}\" ends before it begins"),
            format!("write \"{last}-{first}\""),
        ));
    }
    Ok((first, last))
}

fn parse_port(text: &str) -> Result<u16, HostRuleError> {
    super::host::parse_port(text).ok_or_else(|| {
        HostRuleError::new(
            format!("\"{text}\" is no port"),
            "write a number from 1 to 65535, a range \"8000-8080\", a list \"80,443\" or \"*\"",
        )
    })
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
