//! Tries every ingredient of the sandbox and names what is missing, from the
//! error number of the very call that failed.

use std::fs;

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{
    Filter, Mount, MountAction, MountKind, NamespacePlan, Network, Plan, Root, Sockets,
};
use pinfold_policy::profile::Limits;

use super::call::{self, LandlockRuleset};
use super::raw::Errno;
use super::trial::{self, Act};
use crate::seam::{Check, Error, Launch, describe};

/// Tries everything. Each trial ends before this returns and leaves nothing.
pub fn doctor() -> Vec<Check> {
    let user = libc::CLONE_NEWUSER;
    let processes = user | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    let trials: [(&'static str, i32, Act); 10] = [
        ("user namespace", user, trial::nothing),
        ("mount namespace", user | libc::CLONE_NEWNS, trial::nothing),
        ("process namespace", user | libc::CLONE_NEWPID, trial::nothing),
        ("network namespace", user | libc::CLONE_NEWNET, trial::nothing),
        ("ipc namespace", user | libc::CLONE_NEWIPC, trial::nothing),
        ("uts namespace", user | libc::CLONE_NEWUTS, trial::nothing),
        ("cgroup namespace", user | libc::CLONE_NEWCGROUP, trial::nothing),
        ("read-only mounts", user | libc::CLONE_NEWNS, trial::read_only_mounts),
        ("own /proc", processes, trial::own_proc),
        ("system-call filter", 0, trial::open_filter),
    ];
    let mut checks: Vec<Check> = trials
        .map(|(name, namespaces, act)| ingredient(name, trial::trial(namespaces, act)))
        .into();
    checks.extend([sandbox(), notification(), landlock(), kernel()]);
    checks
}

fn ingredient(name: &'static str, tried: Result<(), Errno>) -> Check {
    let (detail, remedy) = match tried {
        Ok(()) => (String::from("works"), None),
        Err(Errno(code)) => {
            let (cause, remedy) = cause(code);
            (format!("{}: {cause}", describe(code)), Some(remedy))
        }
    };
    Check { name, works: tried.is_ok(), needed: true, detail, remedy }
}

/// Runs a program that does nothing in a whole sandbox.
fn sandbox() -> Check {
    let check = |works: bool, detail: String, remedy: Option<String>| Check {
        name: "all together",
        works,
        needed: true,
        detail,
        remedy,
    };
    let launch = Launch {
        // Nothing is executed: that the program is missing is the last thing
        // that can go wrong.
        programs: vec![b"/proc/self/there-is-no-such-program".to_vec()],
        arguments: vec![b"trial".to_vec()],
        environment: Vec::new(),
        directory: AbsPath::root(),
        kept: None,
        witness: None,
        mark: 0,
        door: None,
    };
    let plan = Plan::Namespaces(plan(Network::Own));
    match super::run(&plan, &launch, None, &mut |_| true) {
        Err(Error::Execute { .. }) | Ok(_) => check(true, String::from("works"), None),
        Err(error) => {
            let code = match &error {
                Error::Closed { code, .. }
                | Error::System { code, .. }
                | Error::Path { code, .. } => *code,
                _ => 0,
            };
            let (cause, remedy) = cause(code);
            check(false, format!("{error}: {cause}"), Some(remedy))
        }
    }
}

fn plan(network: Network) -> NamespacePlan {
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
        servers: true,
        filter: Filter { user_namespaces: false, sockets: Sockets::Ordinary },
        limits: Limits { wall_time: None, processes: None, memory: None, tmp_size: None },
    }
}

/// Why a call failed with this error number, and what to do about it.
fn cause(code: i32) -> (String, String) {
    let (cause, remedy) = match code {
        libc::ENOSPC if setting("user/max_user_namespaces").as_deref() == Some("0") => {
            ("user.max_user_namespaces is 0", "as root: sysctl -w user.max_user_namespaces=15000")
        }
        libc::ENOSPC | libc::EUSERS => (
            "too many namespaces exist, or they are nested too deeply",
            "end other sandboxes, or as root raise the limits in /proc/sys/user",
        ),
        // A new one is also refused where the old one cannot be seen.
        libc::ENOENT | libc::EPERM if !fs::exists("/proc/self/status").unwrap_or(false) => {
            ("/proc is not mounted", "as root: mount -t proc proc /proc")
        }
        libc::EPERM | libc::EACCES => return refused(),
        libc::EINVAL | libc::ENOSYS => (
            "the kernel was built without it, or is too old",
            "use Linux 5.12 or later with namespaces and seccomp",
        ),
        libc::ENOMEM | libc::EAGAIN => (
            "memory or processes have run out",
            "free some, or raise \"ulimit -v\" and \"ulimit -u\"",
        ),
        _ => ("the cause is not known", "check the kernel: Linux 5.12 or later is needed"),
    };
    (cause.into(), remedy.into())
}

/// Who refuses: the error number alone does not tell a setting from a filter.
fn refused() -> (String, String) {
    let is = |name: &str, value: &str| setting(name).as_deref() == Some(value);
    let (cause, remedy) = if is("kernel/unprivileged_userns_clone", "0") {
        (
            "kernel.unprivileged_userns_clone is 0",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        )
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return (
            String::from("AppArmor restricts user namespaces of ordinary users"),
            apparmor_profile(),
        );
    } else if in_container() {
        (
            "the container's filter, or what covers its /proc, refuses it",
            "docker run or podman run: add --security-opt seccomp=unconfined --security-opt \
             systempaths=unconfined, with AppArmor --security-opt apparmor=unconfined as well",
        )
    } else if is_chroot() {
        ("this process is in a chroot", "enter it with pivot_root, or run pinfold outside of it")
    } else {
        (
            "a system-call filter or a security module refuses it",
            "let this process use clone, unshare, mount and mount_setattr in namespaces of its own",
        )
    };
    (cause.into(), remedy.into())
}

fn apparmor_profile() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/pinfold".into());
    format!(
        "as root, write this to /etc/apparmor.d/pinfold and run \"apparmor_parser -r \
         /etc/apparmor.d/pinfold\":\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile pinfold \"{}\" flags=(unconfined) {{\n  userns,\n}}",
        program.display()
    )
}

fn setting(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_string())
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|name| fs::exists(name).unwrap_or(false))
}

fn is_chroot() -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &str| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    matches!((identity("/"), identity("/proc/1/root")), (Some(own), Some(first)) if own != first)
        || fs::read_to_string("/proc/self/mountinfo")
            .is_ok_and(|mounts| !mounts.lines().any(|line| line.split(' ').nth(4) == Some("/")))
}

fn notification() -> Check {
    let actions = setting("kernel/seccomp/actions_avail").unwrap_or_default();
    let works = actions.split(' ').any(|action| action == "user_notif");
    let detail = if works {
        "works"
    } else {
        "the kernel offers none: no denials can be told, and under Landlock little can be made, \
         and host rules do not hold"
    };
    Check { name: "filter notification", works, needed: false, detail: detail.into(), remedy: None }
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
