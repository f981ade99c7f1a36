//! Begins the user's own server of sessions.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pinfold_sys::socket::Stream;

use crate::terminal::{Failure, failed};

/// How often a server that was just started is looked for, every 10 ms.
const TRIES: usize = 500;

/// How often when it has ended: another may have been faster, whose socket then appears.
const TRIES_AFTER_END: usize = 50;

/// What leads to another place for the socket.
const ELSEWHERE: &str = "set XDG_RUNTIME_DIR to a directory of your own, with a short name";

/// Starts a server on a socket and connects to it, or to one that was faster. It ends with
/// its last session.
pub(super) fn server(socket: &Path) -> Result<Stream, Failure> {
    if let Some(directory) = socket.parent() {
        std::fs::create_dir_all(directory).map_err(|error| {
            let shown = directory.display();
            failed(&format!("cannot make {shown} for a server of sessions: {error}"), ELSEWHERE)
        })?;
    }
    let cannot = |error: std::io::Error| {
        failed(&format!("cannot start a server for sessions: {error}"), "see \"pinfold doctor\"")
    };
    let mut server = Command::new(std::env::current_exe().map_err(cannot)?);
    server.arg("serve").arg("--until-empty").arg("--socket").arg(socket);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    pinfold_sys::files::detached(server.current_dir("/"));
    let mut started = server.spawn().map_err(cannot)?;
    let mut left = TRIES;
    while left > 0 {
        if let Ok(stream) = Stream::connect(socket) {
            return Ok(stream);
        }
        if matches!(started.try_wait(), Ok(Some(_))) {
            left = left.min(TRIES_AFTER_END);
        }
        left -= 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(match started.try_wait() {
        Ok(Some(_)) => ended(&mut started),
        _ => cannot(std::io::ErrorKind::TimedOut.into()),
    })
}

/// Why a server ended at once, in its own words.
fn ended(server: &mut Child) -> Failure {
    let mut said = String::new();
    if let Some(errors) = &mut server.stderr {
        let _ = errors.take(4096).read_to_string(&mut said);
    }
    let (message, hint) = said.trim().split_once("\nhint: ").unwrap_or((said.trim(), ELSEWHERE));
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let hint = if message.starts_with("cannot listen") { ELSEWHERE } else { hint };
    failed(&format!("cannot start a server for sessions: {message}"), hint)
}
