//! Reads directories in large pieces.

use super::super::call;
use super::super::raw::Errno;

/// What an entry is, as far as its directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Link,
    Socket,
    Other,
    /// The file system does not say.
    Unknown,
}

/// Open on a directory; closed when dropped.
pub(super) struct Directory {
    descriptor: i32,
}

impl Directory {
    /// Opens a directory without following any link in the path.
    pub(super) fn open(path: &std::ffi::CStr) -> Result<Directory, Errno> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        call::openat2_no_links(libc::AT_FDCWD, path, flags)
            .map(|descriptor| Directory { descriptor })
    }

    /// Opens a directory in this one.
    pub(super) fn open_below(&self, name: &std::ffi::CStr) -> Result<Directory, Errno> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        call::openat(self.descriptor, name, flags).map(|descriptor| Directory { descriptor })
    }

    /// Reads the next piece of the directory into `buffer` and calls `each` with
    /// every entry but `.` and `..`. False at the end.
    pub(super) fn read(
        &self,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8], Kind),
    ) -> Result<bool, Errno> {
        let length = call::getdents(self.descriptor, buffer)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((name, kind, after)) = entry(rest) {
            rest = after;
            if name != b"." && name != b".." {
                each(name, kind);
            }
        }
        Ok(length > 0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        call::close(self.descriptor);
    }
}

/// Takes one `struct linux_dirent64` off the front of `bytes`.
fn entry(bytes: &[u8]) -> Option<(&[u8], Kind, &[u8])> {
    let length = u16::from_ne_bytes(*bytes.get(16..)?.first_chunk()?) as usize;
    let kind = match *bytes.get(18)? {
        libc::DT_DIR => Kind::Directory,
        libc::DT_REG => Kind::File,
        libc::DT_LNK => Kind::Link,
        libc::DT_SOCK => Kind::Socket,
        libc::DT_UNKNOWN => Kind::Unknown,
        _ => Kind::Other,
    };
    let name = bytes.get(19..length)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    Some((&name[..end], kind, bytes.get(length..)?))
}
