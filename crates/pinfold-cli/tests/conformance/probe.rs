//! One operation after another, inside; each prints one line: `ok`, the name of
//! the error, or what was found.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// Performs all operations.
pub(crate) fn operations(operations: &[String]) {
    for operation in operations {
        let words: Vec<&str> = operation.split(' ').collect();
        let result = match perform(&words) {
            Ok(found) => found,
            Err(error) => name(&error),
        };
        println!("{result}");
        let _ = io::stdout().flush();
    }
}

fn perform(words: &[&str]) -> io::Result<String> {
    let ok = |()| String::from("ok");
    match words {
        ["read", path] => fs::read_to_string(path).map(|text| format!("ok {}", text.trim_end())),
        ["list", path] => fs::read_dir(path).map(|_| "ok".into()),
        ["stat", path] => fs::symlink_metadata(path).map(|_| "ok".into()),
        ["write", path] => {
            fs::OpenOptions::new().append(true).open(path)?.write_all(b"changed").map(ok)
        }
        // For writing, without writing anything.
        ["open", path] => fs::OpenOptions::new().write(true).open(path).map(|_| "ok".into()),
        ["create", path] => {
            fs::OpenOptions::new().write(true).create_new(true).open(path).map(|_| "ok".into())
        }
        ["truncate", path] => {
            fs::OpenOptions::new().write(true).truncate(true).open(path).map(|_| "ok".into())
        }
        ["mkdir", path] => fs::create_dir(path).map(ok),
        ["remove", path] => fs::remove_file(path).map(ok),
        ["rmdir", path] => fs::remove_dir(path).map(ok),
        ["rename", from, to] => fs::rename(from, to).map(ok),
        ["exchange", from, to] => exchange(from, to).map(ok),
        ["symlink", target, path] => std::os::unix::fs::symlink(target, path).map(ok),
        ["link", from, to] => fs::hard_link(from, to).map(ok),
        ["chmod", path] => fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map(ok),
        ["touch", path] => fs::File::options()
            .write(true)
            .open(path)?
            .set_modified(std::time::SystemTime::now())
            .map(ok),
        ["run", program, arguments @ ..] => run(program, arguments),
        ["variable", variable] => Ok(std::env::var(variable).unwrap_or_else(|_| "unset".into())),
        ["sleep", milliseconds] => {
            std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap_or(0)));
            Ok("ok".into())
        }
        ["loopback"] => loopback().map(ok),
        ["unix", path] => {
            let _listener = UnixListener::bind(path)?;
            UnixStream::connect(path).map(|_| "ok".into())
        }
        ["connect", address] => TcpStream::connect_timeout(
            &address.parse().map_err(io::Error::other)?,
            Duration::from_millis(500),
        )
        .map(|_| "ok".into()),
        ["datagram", address] => {
            UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", address).map(|_| "ok".into())
        }
        // Without a name, so that only the call itself can be refused.
        ["listen"] => {
            let given = [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0];
            let number = call(libc::SYS_socket, &given)?;
            call(libc::SYS_listen, &[number, 1]).map(|_| "ok".into())
        }
        ["unixconnect", path] => UnixStream::connect(path).map(|_| "ok".into()),
        ["socket", family] => socket(family.parse().unwrap_or(-1)).map(ok),
        ["namespace"] => {
            call(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize]).map(|_| "ok".into())
        }
        ["keyring"] => {
            let text = CString::new("user").unwrap_or_default();
            let name = CString::new("pinfold-probe").unwrap_or_default();
            let given = [
                text.as_ptr() as usize,
                name.as_ptr() as usize,
                name.as_ptr() as usize,
                1,
                usize::MAX - 3,
            ];
            call(libc::SYS_add_key, &given).map(|_| "ok".into())
        }
        ["inject"] => {
            let letter = b'x';
            // Also with high bits set, which the kernel ignores.
            call(libc::SYS_ioctl, &[0, 0x1_0000_5412, &raw const letter as usize])
                .map(|_| "ok".into())
        }
        ["signal", process] => {
            call(libc::SYS_kill, &[process.parse().unwrap_or(0), 0]).map(|_| "ok".into())
        }
        ["pid"] => Ok(if std::process::id() < 10 { "ok".into() } else { "big".into() }),
        ["privileges"] => privileges(),
        ["descriptors"] => {
            let open = fs::read_dir("/proc/self/fd")?.count();
            // Three standard ones and the one that reads the directory.
            Ok(if open <= 4 { "ok".into() } else { format!("{open} open") })
        }
        ["trace"] => trace(),
        ["fork", count] => fork(count.parse().unwrap_or(0)),
        ["fill", path, mebibytes] => fill(path, mebibytes.parse().unwrap_or(0)),
        _ => Ok(format!("unknown operation {words:?}")),
    }
}

fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = std::process::Command::new(program).args(arguments).output()?;
    Ok(match output.status.code() {
        Some(0) => "ok".into(),
        Some(code) => format!("status {code}"),
        None => "killed".into(),
    })
}

fn loopback() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"x")?;
    server.read_exact(&mut [0])
}

fn exchange(from: &str, to: &str) -> io::Result<()> {
    const RENAME_EXCHANGE: usize = 2;
    let (from, to) = (CString::new(from)?, CString::new(to)?);
    let here = libc::AT_FDCWD as isize as usize;
    let given = [here, from.as_ptr() as usize, here, to.as_ptr() as usize, RENAME_EXCHANGE];
    call(libc::SYS_renameat2, &given).map(drop)
}

fn socket(family: i32) -> io::Result<()> {
    let given = [family as usize, libc::SOCK_STREAM as usize, 0];
    call(libc::SYS_socket, &given).map(drop)
}

fn call(number: libc::c_long, given: &[usize]) -> io::Result<usize> {
    let argument = |index: usize| given.get(index).copied().unwrap_or(0);
    // SAFETY: every caller passes what the call expects, from live references.
    let result = unsafe {
        libc::syscall(number, argument(0), argument(1), argument(2), argument(3), argument(4))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

fn privileges() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let has = |line: &str| status.lines().any(|found| found == line);
    let bare = has("CapEff:\t0000000000000000") && has("NoNewPrivs:\t1") && has("Seccomp:\t2");
    Ok(if bare { "ok".into() } else { "privileged".into() })
}

/// Traces a child of one's own, as debuggers do.
fn trace() -> io::Result<String> {
    let mut child = std::process::Command::new("sleep").arg("5").spawn()?;
    let process = child.id() as usize;
    let attached = call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, process, 0, 0]);
    child.kill()?;
    child.wait()?;
    attached.map(|_| "ok".into())
}

fn fork(count: usize) -> io::Result<String> {
    let mut children = Vec::new();
    let mut refused = None;
    for _ in 0..count {
        match std::process::Command::new("sleep").arg("5").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    refused.map_or(Ok("ok".into()), Err)
}

fn fill(path: &str, mebibytes: usize) -> io::Result<String> {
    let mut file = fs::File::create(path)?;
    let block = vec![1; 1 << 20];
    for _ in 0..mebibytes {
        file.write_all(&block)?;
    }
    Ok("ok".into())
}

fn name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EROFS) => "EROFS".into(),
        Some(libc::EACCES) => "EACCES".into(),
        Some(libc::EPERM) => "EPERM".into(),
        Some(libc::EBUSY) => "EBUSY".into(),
        Some(libc::ENOENT) => "ENOENT".into(),
        Some(libc::EXDEV) => "EXDEV".into(),
        Some(libc::ENOTDIR) => "ENOTDIR".into(),
        Some(libc::ENOSPC) => "ENOSPC".into(),
        Some(libc::EAGAIN) => "EAGAIN".into(),
        Some(libc::ENETUNREACH) => "ENETUNREACH".into(),
        Some(libc::ECONNREFUSED) => "ECONNREFUSED".into(),
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT".into(),
        Some(libc::ESRCH) => "ESRCH".into(),
        Some(libc::ENOTTY) => "ENOTTY".into(),
        Some(libc::EEXIST) => "EEXIST".into(),
        Some(libc::EISDIR) => "EISDIR".into(),
        _ => format!("{error}"),
    }
}
