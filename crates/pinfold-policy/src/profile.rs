//! What a permission profile means: resolved, absolute, every default
//! explicit, each rule with its origin. The only policy type of the project.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::origin::Origin;
use crate::path::AbsPath;

/// A resolved permission profile.
///
/// There is no `Default`: a profile that grants something is always written
/// down somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name it was chosen by, for example `dev` or `:workspace`.
    pub name: String,
    /// One line for listings.
    pub description: Option<String>,
    /// Whether anything is enforced at all.
    pub confinement: Confinement,
    /// The directories that tokens stood for.
    pub directories: Directories,
    /// Which files may be read and written.
    pub filesystem: FsPolicy,
    /// Which hosts and sockets may be reached.
    pub network: NetPolicy,
    /// Which variables the command sees.
    pub environment: EnvPolicy,
    /// Time, process, memory and disk bounds.
    pub limits: Limits,
    /// Whether programs inside may create user namespaces of their own.
    pub user_namespaces: bool,
    /// Services of macOS that are opened by name.
    pub macos: BTreeSet<MacSwitch>,
    /// Which level of Windows to use.
    pub level: LevelChoice,
    /// Which Linux mechanism to use.
    pub mechanism: MechanismChoice,
    /// Names of the gaps that the user accepts, each with the place that says so.
    pub allowed_gaps: BTreeMap<String, Origin>,
}

/// Whether a profile is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// The ordinary case.
    Confined,
    /// `:danger-full-access`: the command runs as if started by hand.
    Unconfined,
}

/// The directories that tokens and relative paths stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// The working directory of the command, links resolved.
    pub working: AbsPath,
    /// The user's home, when there is one.
    pub home: Option<AbsPath>,
    /// The roots of the workspace, sorted.
    pub workspace_roots: Vec<AbsPath>,
    /// `$TMPDIR`, when it names an existing directory.
    pub tmpdir: Option<AbsPath>,
}

/// What may be done with a path. The order is the order of precedence on a
/// tie, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Look, list and execute, change nothing.
    Read,
    /// Read and change.
    Write,
    /// Not even look.
    Deny,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Deny => "deny",
            Access::Read => "read",
            Access::Write => "write",
        })
    }
}

/// The file rules of a profile. What no rule covers is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsPolicy {
    /// All rules, sorted by target; at most one rule per target.
    pub rules: Vec<FsRule>,
    /// Directories that are replaced by empty, private, writable ones for the
    /// run (`private_tmp`), each with its origin.
    pub private: Vec<(AbsPath, Origin)>,
    /// How many directories below its base a pattern is searched for existing
    /// matches; nothing means without bound.
    pub glob_scan_max_depth: Option<u32>,
}

/// One file rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FsRule {
    /// Which paths it covers.
    pub target: FsTarget,
    /// What it says about them.
    pub access: Access,
    /// Who wrote it.
    pub origin: Origin,
}

impl fmt::Display for FsRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.access, self.target)
    }
}

/// The paths that a file rule covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FsTarget {
    /// A path and everything below it, whether it exists or not.
    Tree(AbsPath),
    /// Everything below `base` that matches, and everything below a match.
    Glob(Glob),
}

impl FsTarget {
    /// The tree, or the directory that a pattern is matched below.
    pub fn directory(&self) -> &AbsPath {
        match self {
            FsTarget::Tree(path) => path,
            FsTarget::Glob(glob) => &glob.base,
        }
    }
}

impl fmt::Display for FsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FsTarget::Tree(path) => fmt::Display::fmt(path, f),
            FsTarget::Glob(glob) => fmt::Display::fmt(glob, f),
        }
    }
}

/// A pattern anchored at a directory.
///
/// `*` and `?` stay within one name, `[...]` matches one character, `{a,b}`
/// either alternative, `**` crosses directories. An unterminated `[` or `{` is
/// taken literally.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    /// The directory it is matched below.
    pub base: AbsPath,
    /// The pattern, relative to `base`.
    pub pattern: Vec<u8>,
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.base.as_bytes().to_vec();
        if text.last() != Some(&b'/') {
            text.push(b'/');
        }
        text.extend_from_slice(&self.pattern);
        fmt::Display::fmt(&crate::path::Quoted(&text), f)
    }
}

/// The network rules of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetPolicy {
    /// Whether there is a way out at all.
    pub access: NetAccess,
    /// Who chose `access`.
    pub origin: Origin,
    /// Which HTTP methods the proxy lets through.
    pub mode: NetMode,
    /// Whether the command may listen. Nothing means that it may where nobody outside
    /// can reach it by that.
    pub allow_local_binding: Option<bool>,
    /// Whether the caller's own proxy is given names to resolve, whose addresses then
    /// stay unchecked, instead of addresses.
    pub upstream_resolves: bool,
    /// Host rules, in the order of their text. Deny beats ask beats allow.
    pub hosts: Vec<HostRule>,
    /// Unix sockets of the host that may be connected to.
    pub unix_sockets: Vec<SocketRule>,
}

/// Whether, and how, the network is reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetAccess {
    /// Own loopback only.
    Off,
    /// The host's network without restriction.
    Open,
    /// Only what the host rules allow, through the egress proxy.
    Rules,
}

/// Which requests may pass the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetMode {
    /// Every method and protocol.
    Full,
    /// GET, HEAD and OPTIONS.
    Limited,
}

/// What a host rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostAction {
    /// Let through.
    Allow,
    /// Put the question to the decider.
    Ask,
    /// Refuse.
    Deny,
}

/// One host rule: `HOST[:PORTS]` and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRule {
    /// The rule's text as it was written.
    pub text: String,
    /// Which hosts it covers.
    pub host: HostPattern,
    /// Inclusive port ranges, sorted; empty means the default ports (80 and 443
    /// for allow and ask, every port for deny).
    pub ports: Vec<(u16, u16)>,
    /// What it says about them.
    pub action: HostAction,
    /// Who wrote it.
    pub origin: Origin,
}

/// The hosts that a rule covers. Names are lower case, in their ASCII form,
/// without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Every name and address (`*`).
    Any,
    /// Exactly this name.
    Name(String),
    /// Any depth below this name, not the name itself (`*.example.com`).
    Below(String),
    /// This name and everything below it (`**.example.com`).
    AtOrBelow(String),
    /// Addresses with this prefix; a single address has the full length.
    Network {
        /// The first address, host bits zero.
        address: IpAddr,
        /// The number of leading bits that count.
        prefix: u8,
    },
}

/// A Unix socket of the host that the command may connect to, or may not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketRule {
    /// The socket, links not yet resolved.
    pub path: AbsPath,
    /// Whether connecting is allowed.
    pub allow: bool,
    /// Who wrote it.
    pub origin: Origin,
}

/// How the command's environment is made from the caller's, in this order:
/// inherit, default excludes, exclude, set, include_only; `pass` is added last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvPolicy {
    /// What to start from.
    pub inherit: EnvInherit,
    /// Whether names that look like credentials are dropped.
    pub default_excludes: bool,
    /// Patterns of names to drop; `*` and `?`, without regard to case.
    pub exclude: Vec<String>,
    /// Variables to set.
    pub set: BTreeMap<String, String>,
    /// When not empty, only matching names are kept.
    pub include_only: Vec<String>,
    /// Names let through whatever the rest says (`--env NAME`).
    pub pass: Vec<Vec<u8>>,
    /// Variables given on the command line, whatever the rest says
    /// (`--env NAME=VALUE`).
    pub given: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the policy was written.
    pub origin: Origin,
}

/// What an environment starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvInherit {
    /// Every variable of the caller.
    All,
    /// The handful that programs cannot do without.
    Core,
    /// Nothing.
    None,
}

/// Bounds on what a run may use; nothing means unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time until everything is killed.
    pub wall_time: Option<Duration>,
    /// Processes and threads alive at once.
    pub processes: Option<u32>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Size in bytes of private temporary directories.
    pub tmp_size: Option<u64>,
}

/// A service of macOS that programs may use, which none is without being named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MacSwitch {
    /// Processes of Chromium find each other (`mach-register`).
    Chromium,
    /// The graphics processor and its compiler, Metal.
    Graphics,
    /// The keychain: whatever its owner lets this program have without asking.
    Keychain,
    /// Opening documents and programs, which then run outside.
    LaunchServices,
    /// `sandbox-exec` inside.
    NestedSandbox,
    /// The check of certificates, which Go's TLS asks for. It can ask servers outside.
    Trustd,
}

/// The level of Windows that a profile asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelChoice {
    /// Sandbox accounts where they are prepared, a restricted token otherwise.
    Automatic,
    /// The caller, under a restricted token.
    RestrictedToken,
    /// Sandbox accounts, or a gap.
    Account,
}

/// The Linux mechanism that a profile asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MechanismChoice {
    /// Namespaces where the host allows them, Landlock otherwise.
    Automatic,
    /// Namespaces or an error.
    Namespaces,
    /// Landlock and system-call filters only.
    Landlock,
}
