//! Host rules: their grammar and what they cover.

use std::net::IpAddr;

use crate::profile::{HostAction, HostPattern, HostRule};

/// Reads `HOST[:PORTS]`: a name, `*`, `*.name`, `**.name`, an address or a CIDR
/// block, an IPv6 address in brackets where ports follow, and ports as a list of
/// numbers and ranges.
///
/// # Errors
/// Says what is wrong and how to write it.
pub fn parse_host_rule(text: &str) -> Result<(HostPattern, Vec<(u16, u16)>), String> {
    if text.contains("://") {
        return Err(String::from("it is a URL; write the host alone, as in \"example.com\""));
    }
    if text.contains('@') {
        return Err(String::from("it holds a user name; write the host alone"));
    }
    let (host, ports) = split_ports(text)?;
    Ok((host_pattern(host)?, ports.map_or(Ok(Vec::new()), parse_ports)?))
}

/// Whether a rule covers a host, a name or an address, and a port. Without ports
/// a denial covers all of them, anything else only 80 and 443.
pub fn covers(rule: &HostRule, host: &str, port: u16) -> bool {
    let ports = match (rule.ports.is_empty(), rule.action) {
        (true, HostAction::Deny) => true,
        (true, _) => port == 80 || port == 443,
        (false, _) => rule.ports.iter().any(|(first, last)| (*first..=*last).contains(&port)),
    };
    ports && covers_host(&rule.host, host)
}

fn covers_host(pattern: &HostPattern, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let below = |name: &str| {
        host.strip_suffix(name)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|rest| !rest.is_empty())
    };
    match pattern {
        HostPattern::Any => true,
        HostPattern::Name(name) => host == *name,
        HostPattern::Below(name) => below(name),
        HostPattern::AtOrBelow(name) => host == *name || below(name),
        HostPattern::Network { address, prefix } => match host.parse::<IpAddr>() {
            Ok(host) => in_network(host, *address, *prefix),
            Err(_) => false,
        },
    }
}

fn in_network(host: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let (host, network, all) = match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => {
            (u128::from(u32::from(host)), u128::from(u32::from(network)), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(network)) => (u128::from(host), u128::from(network), 128),
        _ => return false,
    };
    let ignored = u32::from(all - prefix.min(all));
    host.checked_shr(ignored) == network.checked_shr(ignored)
}

fn split_ports(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        return match after {
            "" => Ok((host, None)),
            after => match after.strip_prefix(':') {
                Some(ports) => Ok((host, Some(ports))),
                None => Err(String::from("after \"]\" only \":PORTS\" can follow")),
            },
        };
    }
    // More than one colon is an IPv6 address or block without ports.
    match text.split_once(':') {
        Some((host, ports)) if !ports.contains(':') => Ok((host, Some(ports))),
        _ => Ok((text, None)),
    }
}

fn parse_ports(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let number = |text: &str| match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("\"{text}\" is no port, use 1 to 65535")),
    };
    let mut ports = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(format!("the range \"{part}\" ends before it begins"));
        }
        ports.push((first, last));
    }
    ports.sort_unstable();
    Ok(ports)
}

fn host_pattern(host: &str) -> Result<HostPattern, String> {
    if host == "*" {
        return Ok(HostPattern::Any);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        return Ok(HostPattern::Network { address, prefix });
    }
    if let Some((address, prefix)) = host.split_once('/') {
        return block(address, prefix);
    }
    if let Some(rest) = host.strip_prefix("**.") {
        return Ok(HostPattern::AtOrBelow(name(rest)?));
    }
    if let Some(rest) = host.strip_prefix("*.") {
        return Ok(HostPattern::Below(name(rest)?));
    }
    Ok(HostPattern::Name(name(host)?))
}

fn block(address: &str, prefix: &str) -> Result<HostPattern, String> {
    let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>()) else {
        return Err(String::from(
            "it holds a path; write the host alone, or a block as in \"10.0.0.0/8\"",
        ));
    };
    let (all, bits) = match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    if prefix > all {
        return Err(format!("the prefix must be at most {all}"));
    }
    let host_bits =
        if prefix == 0 { u128::MAX } else { u128::MAX.checked_shr(prefix.into()).unwrap_or(0) };
    if bits & host_bits != 0 && prefix < all {
        return Err(String::from("bits after the prefix must be zero, as in \"10.0.0.0/8\""));
    }
    Ok(HostPattern::Network { address, prefix })
}

/// A name in lower case without a final dot.
fn name(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if !text.is_ascii() {
        return Err(String::from(
            "it is not ASCII; write its encoded form, which begins with \"xn--\"",
        ));
    }
    if text.contains('*') {
        return Err(String::from(
            "a star stands only for a whole host or in front, as in \"*.example.com\"",
        ));
    }
    let label = |label: &str| {
        let characters = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..64).contains(&label.len()) && characters
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(String::from("it is no host name"));
    }
    if text.split('.').all(|part| part.bytes().all(|b| b.is_ascii_digit())) {
        return Err(String::from("it looks like an address but is none"));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_or_refused_with_a_reason() {
        for (text, expected) in [
            ("example.com", "Name(\"example.com\") []"),
            ("Example.COM.:443", "Name(\"example.com\") [(443, 443)]"),
            ("*.example.com", "Below(\"example.com\") []"),
            (
                "**.example.org:443,8000-8080",
                "AtOrBelow(\"example.org\") [(443, 443), (8000, 8080)]",
            ),
            ("*", "Any []"),
            ("127.0.0.1:5432", "Network { address: 127.0.0.1, prefix: 32 } [(5432, 5432)]"),
            ("[::1]:80", "Network { address: ::1, prefix: 128 } [(80, 80)]"),
            ("fd00::/8", "Network { address: fd00::, prefix: 8 } []"),
            ("10.0.0.0/8:22", "Network { address: 10.0.0.0, prefix: 8 } [(22, 22)]"),
            ("https://example.com", "it is a URL; write the host alone, as in \"example.com\""),
            ("a@example.com", "it holds a user name; write the host alone"),
            ("example.com:0", "\"0\" is no port, use 1 to 65535"),
            ("example.com:70000", "\"70000\" is no port, use 1 to 65535"),
            ("example.com:9-3", "the range \"9-3\" ends before it begins"),
            (
                "exa*mple.com",
                "a star stands only for a whole host or in front, as in \"*.example.com\"",
            ),
            ("10.0.0.1/8", "bits after the prefix must be zero, as in \"10.0.0.0/8\""),
            ("10.0.0.0/33", "the prefix must be at most 32"),
            (
                "bücher.example",
                "it is not ASCII; write its encoded form, which begins with \"xn--\"",
            ),
            ("1.2.3", "it looks like an address but is none"),
            (
                "example.com/path",
                "it holds a path; write the host alone, or a block as in \"10.0.0.0/8\"",
            ),
            ("", "it is no host name"),
            ("[::1", "the bracket is not closed"),
        ] {
            let got = match parse_host_rule(text) {
                Ok((host, ports)) => format!("{host:?} {ports:?}"),
                Err(reason) => reason,
            };
            assert_eq!(got, expected, "{text:?}");
        }
    }
}
