//! Files and directories.

use std::ffi::CStr;

use super::super::raw::{Errno, arguments, call};
use super::{Descriptor, Outcome, flag, numbers, path, pointer, reads};

/// `struct open_how` of `openat2(2)`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens a path without following any link, wherever it stands in the path.
pub(crate) fn openat2_no_links(
    directory: Descriptor,
    name: &CStr,
    flags: i32,
) -> Outcome<Descriptor> {
    const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
    const RESOLVE_NO_SYMLINKS: u64 = 0x04;
    let how = OpenHow {
        flags: flags as u64,
        mode: 0,
        resolve: RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    let given = [flag(directory), path(name), pointer(&how), size_of::<OpenHow>()];
    reads(libc::SYS_openat2, arguments(given)).map(|fd| fd as Descriptor)
}

/// How often a path is resolved again: the kernel gives up one with `..` whenever
/// anything on the whole system is renamed or mounted meanwhile, with EAGAIN.
const RESOLUTIONS: usize = 1000;

/// Opens a path as if `root` was the root directory, for links as well.
pub(crate) fn openat2_in_root(root: Descriptor, name: &CStr, flags: i32) -> Outcome<Descriptor> {
    const RESOLVE_IN_ROOT: u64 = 0x10;
    openat2_resolving(root, name, (flags, RESOLVE_IN_ROOT))
}

/// Opens a path, resolved in the way of these `RESOLVE_*` of `openat2(2)`.
pub(crate) fn openat2_resolving(
    directory: Descriptor,
    name: &CStr,
    (flags, resolve): (i32, u64),
) -> Outcome<Descriptor> {
    let how = OpenHow { flags: flags as u64, mode: 0, resolve };
    let given = [flag(directory), path(name), pointer(&how), size_of::<OpenHow>()];
    let mut opened = reads(libc::SYS_openat2, arguments(given));
    for _ in 1..RESOLUTIONS {
        if opened != Err(Errno(libc::EAGAIN)) {
            break;
        }
        opened = reads(libc::SYS_openat2, arguments(given));
    }
    opened.map(|fd| fd as Descriptor)
}

/// The target of a link: of the one at `name`, or with an empty name of the one
/// that `directory` is open on. Longer ones are cut off.
pub(crate) fn readlinkat(directory: Descriptor, name: &CStr, target: &mut [u8]) -> Outcome<usize> {
    let given = [flag(directory), path(name), target.as_mut_ptr() as usize, target.len()];
    // SAFETY: the kernel writes at most `target.len()` bytes into the buffer.
    unsafe { call(libc::SYS_readlinkat, arguments(given)) }
}

/// Opens a path, following links, with the mode for a file it creates.
pub(crate) fn openat(directory: Descriptor, name: &CStr, flags: i32) -> Outcome<Descriptor> {
    let given = [flag(directory), path(name), flags as usize, 0o600];
    reads(libc::SYS_openat, arguments(given)).map(|fd| fd as Descriptor)
}

/// `close(2)`; there is nothing to be done about an error.
pub(crate) fn close(descriptor: Descriptor) {
    let _ = numbers(libc::SYS_close, [flag(descriptor)]);
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_range(first: u32, last: u32) -> Outcome<()> {
    numbers(libc::SYS_close_range, [first as usize, last as usize, 0]).map(drop)
}

/// `dup3(2)` onto a number, without `close-on-exec`.
pub(crate) fn dup_onto(descriptor: Descriptor, number: Descriptor) -> Outcome<()> {
    numbers(libc::SYS_dup3, [flag(descriptor), flag(number), 0]).map(drop)
}

/// Another number for a descriptor, at least `least`.
pub(crate) fn dup_above(descriptor: Descriptor, least: Descriptor) -> Outcome<Descriptor> {
    let given = [flag(descriptor), libc::F_DUPFD_CLOEXEC as usize, flag(least)];
    numbers(libc::SYS_fcntl, given).map(|fd| fd as Descriptor)
}

/// `write(2)`.
pub(crate) fn write(descriptor: Descriptor, bytes: &[u8]) -> Outcome<usize> {
    let given = [flag(descriptor), bytes.as_ptr() as usize, bytes.len()];
    reads(libc::SYS_write, arguments(given))
}

/// `read(2)`.
pub(crate) fn read(descriptor: Descriptor, buffer: &mut [u8]) -> Outcome<usize> {
    let given = [flag(descriptor), buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer.
    unsafe { call(libc::SYS_read, arguments(given)) }
}

/// `getdents64(2)`: how much of the buffer was filled.
pub(crate) fn getdents(directory: Descriptor, buffer: &mut [u8]) -> Outcome<usize> {
    let given = [flag(directory), buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer.
    unsafe { call(libc::SYS_getdents64, arguments(given)) }
}

/// The type and mode of what is at a path, the last link not followed.
pub(crate) fn mode_of(name: &CStr) -> Outcome<u32> {
    status_of(name, libc::AT_SYMLINK_NOFOLLOW).map(|found| found.st_mode)
}

/// The number of what is at a path, a link at its end followed.
pub(crate) fn number_of(name: &CStr) -> Outcome<u64> {
    status_of(name, 0).map(|found| found.st_ino)
}

fn status_of(name: &CStr, flags: i32) -> Outcome<libc::stat> {
    // SAFETY: `stat` is integers only, all zero is a value of it.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let given =
        [flag(libc::AT_FDCWD), path(name), std::ptr::from_mut(&mut found) as usize, flag(flags)];
    // SAFETY: the kernel writes one `stat`.
    unsafe { call(libc::SYS_newfstatat, arguments(given)) }?;
    Ok(found)
}

/// Whether a descriptor is open on a directory.
pub(crate) fn is_directory(opened: Descriptor) -> Outcome<bool> {
    kind_of(opened).map(|kind| kind == libc::S_IFDIR)
}

/// The type, `S_IFMT` of the mode, of what a descriptor is open on.
pub(crate) fn kind_of(opened: Descriptor) -> Outcome<u32> {
    status_of_opened(opened).map(|found| found.st_mode & libc::S_IFMT)
}

/// The number of what a descriptor is open on.
pub(crate) fn number_of_opened(opened: Descriptor) -> Outcome<u64> {
    status_of_opened(opened).map(|found| found.st_ino)
}

fn status_of_opened(opened: Descriptor) -> Outcome<libc::stat> {
    // SAFETY: `stat` is integers only, all zero is a value of it.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let given = [flag(opened), std::ptr::from_mut(&mut found) as usize];
    // SAFETY: the kernel writes one `stat`.
    unsafe { call(libc::SYS_fstat, arguments(given)) }?;
    Ok(found)
}

/// Whether the effective user may do what `mode` says: `faccessat2(2)`.
pub(crate) fn accessible(name: &CStr, mode: i32) -> bool {
    let given = [flag(libc::AT_FDCWD), path(name), flag(mode), flag(libc::AT_EACCESS)];
    reads(libc::SYS_faccessat2, arguments(given)).is_ok()
}

/// Whether there is nothing at a path: `faccessat(2)`.
pub(crate) fn is_missing(name: &CStr) -> bool {
    let found = reads(libc::SYS_faccessat, arguments([flag(libc::AT_FDCWD), path(name), 0]));
    matches!(found, Err(Errno(libc::ENOENT | libc::ENOTDIR)))
}

/// `mkdirat(2)`.
pub(crate) fn mkdirat(directory: Descriptor, name: &CStr, mode: u32) -> Outcome<()> {
    let given = [flag(directory), path(name), mode as usize];
    reads(libc::SYS_mkdirat, arguments(given)).map(drop)
}

/// Makes an empty regular file.
pub(crate) fn mknodat_file(directory: Descriptor, name: &CStr, mode: u32) -> Outcome<()> {
    let given = [flag(directory), path(name), (libc::S_IFREG | mode) as usize, 0];
    reads(libc::SYS_mknodat, arguments(given)).map(drop)
}

/// `symlinkat(2)`.
pub(crate) fn symlinkat(target: &CStr, directory: Descriptor, name: &CStr) -> Outcome<()> {
    reads(libc::SYS_symlinkat, arguments([path(target), flag(directory), path(name)])).map(drop)
}

/// `chdir(2)`.
pub(crate) fn chdir(directory: &CStr) -> Outcome<()> {
    reads(libc::SYS_chdir, arguments([path(directory)])).map(drop)
}
