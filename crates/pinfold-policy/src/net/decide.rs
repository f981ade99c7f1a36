//! The verdict on one destination.

use std::fmt;
use std::net::IpAddr;

use super::host::is_localhost;
use super::rule::{first_address, rule_text};
use super::{AddressClass, DEFAULT_PORTS, Host, classify, unmapped};
use crate::profile::{HostAction, HostPattern, HostRule, NetAccess, NetPolicy};

/// What a policy says about a destination, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostVerdict<'p> {
    /// Let through, ask, or refuse.
    pub action: HostAction,
    /// The most telling reason.
    pub reason: HostReason,
    /// The rule that decides, or for [`HostReason::Port`] and
    /// [`HostReason::ApexNotCovered`] the one that comes closest.
    pub rule: Option<&'p HostRule>,
}

/// Why a destination is allowed or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostReason {
    /// The network is open.
    Open,
    /// The network is off.
    Off,
    /// A rule matches and its action is the verdict (allow or ask).
    Rule,
    /// A deny rule matches.
    Denied,
    /// Rules cover this host, but not this port.
    Port,
    /// `*.name` is allowed, which does not cover `name` itself.
    ApexNotCovered,
    /// An address, where rules cover only names.
    AddressLiteral,
    /// An address that is not public and that no rule names.
    SpecialAddress(AddressClass),
    /// No rule covers this host.
    NotAllowed,
}

impl HostReason {
    /// The stable word for logs and answers.
    pub fn word(self) -> &'static str {
        match self {
            HostReason::Open => "open",
            HostReason::Off => "off",
            HostReason::Rule => "rule",
            HostReason::Denied => "denied",
            HostReason::Port => "port",
            HostReason::AddressLiteral => "ip_literal",
            HostReason::SpecialAddress(_) => "special_address",
            HostReason::ApexNotCovered | HostReason::NotAllowed => "not_allowed",
        }
    }

    /// Whether a refusal may say which rule would lift it. What was denied on
    /// purpose, and addresses that lead inside, are not advertised.
    pub fn has_remedy(self) -> bool {
        !matches!(
            self,
            HostReason::Denied
                | HostReason::SpecialAddress(_)
                | HostReason::Open
                | HostReason::Rule
        )
    }
}

impl<'p> HostVerdict<'p> {
    fn new(action: HostAction, reason: HostReason, rule: Option<&'p HostRule>) -> Self {
        HostVerdict { action, reason, rule }
    }

    fn refuse(reason: HostReason, rule: Option<&'p HostRule>) -> Self {
        HostVerdict::new(HostAction::Deny, reason, rule)
    }

    /// The reason in words, to follow "denied:" or "allowed by".
    pub fn why(&self) -> String {
        let text = self.rule.map_or("", |rule| rule.text.as_str());
        match self.reason {
            HostReason::Open => String::from("network open"),
            HostReason::Off => String::from("network off"),
            HostReason::Rule | HostReason::Denied => format!("host rule \"{text}\""),
            HostReason::Port => format!("host rule \"{text}\", which does not cover this port"),
            HostReason::ApexNotCovered => {
                format!(
                    "host rule \"{text}\", which does not cover the name itself; \"*{text}\" would"
                )
            }
            HostReason::AddressLiteral => {
                String::from("a rule for a name does not cover addresses")
            }
            HostReason::SpecialAddress(class) => {
                format!("it is {} and no rule names it", class.in_words())
            }
            HostReason::NotAllowed => String::from("no rule covers this host"),
        }
    }

    /// The rule that would allow this destination, where there is one and it may be
    /// advertised.
    pub fn remedy(&self, host: &Host, port: u16) -> Option<String> {
        let refused = self.action == HostAction::Deny && self.reason.has_remedy();
        refused.then(|| rule_text(host, port)).flatten()
    }
}

/// The verdict in words: `allowed by "*.example.com"`.
impl fmt::Display for HostVerdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_rule = matches!(self.reason, HostReason::Rule | HostReason::Denied);
        f.write_str(match self.action {
            HostAction::Allow => "allowed",
            HostAction::Ask => "asked for",
            HostAction::Deny => "denied",
        })?;
        f.write_str(if by_rule { " by " } else { ": " })?;
        f.write_str(&self.why())
    }
}

/// What the policy says about a host and port that a client named, before
/// anything is resolved. Deny beats ask beats allow, in whatever order the rules
/// stand; what no rule covers is refused.
///
/// A name may still turn out to have no address that may be dialled: see
/// [`decide_address`].
pub fn decide_host<'p>(policy: &'p NetPolicy, host: &Host, port: u16) -> HostVerdict<'p> {
    host_among((policy.access, policy.hosts.iter()), host, port)
}

/// The same with only those rules that can matter for the host, in their order.
pub(super) fn host_among<'p>(
    (access, rules): (NetAccess, impl Iterator<Item = &'p HostRule> + Clone),
    host: &Host,
    port: u16,
) -> HostVerdict<'p> {
    match access {
        NetAccess::Off => return HostVerdict::refuse(HostReason::Off, None),
        NetAccess::Open => return HostVerdict::new(HostAction::Allow, HostReason::Open, None),
        NetAccess::Rules => {}
    }
    let mut best: Option<&HostRule> = None;
    let mut near: Option<&HostRule> = None;
    for rule in rules.clone().filter(|rule| covers_host(&rule.host, host)) {
        if !covers_port(rule, port) {
            if rule.action != HostAction::Deny {
                near = near.or(Some(rule));
            }
        } else if best.is_none_or(|best| rule.action > best.action) {
            best = Some(rule);
        }
    }
    match best {
        Some(rule) if rule.action == HostAction::Deny => {
            HostVerdict::refuse(HostReason::Denied, Some(rule))
        }
        Some(rule) => match host {
            Host::Address(address) => literal(rules, rule, *address, port),
            Host::Name(_) => HostVerdict::new(rule.action, HostReason::Rule, Some(rule)),
        },
        None => uncovered(rules, host, near),
    }
}

/// What the policy says about one address of a host that [`decide_host`] let
/// through: it must be public or named by an allow rule, and no deny rule may
/// cover it. For an address literal this is the literal itself.
pub fn decide_address<'p>(
    policy: &'p NetPolicy,
    host: &Host,
    address: IpAddr,
    port: u16,
) -> HostVerdict<'p> {
    address_among((policy.access, policy.hosts.iter()), host, (address, port))
}

/// The same with only those rules that can matter for the host and its address.
pub(super) fn address_among<'p>(
    (access, rules): (NetAccess, impl Iterator<Item = &'p HostRule> + Clone),
    host: &Host,
    (address, port): (IpAddr, u16),
) -> HostVerdict<'p> {
    let address = unmapped(address);
    if access != NetAccess::Rules || *host == Host::Address(address) {
        return host_among((access, rules), host, port);
    }
    let covering =
        |rule: &&HostRule| covers_port(rule, port) && covers_address(&rule.host, address);
    let denied = |rule: &&HostRule| rule.action == HostAction::Deny;
    if let Some(rule) = rules.clone().filter(covering).find(denied) {
        return HostVerdict::refuse(HostReason::Denied, Some(rule));
    }
    let class = classify(address);
    let opens = |rule: &&HostRule| {
        rule.action == HostAction::Allow
            && (names_special(&rule.host, address, class)
                || class == AddressClass::Loopback && is_localhost_rule(rule, host))
    };
    let rule = rules.clone().filter(|rule| covers_port(rule, port)).find(opens);
    match (class, rule) {
        (AddressClass::Public, _) => HostVerdict::new(HostAction::Allow, HostReason::Rule, rule),
        (_, Some(_)) => HostVerdict::new(HostAction::Allow, HostReason::Rule, rule),
        (_, None) => HostVerdict::refuse(HostReason::SpecialAddress(class), None),
    }
}

/// `rule` covers the literal; one that is not public must be named as well.
fn literal<'p>(
    rules: impl Iterator<Item = &'p HostRule>,
    rule: &'p HostRule,
    address: IpAddr,
    port: u16,
) -> HostVerdict<'p> {
    let class = classify(address);
    if class == AddressClass::Public {
        return HostVerdict::new(rule.action, HostReason::Rule, Some(rule));
    }
    let names =
        |rule: &&HostRule| covers_port(rule, port) && names_special(&rule.host, address, class);
    match rules.filter(names).max_by_key(|rule| rule.action) {
        // Asking for the address does not become allowing it because `*` is allowed.
        Some(naming) if naming.action >= rule.action => {
            HostVerdict::new(naming.action, HostReason::Rule, Some(naming))
        }
        Some(_) => HostVerdict::new(rule.action, HostReason::Rule, Some(rule)),
        None => HostVerdict::refuse(HostReason::SpecialAddress(class), None),
    }
}

/// Why nothing covers this host and port.
fn uncovered<'p>(
    mut rules: impl Iterator<Item = &'p HostRule>,
    host: &Host,
    near: Option<&'p HostRule>,
) -> HostVerdict<'p> {
    let named = match host {
        Host::Address(address) => {
            let class = classify(*address);
            let named = near.is_some_and(|rule| names_special(&rule.host, *address, class));
            if class != AddressClass::Public && !named {
                return HostVerdict::refuse(HostReason::SpecialAddress(class), None);
            }
            None
        }
        Host::Name(name) => Some(name),
    };
    if near.is_some() {
        return HostVerdict::refuse(HostReason::Port, near);
    }
    let Some(name) = named else {
        return HostVerdict::refuse(HostReason::AddressLiteral, None);
    };
    let apex = |rule: &&HostRule| {
        rule.action != HostAction::Deny
            && matches!(&rule.host, HostPattern::Below(base) if base == name)
    };
    match rules.find(apex) {
        Some(rule) => HostVerdict::refuse(HostReason::ApexNotCovered, Some(rule)),
        None => HostVerdict::refuse(HostReason::NotAllowed, None),
    }
}

fn covers_host(pattern: &HostPattern, host: &Host) -> bool {
    match host {
        Host::Address(address) => *pattern == HostPattern::Any || covers_address(pattern, *address),
        Host::Name(name) => match pattern {
            HostPattern::Any => true,
            HostPattern::Name(base) => name == base,
            HostPattern::Below(base) => is_below(name, base),
            HostPattern::AtOrBelow(base) => name == base || is_below(name, base),
            HostPattern::Network { .. } => false,
        },
    }
}

fn is_below(name: &str, base: &str) -> bool {
    name.strip_suffix(base).is_some_and(|front| front.ends_with('.'))
}

fn covers_address(pattern: &HostPattern, address: IpAddr) -> bool {
    matches!(pattern, HostPattern::Network { address: first, prefix }
        if first.is_ipv4() == address.is_ipv4() && first_address(address, *prefix) == *first)
}

fn covers_port(rule: &HostRule, port: u16) -> bool {
    match (rule.ports.as_slice(), rule.action) {
        ([], HostAction::Deny) => true,
        ([], _) => DEFAULT_PORTS.contains(&port),
        (ranges, _) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)),
    }
}

/// Whether the pattern names this address on purpose. A block as wide as the
/// Internet does not mean the networks within, and a block of a network does not
/// mean the metadata service in it.
fn names_special(pattern: &HostPattern, address: IpAddr, class: AddressClass) -> bool {
    let HostPattern::Network { prefix, .. } = pattern else { return false };
    let narrowest = match (address, class) {
        (IpAddr::V4(_), AddressClass::Metadata) => 32,
        (IpAddr::V6(_), AddressClass::Metadata) => 128,
        (IpAddr::V4(_), _) => 8,
        (IpAddr::V6(_), _) => 7,
    };
    *prefix >= narrowest && covers_address(pattern, address)
}

/// The ports at which rules name services on the host's loopback, in ranges from the first
/// to the last.
pub fn host_loopback(policy: &NetPolicy) -> Vec<(u16, u16)> {
    let names_it = |rule: &&HostRule| match &rule.host {
        HostPattern::Name(name) => is_localhost(name),
        HostPattern::Network { address, prefix } => {
            classify(*address) == AddressClass::Loopback && (address.is_ipv6() || *prefix >= 8)
        }
        _ => false,
    };
    let defaults = DEFAULT_PORTS.map(|port| (port, port));
    let rules = policy.hosts.iter().filter(|rule| rule.action != HostAction::Deny);
    let ports = rules.filter(names_it).flat_map(|rule| match &rule.ports[..] {
        [] => defaults.to_vec(),
        ports => ports.to_vec(),
    });
    let mut ports: Vec<(u16, u16)> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// `localhost` means this machine (RFC 6761): a rule that says so names it.
fn is_localhost_rule(rule: &HostRule, host: &Host) -> bool {
    matches!((&rule.host, host), (HostPattern::Name(rule), Host::Name(name))
        if rule == name && is_localhost(name))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
