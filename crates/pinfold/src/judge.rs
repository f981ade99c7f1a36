//! Whether the sandbox is what an attempt fails at, and what would allow it: the
//! profile decides, and the host says whether the user could do it outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pinfold_egress::{Reason, Refusal};
use pinfold_policy::decide::{self, Verdict};
use pinfold_policy::denial::{Allow, Attempted, Target, is_wide, refusal};
use pinfold_policy::net::{Host, HostReason, decide_host, rule_text};
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::{NetAccess, Profile};
use pinfold_sys::view::{self, Kind, View};
use pinfold_sys::{Act, Captured, May, facts, name};

/// A refusal of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) attempted: Attempted,
    pub(crate) target: Target,
    pub(crate) rule: String,
    pub(crate) origin: Option<String>,
    pub(crate) allow: Option<Allow>,
    pub(crate) narrower: Option<AbsPath>,
    pub(crate) secret: bool,
}

/// Which network commands have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The host's.
    Host,
    /// One of their own, with the connections that come to the proxy.
    Own { captured: Captured },
}

/// The port of name servers.
const NAMES: u16 = 53;

/// Files that every command may use, whatever the rules for their directory: they
/// are devices, or the kernel's own.
const APART: [&[u8]; 3] = [b"/dev", b"/proc", b"/sys"];

/// Whether a path is one of those, or below.
pub(crate) fn is_apart(path: &AbsPath) -> bool {
    APART.iter().any(|apart| {
        let below = path.as_bytes().strip_prefix(*apart);
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    })
}

/// What an act is to a profile, when there is something at its path or not.
pub(crate) fn attempted(act: Act, exists: bool) -> Attempted {
    match act {
        Act::Look | Act::Read => Attempted::Read,
        Act::Ensure if exists => Attempted::Read,
        Act::Execute => Attempted::Execute,
        Act::Ask | Act::Write | Act::Unnamed | Act::Create | Act::Ensure | Act::Arrive => {
            Attempted::Write
        }
        Act::Make | Act::MakeDirectory => Attempted::Create,
        Act::Move | Act::Remove | Act::RemoveDirectory => Attempted::Remove,
        Act::Change => Attempted::Change,
    }
}

/// Whether the profile refuses an act on what is, or would be, at a path.
pub(crate) fn is_refused(profile: &Profile, act: Act, path: &AbsPath) -> bool {
    !is_apart(path) && refusal(profile, attempted(act, false), path, true).is_some()
}

/// The refusal of an act on a file.
pub(crate) fn file(
    profile: &Profile,
    view: &View,
    (act, follows, name): (Act, bool, &[u8]),
    source: Option<&[u8]>,
) -> Option<Judgement> {
    let path = view.real(name, follows)?;
    let source = source.map(|source| view.real(source, false));
    if is_apart(&path)
        || source.is_some_and(|source| !source.is_some_and(|source| is_there(&source)))
    {
        return None;
    }
    let exists = is_there(&path);
    let attempted = attempted(act, exists);
    let refused = refusal(profile, attempted, &path, exists)?;
    if !is_possible(act, &path) {
        return None;
    }
    let narrower = narrower(profile, act, &path, refused.allow.as_ref());
    let found = (refused.allow, refused.secret);
    let judged = Judgement::of(attempted, Target::Path(path), refused.verdict, found);
    Some(Judgement { narrower, ..judged })
}

/// The path itself, where the rule for the directory it would be made in opens much more
/// and the act is the same if something is there already.
fn narrower(profile: &Profile, act: Act, path: &AbsPath, allow: Option<&Allow>) -> Option<AbsPath> {
    let Some(Allow::Write(directory)) = allow else { return None };
    let home = profile.directories.home.as_ref();
    let serves = matches!(act, Act::MakeDirectory | Act::Create | Act::Ensure);
    (serves && directory != path && is_wide(directory, home)).then(|| path.clone())
}

fn is_there(path: &AbsPath) -> bool {
    view::kind(path).is_some()
}

/// Whether the user could do it outside.
pub(crate) fn is_possible(act: Act, path: &AbsPath) -> bool {
    let kind = view::kind(path);
    let (exists, directory) = (kind.is_some(), kind == Some(Kind::Directory));
    let may = |may| facts::may(path, may);
    let above = || path.parent().is_some_and(|above| facts::may(&above, May::Write));
    match act {
        Act::Look => exists,
        Act::Read => may(May::Read),
        Act::Ensure if exists => may(May::Read),
        Act::Execute => !directory && may(May::Execute),
        Act::Ask => may(May::Write),
        Act::Unnamed => directory && may(May::Write),
        Act::Write => !directory && may(May::Write),
        Act::Create if exists => !directory && may(May::Write),
        Act::Create | Act::Ensure => above(),
        Act::Make | Act::MakeDirectory => !exists && above(),
        Act::Arrive if exists => may(May::Remove),
        Act::Arrive => above(),
        Act::Move => exists && may(May::Remove),
        Act::Remove => exists && !directory && may(May::Remove),
        Act::RemoveDirectory => directory && is_empty(path) && may(May::Remove),
        Act::Change => may(May::Own),
    }
}

fn is_empty(directory: &AbsPath) -> bool {
    std::fs::read_dir(name::path(directory)).is_ok_and(|mut entries| entries.next().is_none())
}

/// The refusal of a connection to a unix socket: the host has it, the view does not.
pub(crate) fn socket(profile: &Profile, view: &View, name: &[u8]) -> Option<Judgement> {
    let path = view.real(name, true)?;
    let hidden = view::kind(&path) == Some(Kind::Socket) && view.kind(&path) != Some(Kind::Socket);
    if !hidden || !facts::may(&path, May::Write) {
        return None;
    }
    let denied = profile.network.unix_sockets.iter().find(|rule| rule.path == path && !rule.allow);
    let (verdict, allow, secret) = match (denied, refusal(profile, Attempted::Connect, &path, true))
    {
        (Some(rule), _) => {
            let verdict = Verdict {
                allowed: false,
                rule: format!("deny {path}"),
                origin: Some(rule.origin.clone()),
            };
            (verdict, None, false)
        }
        (None, Some(refused)) => (refused.verdict, refused.allow, refused.secret),
        (None, None) => {
            let rule = format!("no rule covers the socket {path}");
            let verdict = Verdict { allowed: false, rule, origin: None };
            (verdict, Some(Allow::Socket(path.clone())), false)
        }
    };
    Some(Judgement::of(Attempted::Connect, Target::Socket(path), verdict, (allow, secret)))
}

/// The refusal of a connection to a socket of the host that is no file.
pub(crate) fn abstract_socket(network: &Network, name: Vec<u8>) -> Option<Judgement> {
    if *network == Network::Host || !view::has_abstract_socket(&name) {
        return None;
    }
    let rule = String::from("sockets of the host without a path are out of reach");
    let verdict = Verdict { allowed: false, rule, origin: None };
    let target = Target::AbstractSocket(name);
    Some(Judgement::of(Attempted::Connect, target, verdict, (None, false)))
}

/// The refusal of a connection to an address that does not come to the proxy. `name`
/// is what the address stands for.
pub(crate) fn address(
    (profile, network): (&Profile, &Network),
    (address, datagrams): (SocketAddr, bool),
    name: Option<&str>,
    process: i32,
) -> Option<Judgement> {
    let Network::Own { captured } = network else { return None };
    let port = address.port();
    let here = address.ip().is_loopback() || address.ip().is_unspecified();
    let proxied = !datagrams
        && match captured {
            Captured::Ports(ports) => ports.binary_search(&port).is_ok(),
            Captured::All => !here,
        };
    let rules = profile.network.access == NetAccess::Rules;
    // Port 0 only asks which way packets would go; groups are for discovery.
    if port == 0 || address.ip().is_multicast() || proxied || (rules && port == NAMES) {
        return None;
    }
    if here && (datagrams || view::listens(Some(process), port) || !view::listens(None, port)) {
        return None;
    }
    let address = match address.ip() {
        IpAddr::V4(_) if here => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) if here => IpAddr::from(Ipv6Addr::LOCALHOST),
        other => other,
    };
    let host = match name {
        Some(name) => Host::Name(name.to_owned()),
        None => Host::from(address),
    };
    let destination = format!("{host}:{port}");
    let (verdict, allow) = if rules && datagrams {
        let rule = String::from("host rules let only TCP through");
        let origin = Some(profile.network.origin.clone());
        (Verdict { allowed: false, rule, origin }, Some(Allow::Net(String::from("open"))))
    } else {
        let verdict = decide::host(profile, &host, port);
        let allow = match decide_host(&profile.network, &host, port).reason {
            HostReason::Denied => None,
            // A name is what is asked for there, and what a rule has to name.
            HostReason::Off if port == NAMES => None,
            HostReason::Off if datagrams => Some(Allow::Net(String::from("open"))),
            _ => rule_text(&host, port).map(Allow::Net),
        };
        (verdict, allow)
    };
    if verdict.allowed {
        return None;
    }
    Some(Judgement::of(Attempted::Connect, Target::Host(destination), verdict, (allow, false)))
}

/// The refusal of the proxy, when a rule is its reason.
pub(crate) fn of_proxy(refusal: &Refusal) -> Option<Judgement> {
    let request = refusal.request.as_ref().filter(|_| refusal.reason.is_policy())?;
    // A client inside is not told what leads inside; the user may know.
    let named =
        matches!(request.host, Host::Address(_)) && refusal.reason == Reason::SpecialAddress;
    let own = named.then(|| rule_text(&request.host, request.port)).flatten();
    Some(Judgement {
        attempted: Attempted::Connect,
        target: Target::Host(format!("{}:{}", request.host, request.port)),
        rule: refusal.detail.clone(),
        origin: None,
        allow: refusal.remedy.clone().or(own).map(Allow::Net),
        narrower: None,
        secret: false,
    })
}

impl Judgement {
    fn of(
        attempted: Attempted,
        target: Target,
        verdict: Verdict,
        (allow, secret): (Option<Allow>, bool),
    ) -> Judgement {
        let origin = verdict.origin.map(|origin| origin.to_string());
        Judgement { attempted, target, rule: verdict.rule, origin, allow, narrower: None, secret }
    }
}
