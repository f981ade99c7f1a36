//! Which files the name of a program may mean.

use crate::path::PathStyle;

/// Where programs are when the command has no `PATH`.
const POSIX_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
const WINDOWS_PATH: &[u8] = b"C:\\Windows\\System32;C:\\Windows";

/// What the name of a program ends with on Windows. Batch files are left out: they
/// are read by `cmd.exe`, to which no argument can be given safely.
const ENDINGS: [&[u8]; 2] = [b".exe", b".com"];

/// The files to try for `name`, in order: the command's own `PATH` decides, never
/// that of pinfold. `environment` holds `NAME=value`.
pub fn candidates(style: PathStyle, name: &[u8], environment: &[Vec<u8>]) -> Vec<Vec<u8>> {
    match style {
        PathStyle::Posix => posix(name, environment),
        PathStyle::Windows => windows(name, environment),
    }
}

/// Whether a name says where the program is, rather than what it is called.
pub fn is_place(style: PathStyle, name: &[u8]) -> bool {
    name.iter().any(|byte| match style {
        PathStyle::Posix => *byte == b'/',
        PathStyle::Windows => matches!(byte, b'/' | b'\\' | b':'),
    })
}

fn posix(name: &[u8], environment: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if is_place(PathStyle::Posix, name) {
        return vec![name.to_vec()];
    }
    let path =
        environment.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(POSIX_PATH);
    let candidate = |directory: &[u8]| match directory {
        b"" => [b"./", name].concat(),
        directory => [directory, b"/", name].concat(),
    };
    path.split(|byte| *byte == b':').map(candidate).collect()
}

/// Neither the working directory nor that of pinfold is searched: what lies there
/// may be the command's own work.
fn windows(name: &[u8], environment: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let ended = with_endings(name);
    if is_place(PathStyle::Windows, name) {
        return ended;
    }
    let value = |entry: &'_ Vec<u8>| {
        let (start, value) = entry.split_at_checked(5)?;
        start.eq_ignore_ascii_case(b"PATH=").then(|| value.to_vec())
    };
    let path = environment.iter().find_map(value).unwrap_or_else(|| WINDOWS_PATH.to_vec());
    let mut found = Vec::new();
    for directory in path.split(|byte| *byte == b';') {
        let directory = directory.strip_prefix(b"\"").unwrap_or(directory);
        let directory = directory.strip_suffix(b"\"").unwrap_or(directory);
        if !directory.is_empty() {
            found.extend(ended.iter().map(|name| [directory, b"\\", name].concat()));
        }
    }
    found
}

fn with_endings(name: &[u8]) -> Vec<Vec<u8>> {
    let last = name.rsplit(|byte| matches!(byte, b'/' | b'\\' | b':')).next().unwrap_or(name);
    let mut names = Vec::new();
    if last.contains(&b'.') {
        names.push(name.to_vec());
    }
    names.extend(ENDINGS.iter().map(|ending| [name, *ending].concat()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(style: PathStyle, name: &str, variable: &str, expected: &[&str]) {
        let found = candidates(style, name.as_bytes(), &[variable.as_bytes().to_vec()]);
        let found: Vec<_> = found.iter().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(found, expected, "{name} with {variable}");
    }

    #[test]
    fn posix_names_are_looked_for_in_every_directory_of_the_path() {
        let check = |name, variable, expected: &[&str]| {
            check(PathStyle::Posix, name, variable, expected);
        };
        check("sh", "PATH=/a:/b", &["/a/sh", "/b/sh"]);
        check("sh", "PATH=:/b", &["./sh", "/b/sh"]);
        check("./sh", "PATH=/a", &["./sh"]);
        check("sh", "path=/a", &["/usr/local/bin/sh", "/usr/bin/sh", "/bin/sh"]);
    }

    #[test]
    fn windows_names_get_an_ending_and_are_never_looked_for_in_the_working_directory() {
        let check = |name, variable, expected: &[&str]| {
            check(PathStyle::Windows, name, variable, expected);
        };
        check(
            "git",
            r#"Path=C:\a;;"C:\b c";"#,
            &[r"C:\a\git.exe", r"C:\a\git.com", r"C:\b c\git.exe", r"C:\b c\git.com"],
        );
        check(
            "git.exe",
            r"PATH=C:\a",
            &[r"C:\a\git.exe", r"C:\a\git.exe.exe", r"C:\a\git.exe.com"],
        );
        check(r".\x.y\git", "PATH=", &[r".\x.y\git.exe", r".\x.y\git.com"]);
        check("C:git", "PATH=", &["C:git.exe", "C:git.com"]);
    }
}
