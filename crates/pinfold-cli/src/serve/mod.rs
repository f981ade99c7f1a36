//! `pinfold serve`: sessions for programs, over JSON-RPC. `docs/protocol.md` is
//! what it promises.

mod client;
pub(crate) mod connection;
pub(crate) mod denied;
mod files;
pub(crate) mod message;
pub(crate) mod methods;
pub(crate) mod process;
pub(crate) mod sessions;
mod workers;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use pinfold_sys::descriptor::Owned;
use pinfold_sys::neighbour::Receiver;
use pinfold_sys::socket::{self, Listener, Stream};

use crate::arguments::Parsed;
use crate::terminal::{Failure, failed, usage};
pub(crate) use client::session;
use connection::{Connection, Line, read_line};
pub(crate) use files::{FILE_COMMAND, act_on_file};
use message::{Fault, LIMIT, NO_REQUEST, NOT_JSON, Request};
use sessions::Server;

/// Connections at once.
const CONNECTIONS: usize = 256;

/// `pinfold serve`.
pub(crate) fn serve(parsed: &Parsed) -> Result<i32, Failure> {
    pinfold_sys::open_as_many_as_allowed();
    let server = Arc::new(Server::new());
    let swept = server.clone();
    std::thread::spawn(move || swept.sweep());
    match parsed.last("socket") {
        Some(path) => {
            if parsed.has("until-empty") {
                let (server, path) = (server.clone(), PathBuf::from(path));
                std::thread::spawn(move || {
                    server.until_empty();
                    let _ = std::fs::remove_file(path);
                    std::process::exit(0);
                });
            }
            listen(&server, Path::new(path))
        }
        None if parsed.has("until-empty") => {
            Err(usage("--until-empty is for servers on a socket", "pass --socket PATH as well"))
        }
        None => {
            let connection = Arc::new(Connection::new(Box::new(std::io::stdout())));
            converse(&server, &connection, (std::io::stdin().lock(), |_: &mut _| None));
            server.stop_all();
            Ok(0)
        }
    }
}

/// Serves a socket until the process is killed or told to shut down.
fn listen(server: &Arc<Server>, path: &Path) -> Result<i32, Failure> {
    let cannot = |why: String| {
        failed(
            &format!("cannot listen on {}: {why}", path.display()),
            "name a socket in a directory of your own that no other server uses",
        )
    };
    let describe = |error: std::io::Error| {
        error.raw_os_error().map_or_else(|| error.to_string(), pinfold_sys::describe)
    };
    if Stream::connect(path).is_ok() {
        return Err(cannot(String::from("another server uses it")));
    }
    // What a server that was killed has left behind.
    if socket::exists(path) {
        let _ = std::fs::remove_file(path);
    }
    let listener = Listener::bind(path).map_err(|error| cannot(describe(error)))?;
    // Until then, the user of every connection is compared, which holds anyway.
    socket::make_private(path).map_err(|error| cannot(describe(error)))?;
    let present = Arc::new(());
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors: those that are there go on.
            std::thread::sleep(std::time::Duration::from_millis(50));
            continue;
        };
        if !pinfold_sys::neighbour::is_neighbour(&stream) {
            continue;
        }
        // Those that have gone may not have been noticed yet.
        let mut patience = 100;
        while Arc::strong_count(&present) > CONNECTIONS && patience > 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            patience -= 1;
        }
        if Arc::strong_count(&present) > CONNECTIONS {
            let mut stream = stream;
            let fault = Fault::new(LIMIT, format!("{CONNECTIONS} connections are open already"));
            let line = serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": fault.value() });
            let _ = stream.write_all(format!("{line}\n").as_bytes());
            continue;
        }
        let (server, counted, path) = (server.clone(), present.clone(), path.to_path_buf());
        // Without a thread the client is turned away, as its end of the line shows.
        let _ = workers::perform(move || {
            let Ok(writer) = stream.try_clone() else { return };
            let connection = Arc::new(Connection::new(Box::new(writer)));
            let reader = BufReader::new(Receiver::new(&stream));
            if converse(&server, &connection, (reader, taken)) == After::ShutDown {
                server.stop_all();
                let _ = std::fs::remove_file(path);
                std::process::exit(0);
            }
            // A thread that still writes to the client must not wait for ever.
            let _ = stream.shutdown(std::net::Shutdown::Both);
            server.leave(&connection);
            drop(counted);
        });
    }
    Ok(0)
}

/// The descriptors that have come so far, when there are three.
fn taken(reader: &mut BufReader<Receiver<&Stream>>) -> Option<[Owned; 3]> {
    let came = std::mem::take(&mut reader.get_mut().descriptors);
    Vec::from(came).try_into().ok()
}

/// What follows a conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    ShutDown,
}

/// Answers a client until it is gone.
fn converse<R: BufRead>(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    (mut reader, taken): (R, impl Fn(&mut R) -> Option<[Owned; 3]>),
) -> After {
    while !connection.is_lost() {
        let line = match read_line(&mut reader) {
            Ok(Line::Text(line)) => line,
            Ok(Line::TooLong) => {
                let longest = connection::LONGEST;
                let fault = Fault::new(NO_REQUEST, format!("a line is over {longest} bytes long"));
                connection.answer(&Value::Null, Err(fault));
                break;
            }
            Ok(Line::End) | Err(_) => break,
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match request(&line) {
            Ok(request) => {
                let shut_down = request.method == "shutdown" && request.id.is_some();
                // They came with a byte of this line, or of one before it.
                let given =
                    if request.method == "process/start" { taken(&mut reader) } else { None };
                methods::answer(server, connection, request, given);
                if shut_down && connection.ready.load(std::sync::atomic::Ordering::SeqCst) {
                    return After::ShutDown;
                }
            }
            Err((id, fault)) => connection.answer(&id, Err(fault)),
        }
    }
    connection.lose();
    After::Nothing
}

/// The request in a line, or what is wrong with it.
fn request(line: &[u8]) -> Result<Request, (Value, Fault)> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| (Value::Null, Fault::new(NOT_JSON, format!("not JSON: {error}"))))?;
    let id = value.get("id").filter(|id| id.is_number() || id.is_string());
    let id = id.cloned().unwrap_or(Value::Null);
    let wrong = |why: String| Fault::new(NO_REQUEST, why);
    if value.is_array() {
        return Err((id, wrong(String::from("batches are not supported"))));
    }
    let request: Request = match serde_json::from_value(value) {
        Ok(request) => request,
        Err(error) => return Err((id, wrong(format!("not a request: {error}")))),
    };
    if request.jsonrpc != "2.0" {
        return Err((id, wrong(String::from("\"jsonrpc\" must be \"2.0\""))));
    }
    match &request.id {
        None => {}
        Some(given) if given.is_number() || given.is_string() => {}
        Some(_) => return Err((id, wrong(String::from("\"id\" must be a number or a string")))),
    }
    Ok(request)
}
