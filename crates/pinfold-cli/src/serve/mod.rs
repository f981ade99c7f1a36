//! `pinfold serve`: sessions for programs, over JSON-RPC. `docs/protocol.md` is
//! what it promises.

mod begin;
mod client;
pub(crate) mod connection;
pub(crate) mod denied;
mod files;
pub(crate) mod message;
pub(crate) mod methods;
pub(crate) mod process;
pub(crate) mod sessions;
mod workers;

use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

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

/// Threads that wait for a client, when nobody has come for a while.
const WAITING: usize = 4;

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
            converse(&server, &connection, BufReader::new(std::io::stdin()), |_: &mut _| None);
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
    let describe = |error: std::io::Error| match (error.raw_os_error(), error.kind()) {
        (Some(code), _) => pinfold_sys::describe(code),
        (None, ErrorKind::InvalidInput) => String::from("a socket's path must be shorter"),
        (None, _) => error.to_string(),
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
    let door = Arc::new(Door {
        server: server.clone(),
        listener,
        path: path.to_path_buf(),
        waiting: AtomicUsize::new(0),
        present: AtomicUsize::new(0),
    });
    for _ in 1..WAITING {
        // Without them, this thread is enough for one client at a time.
        let _ = door.have_another_wait();
    }
    door.waiting.fetch_add(1, SeqCst);
    door.attend(true);
    Ok(0)
}

/// Where clients come in. The thread that a client comes to serves it: to hand it to
/// another would take as long as to start its command.
struct Door {
    server: Arc<Server>,
    listener: Listener,
    path: PathBuf,
    /// Threads that wait for a client.
    waiting: AtomicUsize,
    /// Clients that are served.
    present: AtomicUsize,
}

impl Door {
    /// Serves clients one after another; always when it `stays`, and else while not enough
    /// others wait.
    fn attend(self: &Arc<Door>, stays: bool) {
        for stream in self.listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors: those that are there go on.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            if !pinfold_sys::neighbour::is_neighbour(&stream) {
                continue;
            }
            // Somebody has to wait for the next. Without a thread for that the client is
            // turned away, as its end of the line shows.
            if self.waiting.fetch_sub(1, SeqCst) == 1 && self.have_another_wait().is_err() {
                self.waiting.fetch_add(1, SeqCst);
                continue;
            }
            self.serve(stream);
            if self.waiting.fetch_add(1, SeqCst) >= WAITING && !stays {
                self.waiting.fetch_sub(1, SeqCst);
                return;
            }
        }
    }

    fn have_another_wait(self: &Arc<Door>) -> std::io::Result<()> {
        let own = self.clone();
        self.waiting.fetch_add(1, SeqCst);
        let started = workers::perform(move || own.attend(false));
        if started.is_err() {
            self.waiting.fetch_sub(1, SeqCst);
        }
        started
    }

    fn serve(&self, stream: Stream) {
        // Those that have gone may not have been noticed yet.
        let mut patience = 100;
        while self.present.fetch_add(1, SeqCst) >= CONNECTIONS {
            self.present.fetch_sub(1, SeqCst);
            if patience == 0 {
                return turn_away(stream);
            }
            std::thread::sleep(Duration::from_millis(10));
            patience -= 1;
        }
        if let Ok(writer) = stream.try_clone() {
            let connection = Arc::new(Connection::new(Box::new(writer)));
            let reader = BufReader::new(Receiver::new(&stream));
            if converse(&self.server, &connection, reader, taken) == After::ShutDown {
                self.server.stop_all();
                let _ = std::fs::remove_file(&self.path);
                std::process::exit(0);
            }
            // A thread that still writes to the client must not wait for ever.
            let _ = stream.shutdown(std::net::Shutdown::Both);
            self.server.leave(&connection);
        }
        self.present.fetch_sub(1, SeqCst);
    }
}

fn turn_away(mut stream: Stream) {
    let fault = Fault::new(LIMIT, format!("{CONNECTIONS} connections are open already"));
    let line = serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": fault.value() });
    let _ = stream.write_all(format!("{line}\n").as_bytes());
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
fn converse<R: Read>(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    mut reader: BufReader<R>,
    taken: impl Fn(&mut BufReader<R>) -> Option<[Owned; 3]>,
) -> After {
    let mut after = After::Nothing;
    let holds_more = |reader: &BufReader<R>| reader.buffer().contains(&b'\n');
    while !connection.is_lost() {
        if !holds_more(&reader) {
            connection.let_go();
        }
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
        connection.hold(holds_more(&reader));
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
                if shut_down && connection.ready.load(SeqCst) {
                    after = After::ShutDown;
                    break;
                }
            }
            Err((id, fault)) => connection.answer(&id, Err(fault)),
        }
    }
    connection.let_go();
    connection.lose();
    after
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
