//! Mounts and namespaces.

use std::ffi::CStr;

use super::super::raw::{arguments, call};
use super::{Descriptor, Outcome, flag, numbers, path, pointer, reads};

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MountAttributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`: a detached copy of the mounts at a
/// path. An empty name means the descriptor itself.
pub(crate) fn open_tree_clone(
    directory: Descriptor,
    name: &CStr,
    flags: u32,
) -> Outcome<Descriptor> {
    let all = flags
        | libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) as u32;
    let given = [flag(directory), path(name), all as usize];
    reads(libc::SYS_open_tree, arguments(given)).map(|fd| fd as Descriptor)
}

/// The same for a path, following links, with the mounts below it.
pub(crate) fn open_tree_clone_following(name: &CStr) -> Outcome<Descriptor> {
    const AT_RECURSIVE: u32 = 0x8000;
    let all = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    let given = [flag(libc::AT_FDCWD), path(name), all as usize];
    reads(libc::SYS_open_tree, arguments(given)).map(|fd| fd as Descriptor)
}

/// `move_mount(2)` to a path from a directory, the last link not followed.
pub(crate) fn move_mount_at(tree: Descriptor, directory: Descriptor, target: &CStr) -> Outcome<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 0x04;
    let given = [flag(tree), path(c""), flag(directory), path(target), MOVE_MOUNT_F_EMPTY_PATH];
    reads(libc::SYS_move_mount, arguments(given)).map(drop)
}

/// `move_mount(2)`: puts a detached mount on the object that `target` is open on.
pub(crate) fn move_mount(tree: Descriptor, target: Descriptor) -> Outcome<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 0x04;
    const MOVE_MOUNT_T_EMPTY_PATH: usize = 0x40;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let given = [flag(tree), path(c""), flag(target), path(c""), flags];
    reads(libc::SYS_move_mount, arguments(given)).map(drop)
}

/// How far `mount_setattr` reaches.
#[derive(Clone, Copy)]
pub(crate) enum Depth {
    One,
    Recursive,
}

/// `mount_setattr(2)` on what is mounted at a path, or on the descriptor itself
/// when the name is empty.
pub(crate) fn mount_setattr(
    directory: Descriptor,
    name: &CStr,
    depth: Depth,
    attributes: MountAttributes,
) -> Outcome<()> {
    const AT_RECURSIVE: i32 = 0x8000;
    let recursive = match depth {
        Depth::One => 0,
        Depth::Recursive => AT_RECURSIVE,
    };
    let flags = (recursive | libc::AT_EMPTY_PATH) as usize;
    let given =
        [flag(directory), path(name), flags, pointer(&attributes), size_of::<MountAttributes>()];
    reads(libc::SYS_mount_setattr, arguments(given)).map(drop)
}

/// `mount(2)`.
pub(crate) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: u64,
    options: &CStr,
) -> Outcome<()> {
    let given = [path(source), path(target), path(kind), flags as usize, path(options)];
    reads(libc::SYS_mount, arguments(given)).map(drop)
}

/// Makes the working directory the root and detaches the old root.
pub(crate) fn pivot_root_here() -> Outcome<()> {
    reads(libc::SYS_pivot_root, arguments([path(c"."), path(c".")]))?;
    reads(libc::SYS_umount2, arguments([path(c"."), libc::MNT_DETACH as usize])).map(drop)
}

/// Whether a descriptor is open on the root of a mount.
pub(crate) fn is_mount_root(descriptor: Descriptor) -> bool {
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    // SAFETY: `statx` is integers only, all zero is a value of it.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let given = [
        flag(descriptor),
        path(c""),
        libc::AT_EMPTY_PATH as usize,
        0,
        std::ptr::from_mut(&mut found) as usize,
    ];
    // SAFETY: the kernel writes one `statx`.
    let done = unsafe { call(libc::SYS_statx, arguments(given)) };
    done.is_ok() && found.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0
}

/// `umask(2)`: the previous mask.
pub(crate) fn umask(mask: u32) -> u32 {
    numbers(libc::SYS_umask, [mask as usize]).unwrap_or(0) as u32
}
