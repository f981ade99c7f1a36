//! What the standard library says about files in another way on every system.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Lets nobody but the user open the file that these options make.
pub fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// The same for directories.
pub fn private_directory(builder: &mut DirBuilder) -> &mut DirBuilder {
    builder.mode(0o700)
}

/// Whether a name leads to this open file.
///
/// # Errors
/// When the open file cannot be looked at.
pub fn leads_to(name: &Path, file: &File) -> io::Result<bool> {
    let own = file.metadata()?;
    let same = |now: std::fs::Metadata| (own.dev(), own.ino()) == (now.dev(), now.ino());
    Ok(std::fs::metadata(name).is_ok_and(same))
}

/// Keeps what is typed at this terminal, such as Ctrl-C, away from a program.
pub fn detached(program: &mut Command) -> &mut Command {
    program.process_group(0)
}
