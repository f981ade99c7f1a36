//! Files of a session, reached from inside: a process of the session does it, so
//! the profile holds for it as for every command.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use pinfold::policy::path::Quoted;
use pinfold::{Session, Spawned, Start, Stream};
use serde_json::{Value, json};

use super::message::{Bytes, FAILED, Fault, FileList, FileRead, FileWrite, How, REFUSED};
use crate::terminal::complain;

/// The first argument of the process that acts inside.
pub(crate) const FILE_COMMAND: &str = "--act-on-file";

/// The most that is read or listed at once, in bytes: an answer is one message.
const MOST: u64 = 4 * 1024 * 1024;

pub(super) fn read(session: &Session, asked: &FileRead) -> Result<Value, Fault> {
    let length = asked.length.unwrap_or(MOST).min(MOST);
    let (offset, length) = (asked.offset.to_string(), length.to_string());
    let answer = inside(session, &["read", &asked.path, &offset, &length], &[])?;
    let split = answer.iter().position(|byte| *byte == b'\n').unwrap_or(answer.len());
    let size = answer.get(..split).map(String::from_utf8_lossy).unwrap_or_default();
    let size: u64 = size.parse().map_err(|_| garbled())?;
    let data = answer.get(split + 1..).unwrap_or_default().to_vec();
    let end = asked.offset.saturating_add(data.len() as u64) >= size;
    Ok(json!({ "data": Bytes(data), "size": size, "end": end }))
}

pub(super) fn write(session: &Session, asked: &FileWrite) -> Result<Value, Fault> {
    let how = match asked.how {
        How::Replace => "replace",
        How::Create => "create",
        How::Append => "append",
    };
    inside(session, &["write", &asked.path, how], &asked.data.0)?;
    Ok(json!({ "written": asked.data.0.len() }))
}

pub(super) fn list(session: &Session, asked: &FileList) -> Result<Value, Fault> {
    let answer = inside(session, &["list", &asked.path], &[])?;
    let mut complete = true;
    let mut entries = Vec::new();
    for entry in answer.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let text = String::from_utf8_lossy(entry);
        match text.splitn(3, ' ').collect::<Vec<_>>()[..] {
            [kind, size, name] => {
                let size: u64 = size.parse().map_err(|_| garbled())?;
                entries.push(json!({ "name": name, "kind": kind, "size": size }));
            }
            _ => complete = false,
        }
    }
    Ok(json!({ "entries": entries, "complete": complete }))
}

/// The program itself, by a name that works inside.
fn itself() -> Result<OsString, Fault> {
    let here = pinfold_sys::session::own_program();
    here.map_err(|error| Fault::new(FAILED, format!("cannot find this program: {error}")))
}

fn garbled() -> Fault {
    Fault::new(FAILED, "cannot read the answer of the process inside")
}

/// Runs the other half of this file in the session; what it prints.
fn inside(session: &Session, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut command = vec![itself()?, OsString::from(FILE_COMMAND)];
    command.extend(arguments.iter().map(OsString::from));
    let Spawned { input: pipe, outputs, .. } = session.spawn(Start::piped(command))?;
    let (mut answer, mut complaint) = (Vec::new(), Vec::new());
    let status = std::thread::scope(|scope| {
        // A process that fails does not read it all.
        scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(input)));
        outputs.each(&mut |stream, bytes| match stream {
            Stream::Error => complaint.extend_from_slice(bytes),
            _ => answer.extend_from_slice(bytes),
        })
    });
    let status = status.map_err(|error| Fault::new(FAILED, error.to_string()))?;
    match status.code() {
        0 => Ok(answer),
        1 => Err(Fault::new(REFUSED, String::from_utf8_lossy(&complaint).trim_end())
            .hint("\"session/explain\" names the rule that decides")),
        _ => Err(garbled()),
    }
}

/// The half that runs inside; the exit status.
pub(crate) fn act_on_file(arguments: &[OsString]) -> i32 {
    let text = |index: usize| arguments.get(index).and_then(|word| word.to_str()).unwrap_or("");
    let Some(path) = arguments.get(1).map(Path::new) else { return 2 };
    let number = |index: usize| text(index).parse().unwrap_or(0);
    let done = match text(0) {
        "read" => read_here(path, number(2), number(3)),
        "write" => write_here(path, text(2)),
        "list" => list_here(path),
        _ => return 2,
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            let why = pinfold_sys::describe(error.raw_os_error().unwrap_or_default());
            let path = Quoted(pinfold_sys::name::bytes(path.as_os_str()));
            complain(&format!("cannot {} {path}: {why}", text(0)));
            1
        }
    }
}

fn read_here(path: &Path, offset: u64, length: u64) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut output = io::stdout().lock();
    let size = file.metadata()?.len();
    output.write_all(format!("{size}\n").as_bytes())?;
    file.seek(SeekFrom::Start(offset))?;
    io::copy(&mut file.take(length), &mut output)?;
    output.flush()
}

fn write_here(path: &Path, how: &str) -> io::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    match how {
        "create" => File::create_new(path)?.write_all(&bytes),
        "append" => File::options().append(true).create(true).open(path)?.write_all(&bytes),
        _ => replace(path, &bytes),
    }
}

/// Puts a new file in the place of the old one, so that nobody sees half of it.
/// Where only the file itself can be written, it is overwritten.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Rules, and what the user sees, go by what a path is.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let name = path.file_name().unwrap_or(OsStr::new(""));
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = File::create_new(&beside).and_then(|mut file| {
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(bytes)?;
        fs::rename(&beside, path)
    });
    let Err(error) = written else { return Ok(()) };
    let _ = fs::remove_file(&beside);
    // A full disk would destroy what is there.
    if error.kind() == io::ErrorKind::StorageFull {
        return Err(error);
    }
    fs::write(path, bytes)
}

fn list_here(path: &Path) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut output = Vec::new();
    for entry in entries {
        if output.len() as u64 > MOST {
            output.extend_from_slice(b"more\0");
            break;
        }
        let kind = match entry.file_type()? {
            kind if kind.is_dir() => "directory",
            kind if kind.is_file() => "file",
            kind if kind.is_symlink() => "link",
            _ => "other",
        };
        let size = entry.metadata().map_or(0, |found| found.len());
        output.extend_from_slice(format!("{kind} {size} ").as_bytes());
        output.extend_from_slice(pinfold_sys::name::bytes(&entry.file_name()));
        output.push(0);
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&output)?;
    stdout.flush()
}
