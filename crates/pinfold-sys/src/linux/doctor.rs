//! Tries every ingredient of the sandbox and names what is missing.

use std::fs;

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{
    Filter, Mount, MountAction, MountKind, NamespacePlan, Network, Plan, Root, Sockets,
};
use pinfold_policy::profile::Limits;

use super::call::{self, LandlockRuleset};
use crate::seam::{Error, Launch, describe};

/// One ingredient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// Whether it works.
    pub works: bool,
    /// Whether the `namespaces` mechanism needs it.
    pub needed: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Tries everything. Each trial ends before this returns and leaves nothing.
pub fn doctor() -> Vec<Check> {
    vec![namespaces(Network::Own), landlock(), kernel()]
}

/// Runs a program that does nothing in a whole sandbox.
fn namespaces(network: Network) -> Check {
    let check = |works: bool, detail: String, remedy: Option<String>| Check {
        name: "namespaces",
        works,
        needed: true,
        detail,
        remedy,
    };
    let plan = trial(network);
    let launch = Launch {
        // Nothing is executed: that the program is missing is the last thing
        // that can go wrong.
        programs: vec![b"/proc/self/there-is-no-such-program".to_vec()],
        arguments: vec![b"trial".to_vec()],
        environment: Vec::new(),
        directory: AbsPath::root(),
        kept: None,
        witness: None,
    };
    match super::run(&Plan::Namespaces(plan), &launch, &mut |_| true) {
        Err(Error::Execute { .. }) | Ok(_) => check(true, String::from("all of them work"), None),
        Err(error) => {
            let (cause, remedy) = cause(&error);
            check(false, format!("{error}: {cause}"), Some(remedy))
        }
    }
}

fn trial(network: Network) -> NamespacePlan {
    let mount = |path: &str, action: MountAction| {
        AbsPath::posix(path).ok().map(|path| Mount { path, kind: MountKind::Directory, action })
    };
    let mounts = [
        mount("/dev", MountAction::Devices),
        mount("/proc", MountAction::Proc { read_only: false }),
    ];
    NamespacePlan {
        root: Root::InPlace,
        mounts: mounts.into_iter().flatten().collect(),
        watches: Vec::new(),
        patterns: Vec::new(),
        network,
        doors: None,
        filter: Filter { user_namespaces: false, sockets: Sockets::Ordinary },
        limits: Limits { wall_time: None, processes: None, memory: None, tmp_size: None },
    }
}

/// Why namespaces are closed, and what opens them.
pub(crate) fn cause(error: &Error) -> (String, String) {
    let setting = |name: &str| {
        fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_string())
    };
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        return (
            String::from("/proc is not mounted"),
            String::from("mount it: mount -t proc proc /proc"),
        );
    }
    if setting("user/max_user_namespaces").as_deref() == Some("0") {
        return (
            String::from("user.max_user_namespaces is 0"),
            String::from("as root: sysctl -w user.max_user_namespaces=15000"),
        );
    }
    if setting("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return (
            String::from("kernel.unprivileged_userns_clone is 0"),
            String::from("as root: sysctl -w kernel.unprivileged_userns_clone=1"),
        );
    }
    if setting("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return (
            String::from("AppArmor restricts user namespaces of ordinary users"),
            String::from(
                "as root, install a profile for pinfold that allows \"userns,\", or run: \
                 sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
        );
    }
    if fs::exists("/.dockerenv").unwrap_or(false)
        || fs::exists("/run/.containerenv").unwrap_or(false)
    {
        return (
            String::from("the container closes them"),
            String::from(
                "start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
            ),
        );
    }
    if is_chroot() {
        return (
            String::from("this process is in a chroot"),
            String::from("enter it with pivot_root, or run pinfold outside of it"),
        );
    }
    let code = match error {
        Error::Closed { code, .. } | Error::System { code, .. } | Error::Path { code, .. } => *code,
        _ => 0,
    };
    match code {
        libc::EPERM | libc::EACCES => (
            String::from("a system-call filter or a security module refuses them"),
            String::from(
                "allow clone, unshare, mount and setns with CLONE_NEWUSER for this process",
            ),
        ),
        libc::ENOSPC => (
            String::from("too many namespaces exist, or they are nested too deeply"),
            String::from("end other sandboxes, or as root raise user.max_user_namespaces"),
        ),
        code => (describe(code), String::from("check the kernel: Linux 5.12 or later is needed")),
    }
}

fn is_chroot() -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &str| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    matches!((identity("/"), identity("/proc/1/root")), (Some(own), Some(first)) if own != first)
        || fs::read_to_string("/proc/self/mountinfo")
            .is_ok_and(|mounts| !mounts.lines().any(|line| line.split(' ').nth(4) == Some("/")))
}

fn landlock() -> Check {
    let scopes = LandlockRuleset { scoped: 1, ..LandlockRuleset::default() };
    let version = call::landlock_version();
    let works = match call::landlock_create_ruleset(&scopes) {
        Ok(descriptor) => {
            call::close(descriptor);
            true
        }
        Err(_) => false,
    };
    Check {
        name: "landlock",
        works,
        needed: false,
        detail: match version {
            0 => String::from("the kernel has none, or it is turned off"),
            version => format!("version {version}"),
        },
        remedy: (!works).then(|| {
            String::from(
                "from version 6 (Linux 6.12) on, signals and abstract sockets are kept inside as well",
            )
        }),
    }
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Check {
        name: "kernel",
        works: !release.is_empty(),
        needed: false,
        detail: format!("Linux {}", release.trim()),
        remedy: None,
    }
}
