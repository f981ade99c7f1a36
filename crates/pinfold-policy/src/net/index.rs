//! Host rules by the names that they are for: a proxy decides often, and looks
//! only at the rules that can matter.

use std::collections::HashMap;
use std::net::IpAddr;

use super::decide::{address_among, host_among};
use super::{Host, HostVerdict};
use crate::profile::{HostPattern, HostRule, NetPolicy};

/// A policy that answers quickly however many rules it has.
#[derive(Clone, Debug)]
pub struct IndexedPolicy {
    policy: NetPolicy,
    /// Rules for a name or for what is below it, by that name; in their order.
    named: HashMap<Box<str>, Vec<usize>>,
    /// Rules for everything.
    any: Vec<usize>,
    /// Rules for addresses.
    networks: Vec<usize>,
}

impl IndexedPolicy {
    /// Sorts the rules of a policy.
    pub fn new(policy: NetPolicy) -> IndexedPolicy {
        let (mut any, mut networks) = (Vec::new(), Vec::new());
        let mut named: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, rule) in policy.hosts.iter().enumerate() {
            match &rule.host {
                HostPattern::Any => any.push(index),
                HostPattern::Network { .. } => networks.push(index),
                HostPattern::Name(name)
                | HostPattern::Below(name)
                | HostPattern::AtOrBelow(name) => {
                    named.entry(name.as_str().into()).or_default().push(index);
                }
            }
        }
        IndexedPolicy { policy, named, any, networks }
    }

    /// The policy itself.
    pub fn policy(&self) -> &NetPolicy {
        &self.policy
    }

    /// What [`decide_host`](super::decide_host) says.
    pub fn decide_host(&self, host: &Host, port: u16) -> HostVerdict<'_> {
        let mut rules = self.any.clone();
        match host {
            Host::Name(name) => self.add_named(name, &mut rules),
            Host::Address(_) => rules.extend(&self.networks),
        }
        let rules = self.in_order(rules);
        host_among((self.policy.access, rules.iter().copied()), host, port)
    }

    /// What [`decide_address`](super::decide_address) says.
    pub fn decide_address(&self, host: &Host, address: IpAddr, port: u16) -> HostVerdict<'_> {
        let mut rules = [&self.any[..], &self.networks].concat();
        if let Host::Name(name) = host {
            self.add_named(name, &mut rules);
        }
        let rules = self.in_order(rules);
        let rules = (self.policy.access, rules.iter().copied());
        address_among(rules, host, (address, port))
    }

    /// Adds the rules for a name and for every name that it is below.
    fn add_named(&self, name: &str, rules: &mut Vec<usize>) {
        let ends = name.match_indices('.').map(|(dot, _)| dot + 1);
        for start in std::iter::once(0).chain(ends) {
            rules.extend(self.named.get(&name[start..]).into_iter().flatten());
        }
    }

    /// The first of equal rules decides, so that their order counts.
    fn in_order(&self, mut rules: Vec<usize>) -> Vec<&HostRule> {
        rules.sort_unstable();
        rules.into_iter().filter_map(|index| self.policy.hosts.get(index)).collect()
    }
}
