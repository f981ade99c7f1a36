//! Goes through the steps of a set-up, inside the new namespaces.

use std::ffi::CStr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use super::call::{self, MountAttributes};
use super::raw::Errno;
use super::steps::{Need, Step};

const DIRECTORY_FLAGS: i32 = libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_DIRECTORY;
const OTHER_FLAGS: i32 = libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW;

/// What is set on everything when it is sealed.
const SEALED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// The descriptors that steps leave for each other; -1 is none.
pub(crate) type Slots = [AtomicI32];

/// Performs `steps` in order; the index of the first that fails, and why.
pub(crate) fn all(steps: &[Step], slots: &Slots) -> Result<(), (usize, Errno)> {
    for (index, step) in steps.iter().enumerate() {
        one(step, slots).map_err(|error| (index, error))?;
    }
    Ok(())
}

fn one(step: &Step, slots: &Slots) -> Result<(), Errno> {
    let held = |slot: &usize| slots.get(*slot).map_or(-1, |held| held.load(Relaxed));
    let hold = |slot: &usize, descriptor: i32| {
        if let Some(held) = slots.get(*slot) {
            held.store(descriptor, Relaxed);
        }
    };
    match step {
        Step::Open { path, directory, into, need } => {
            match call::openat2_no_links(libc::AT_FDCWD, path, flags(*directory)) {
                Ok(descriptor) => hold(into, descriptor),
                error => tolerate(error.map(drop), *need)?,
            }
        }
        Step::OpenUnder { tree, path, directory, into, need } => {
            match call::openat2_no_links(held(tree), path, flags(*directory)) {
                Ok(descriptor) => hold(into, descriptor),
                error => tolerate(error.map(drop), *need)?,
            }
        }
        Step::Clone { from, into } => {
            hold(into, call::open_tree_clone(held(from), c"", RECURSIVE)?);
        }
        Step::CloneUnder { directory, name, into } => {
            hold(into, call::open_tree_clone(held(directory), name, RECURSIVE)?);
        }
        Step::CloneAt { path, into, need } => match call::open_tree_clone_following(path) {
            Ok(descriptor) => hold(into, descriptor),
            error => tolerate(error.map(drop), *need)?,
        },
        Step::Close { slot } => call::close(held(slot)),
        Step::Scratch { options } => {
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            call::mount(c"pinfold", c"/proc", c"tmpfs", flags, options)?;
        }
        Step::MakeDirectory { path, mode } => made(call::mkdirat(libc::AT_FDCWD, path, *mode))?,
        Step::MakeFile { path, mode } => made(call::mknodat_file(libc::AT_FDCWD, path, *mode))?,
        Step::MakeLink { path, target } => {
            made(call::symlinkat(target, libc::AT_FDCWD, path))?;
        }
        Step::Seal { read_only } => {
            let read_only = if *read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
            let attributes = set(SEALED | read_only, libc::MS_PRIVATE);
            call::mount_setattr(libc::AT_FDCWD, c"/", call::Depth::Recursive, attributes)?;
        }
        Step::ReadOnly { tree } if held(tree) < 0 => {}
        Step::ReadOnly { tree } => {
            let attributes = set(libc::MOUNT_ATTR_RDONLY, 0);
            call::mount_setattr(held(tree), c"", call::Depth::One, attributes)?;
        }
        Step::ReadOnlyWhole { tree } => {
            let attributes = set(libc::MOUNT_ATTR_RDONLY, 0);
            call::mount_setattr(held(tree), c"", call::Depth::Recursive, attributes)?;
        }
        Step::Attach { point, .. } if held(point) < 0 => {}
        Step::Attach { tree, point, need } => {
            tolerate(call::move_mount(held(tree), held(point)), *need)?;
        }
        Step::AttachUnder { tree, above, name, need } => {
            tolerate(call::move_mount_at(held(tree), held(above), name), *need)?;
        }
        Step::AttachAt { tree, need: Need::IfPresent, .. } if held(tree) < 0 => {}
        Step::AttachAt { tree, path, need } => {
            tolerate(call::move_mount_at(held(tree), libc::AT_FDCWD, path), *need)?;
        }
        Step::Bind { from, to, need } => {
            tolerate(call::mount(from, to, c"", libc::MS_BIND, c""), *need)?;
        }
        Step::SealScratch => {
            let attributes = set(libc::MOUNT_ATTR_RDONLY, 0);
            call::mount_setattr(libc::AT_FDCWD, c"/proc", call::Depth::One, attributes)?;
        }
        Step::Mount { kind, path, flags, options, need } => {
            tolerate(call::mount(c"pinfold", path, kind, *flags, options), *need)?;
        }
        Step::Pivot { path } => {
            call::chdir(path)?;
            call::pivot_root_here()?;
        }
    }
    Ok(())
}

const RECURSIVE: u32 = 0x8000; // AT_RECURSIVE

fn flags(directory: bool) -> i32 {
    if directory { DIRECTORY_FLAGS } else { OTHER_FLAGS }
}

fn set(attributes: u64, propagation: u64) -> MountAttributes {
    MountAttributes { set: attributes, clear: 0, propagation, userns_fd: 0 }
}

/// A host without the thing is fine where the step says so.
fn tolerate(outcome: Result<(), Errno>, need: Need) -> Result<(), Errno> {
    match (outcome, need) {
        (
            Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ENXIO)),
            Need::IfPresent,
        ) => Ok(()),
        (outcome, _) => outcome,
    }
}

/// Mount points that several mounts share are made once.
fn made(outcome: Result<(), Errno>) -> Result<(), Errno> {
    match outcome {
        Err(Errno(libc::EEXIST)) => Ok(()),
        outcome => outcome,
    }
}

/// Puts an empty mask over whatever is at `path` now, or makes it read-only.
pub(crate) fn cover(path: &CStr, masks: Masks, how: Cover) -> Result<Covered, Errno> {
    let point = call::openat2_no_links(libc::AT_FDCWD, path, OTHER_FLAGS)?;
    // What is mounted there was put there by us, and is there still.
    let covered = if call::is_mount_root(point) {
        Ok(Covered::Before)
    } else {
        cover_point(point, masks, how).map(|()| Covered::Now)
    };
    call::close(point);
    covered
}

/// Whether there was anything to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Covered {
    Now,
    Before,
}

fn cover_point(point: i32, masks: Masks, how: Cover) -> Result<(), Errno> {
    let tree = match how {
        Cover::Mask => {
            let tree = call::open_tree_clone(masks.directory, c"", 0)?;
            // The kind decides which mask fits: the kernel refuses the other.
            if call::move_mount(tree, point).is_ok() {
                call::close(tree);
                return Ok(());
            }
            call::close(tree);
            call::open_tree_clone(masks.file, c"", 0)?
        }
        Cover::ReadOnly => {
            let tree = call::open_tree_clone(point, c"", RECURSIVE)?;
            let attributes = set(libc::MOUNT_ATTR_RDONLY, 0);
            call::mount_setattr(tree, c"", call::Depth::Recursive, attributes)?;
            tree
        }
    };
    let moved = call::move_mount(tree, point);
    call::close(tree);
    moved
}

/// Open on an empty directory and an empty file, both out of anyone's reach.
#[derive(Clone, Copy)]
pub(crate) struct Masks {
    pub(crate) directory: i32,
    pub(crate) file: i32,
}

/// How something that appears is covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cover {
    Mask,
    ReadOnly,
}
