//! The grammar of hosts and host rules, and the verdicts about them.
//!
//! Input: rules, one per line, then an empty line, then a destination. What is printed
//! can be read again and means the same; an index of rules says what the rules say; the
//! rule that a refusal suggests allows what was refused; no rule makes more refused hosts
//! reachable by being "deny".
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfold_policy::net::{
    Host, IndexedPolicy, decide_host, parse_authority, parse_destination, parse_host_rule,
};
use pinfold_policy::origin::Origin;
use pinfold_policy::profile::{HostAction, HostRule, NetAccess, NetMode, NetPolicy};

fn policy(hosts: Vec<HostRule>) -> NetPolicy {
    NetPolicy {
        access: NetAccess::Rules,
        origin: Origin::BuiltIn("fuzz"),
        mode: NetMode::Full,
        allow_local_binding: None,
        upstream_resolves: false,
        hosts,
        unix_sockets: Vec::new(),
    }
}

fn rule(text: &str, action: HostAction) -> Option<HostRule> {
    let (host, ports) = parse_host_rule(text).ok()?;
    let sorted = ports.windows(2).all(|pair| pair[0].1 < pair[1].0);
    assert!(sorted && ports.iter().all(|(first, last)| first <= last && *first > 0), "{ports:?}");
    Some(HostRule { text: text.into(), host, ports, action, origin: Origin::BuiltIn("fuzz") })
}

fuzz_target!(|text: &str| {
    let (rules, destination) = text.split_once("\n\n").unwrap_or((text, text));
    let read = |line: &str| match line.split_once(' ') {
        Some(("deny", text)) => rule(text, HostAction::Deny),
        Some(("ask", text)) => rule(text, HostAction::Ask),
        _ => rule(line, HostAction::Allow),
    };
    let rules: Vec<HostRule> = rules.lines().take(16).filter_map(read).collect();
    if let Ok(host) = Host::parse(destination) {
        let printed = match &host {
            Host::Address(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            host => host.to_string(),
        };
        assert_eq!(Host::parse(&printed), Ok(host), "{printed}");
    }
    let Ok((host, port)) = parse_authority(destination).or_else(|_| parse_destination(destination))
    else {
        return;
    };
    let policy = policy(rules);
    let verdict = decide_host(&policy, &host, port);
    assert_eq!(IndexedPolicy::new(policy.clone()).decide_host(&host, port), verdict);
    let _ = verdict.why();
    let (action, remedy) = (verdict.action, verdict.remedy(&host, port));
    if let Some(remedy) = remedy.as_deref().filter(|_| action == HostAction::Deny) {
        let text = remedy.strip_prefix("--net ").unwrap_or(remedy);
        let mut more = policy.clone();
        more.hosts.push(rule(text, HostAction::Allow).expect("a remedy is a rule"));
        assert_eq!(decide_host(&more, &host, port).action, HostAction::Allow, "{remedy}");
    }
    if action != HostAction::Allow {
        let mut more = policy.clone();
        more.hosts.push(rule("*:*", HostAction::Deny).unwrap());
        assert_eq!(decide_host(&more, &host, port).action, HostAction::Deny);
    }
});
