//! The file tree as a process of a sandbox sees it.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use pinfold_policy::path::AbsPath;

use super::call;
use super::name::{c_path, text};
pub use crate::seam::Kind;

/// Links that lead to links.
const LINKS: usize = 8;

/// The root directory of a process.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
}

impl View {
    /// The view of a process; nothing when it has ended.
    pub fn of(process: i32) -> Option<View> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let root = call::openat(libc::AT_FDCWD, &text(format!("/proc/{process}/root")), flags);
        root.ok().map(|root| View { root: owned(root) })
    }

    /// What an absolute name is, links resolved, whether there is anything or not:
    /// what does not exist has the name that it would get. With `follows` a link at
    /// the end is followed, even one that leads nowhere.
    pub fn real(&self, name: &[u8], follows: bool) -> Option<AbsPath> {
        self.real_after(name, if follows { LINKS } else { 0 })
    }

    fn real_after(&self, name: &[u8], links: usize) -> Option<AbsPath> {
        let (above, last) = split(name);
        if matches!(last, b"" | b"." | b"..") {
            return self.directory(name);
        }
        let above = self.directory(above)?;
        let here = above.join(last).ok()?;
        match (links, self.target(&here)) {
            (1.., Some(target)) if target.first() == Some(&b'/') => {
                self.real_after(&target, links - 1)
            }
            (1.., Some(target)) => {
                self.real_after(&[above.as_bytes(), b"/", &target].concat(), links - 1)
            }
            _ => Some(here),
        }
    }

    /// What a directory is; below one that cannot be opened, or does not exist, names
    /// are what they say.
    pub fn directory(&self, name: &[u8]) -> Option<AbsPath> {
        if let Some(opened) = self.open(name, libc::O_DIRECTORY) {
            return named(&opened);
        }
        let (above, last) = split(name);
        match last {
            b"" | b".." => None,
            b"." => self.directory(above),
            last => self.directory(above)?.join(last).ok(),
        }
    }

    /// What is at a path, a link at its end not followed; nothing when there is
    /// nothing, or nothing to be seen.
    pub fn kind(&self, path: &AbsPath) -> Option<Kind> {
        let opened = self.open(path.as_bytes(), libc::O_NOFOLLOW)?;
        Some(match call::kind_of(opened.as_raw_fd()).ok()? {
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFSOCK => Kind::Socket,
            _ => Kind::Other,
        })
    }

    /// Whether there is a link at a path whose directory is real. One call tells that, of
    /// which nearly every attempt takes one.
    pub fn is_link(&self, path: &AbsPath) -> bool {
        let below = path.as_bytes().strip_prefix(b"/").unwrap_or_default();
        call::readlinkat(self.root.as_raw_fd(), &text(below), &mut [0; 1]).is_ok()
    }

    fn target(&self, path: &AbsPath) -> Option<Vec<u8>> {
        let mut target = vec![0; libc::PATH_MAX as usize];
        let link = self.open(path.as_bytes(), libc::O_NOFOLLOW)?;
        let length = call::readlinkat(link.as_raw_fd(), c"", &mut target).ok()?;
        target.truncate(length);
        Some(target)
    }

    fn open(&self, name: &[u8], flags: i32) -> Option<OwnedFd> {
        let flags = libc::O_PATH | libc::O_CLOEXEC | flags;
        call::openat2_in_root(self.root.as_raw_fd(), &text(name), flags).ok().map(owned)
    }
}

/// What is at a path of this process, a link at its end not followed.
pub fn kind(path: &AbsPath) -> Option<Kind> {
    Some(match call::mode_of(&c_path(path)).ok()? & libc::S_IFMT {
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFSOCK => Kind::Socket,
        _ => Kind::Other,
    })
}

/// The name of an open directory, from the root of its mount namespace.
fn named(opened: &OwnedFd) -> Option<AbsPath> {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
    AbsPath::posix(name.into_os_string().into_vec()).ok()
}

/// The directory of a name, which ends with a slash, and its last part.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let end = name.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let name = name.get(..end).unwrap_or_default();
    let start = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    name.split_at(start)
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the callers have just been given this descriptor by the kernel and
    // keep no other record of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Whether a unix socket with a name that is no file is bound on the host.
pub fn has_abstract_socket(name: &[u8]) -> bool {
    let Ok(list) = std::fs::read("/proc/net/unix") else { return false };
    // A NUL in a name is written like the one at its beginning.
    let shown: Vec<u8> = name.iter().map(|byte| if *byte == 0 { b'@' } else { *byte }).collect();
    let ending = [b" @", &shown[..]].concat();
    list.split(|byte| *byte == b'\n').any(|line| line.ends_with(&ending))
}

/// Whether something listens at a TCP port of the network of a process, and nothing
/// else: `/proc/PID/net/tcp`.
pub fn listens(process: Option<i32>, port: u16) -> bool {
    const LISTENS: &str = "0A";
    let own = process.map_or_else(|| String::from("self"), |process| process.to_string());
    let port = format!("{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let list = std::fs::read_to_string(format!("/proc/{own}/net/{table}")).unwrap_or_default();
        list.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let at = fields.next().and_then(|local| local.rsplit_once(':'));
            at.is_some_and(|(_, found)| found == port) && fields.nth(1) == Some(LISTENS)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn real(name: &str, follows: bool) -> Option<String> {
        let view = View::of(std::process::id() as i32).unwrap();
        let real = view.real(name.as_bytes(), follows)?;
        Some(OsStr::from_bytes(real.as_bytes()).to_str().unwrap().to_owned())
    }

    #[test]
    fn names_become_what_they_are_whether_they_exist_or_not() {
        let root = std::env::temp_dir().join(format!("pinfold-view-{}", std::process::id()));
        let root = root.to_str().unwrap();
        std::fs::create_dir_all(format!("{root}/a/b")).unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, format!("{root}/{name}")).unwrap();
        };
        link("a/b", "relative");
        link(&format!("{root}/a"), "absolute");
        link("nowhere/new", "dangling");
        link("dangling", "twice");
        link("loop", "loop");
        for (name, follows, expected) in [
            ("a/b/new", true, "a/b/new"),
            ("relative/new", true, "a/b/new"),
            ("relative", true, "a/b"),
            ("relative", false, "relative"),
            ("relative/", false, "relative"),
            ("relative/..", false, "a"),
            ("absolute/b/.", true, "a/b"),
            ("dangling", true, "nowhere/new"),
            ("twice", true, "nowhere/new"),
            ("dangling", false, "dangling"),
            ("missing/deep/file", true, "missing/deep/file"),
        ] {
            let found = real(&format!("{root}/{name}"), follows);
            assert_eq!(found, Some(format!("{root}/{expected}")), "{name}");
        }
        assert_eq!(real(&format!("{root}/missing/../file"), true), None);
        assert!(real(&format!("{root}/loop"), true).is_some());
        assert_eq!(real("/", true).as_deref(), Some("/"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_listener_is_found_in_its_network() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(None, port));
        assert!(listens(Some(std::process::id() as i32), port));
        drop(listener);
        assert!(!listens(None, port));
    }
}
