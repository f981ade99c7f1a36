//! `pinfold session`: the other side of a server on a socket.

use std::collections::BTreeMap;
use std::io::{BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use pinfold::{Caller, Size};
use pinfold_sys::descriptor::lent;
use pinfold_sys::session::readable;
use pinfold_sys::socket::Stream;
use pinfold_sys::terminal::{self, RESIZED, Signals};
use pinfold_sys::{name, neighbour};
use serde::Serialize;
use serde_json::{Value, json};

use super::begin;
use super::connection::{Line, read_line};
use super::denied::line as denied;
use super::message::{Bytes, CLOSED, ProcessStart, Terminal};
use crate::arguments::Parsed;
use crate::terminal::{Failure, complain, failed, print, usage};

/// Leaves a command that goes on: Ctrl-].
const LEAVE: u8 = 0x1d;

/// How much input is sent at once, in bytes.
const PIECE: usize = 32 * 1024;

/// `pinfold session`.
pub(crate) fn session(parsed: &Parsed) -> Result<i32, Failure> {
    let words = &parsed.operands;
    let text = |index: usize| words.get(index).map(|word| word.to_string_lossy().into_owned());
    let needs_name =
        || usage("there is no name of a session", "\"pinfold session list\" shows them");
    match (text(0).as_deref(), words.len()) {
        (Some("start"), 1 | 2) => start(parsed, text(1)),
        (Some("list"), 1) => list(),
        (Some("stop"), 2) => {
            let name = text(1).ok_or_else(needs_name)?;
            let mut client = Client::existing()?;
            client.call("session/stop", &json!({ "session": name }))?;
            Ok(0)
        }
        (Some("exec"), 3..) => exec(parsed),
        (Some("exec"), 2) => {
            Err(usage("there is no command to run", "write it after the name of the session"))
        }
        (Some("attach"), 2 | 3) => attach(&text(1).ok_or_else(needs_name)?, text(2)),
        (Some("exec" | "attach" | "stop"), 1) => Err(needs_name()),
        (Some("start" | "list" | "stop" | "attach"), _) => {
            Err(usage("there are too many operands", "see \"pinfold session --help\""))
        }
        _ => Err(usage(
            "session needs to know what to do",
            "write start, exec, attach, list or stop after it",
        )),
    }
}

/// A connection to the user's own server.
fn existing() -> Result<Stream, Failure> {
    Stream::connect(socket(&Caller::at_root())?)
        .map_err(|_| failed("there is no session", "start one with \"pinfold session start NAME\""))
}

/// The socket of the user's own server.
fn socket(caller: &Caller) -> Result<PathBuf, Failure> {
    caller
        .sessions()
        .map(|base| name::path(&base).join("sessions"))
        .ok_or_else(|| failed("cannot find a place for sessions", "set XDG_RUNTIME_DIR or HOME"))
}

fn start(parsed: &Parsed, name: Option<String>) -> Result<i32, Failure> {
    let caller = crate::run::caller(parsed)?;
    let variables: serde_json::Map<String, Value> = caller
        .environment
        .iter()
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    let asked = json!({
        "name": name,
        "profile": parsed.text("profile")?,
        "directory": String::from_utf8_lossy(caller.working.as_bytes()),
        "settings": parsed.texts("config")?,
        "read": parsed.texts("read")?,
        "write": parsed.texts("write")?,
        "deny": parsed.texts("deny")?,
        "net": parsed.texts("net")?,
        "environment": parsed.texts("env")?,
        "allow_gaps": parsed.texts("allow-gap")?,
        "unix_sockets": parsed.texts("allow-unix-socket")?,
        "denials": parsed.text("log-denials")?.map(|level| match level.as_str() {
            "" => String::from("writes"),
            _ => level,
        }),
        "caller": variables,
        "keep": true,
    });
    let started = Client::existing_or_new(&caller)?.call("session/start", &asked)?;
    print(&format!("{}\n", started["name"].as_str().unwrap_or_default()))
}

fn list() -> Result<i32, Failure> {
    let caller = Caller::at_root();
    let Ok(stream) = Stream::connect(socket(&caller)?) else { return Ok(0) };
    let listed = Client::over(stream)?.call("session/list", &json!({}))?;
    let mut text = String::new();
    for session in listed["sessions"].as_array().into_iter().flatten() {
        let running = session["processes"].as_array().into_iter().flatten();
        let running: Vec<&str> = running
            .filter(|process| process.get("code").is_none())
            .filter_map(|process| process["process"].as_str())
            .collect();
        let field = |name: &str| session[name].as_str().unwrap_or_default();
        let (name, profile, directory) = (field("name"), field("profile"), field("directory"));
        text.push_str(&format!("{name}\t{profile}\t{directory}\t{}\n", running.join(" ")));
    }
    print(&text)
}

fn exec(parsed: &Parsed) -> Result<i32, Failure> {
    let [_, name, command @ ..] = &parsed.operands[..] else { return Ok(2) };
    let mut client = Client::unready(existing()?)?;
    let detach = parsed.has("detach");
    let attended = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let size = if attended { terminal::size(std::io::stdin()).ok() } else { None };
    let size = size.map(|Size { rows, columns }| Terminal { rows, columns });
    let size = if detach { size.or(Some(Terminal { rows: 24, columns: 80 })) } else { size };
    let given = size.is_none() && neighbour::SENDS_DESCRIPTORS;
    let on_terminal = size.is_some();
    let asked = ProcessStart {
        session: name.to_string_lossy().into_owned(),
        command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        directory: parsed.text("cd")?,
        environment: BTreeMap::new(),
        terminal: size,
        stdin: true,
        descriptors: given,
    };
    // All at once: to wait for each answer would take as long as the command. When the
    // first is refused, the last is too, for the same reason.
    client.post("initialize", &json!({ "protocol": 1 }));
    let started = client.post("process/start", &asked);
    client.deliver(given)?;
    if !detach {
        // While the server is at work.
        client.signals = terminal::signals().ok();
    }
    let process = client.answer(&started)?["process"].clone();
    let process = process.as_str().unwrap_or_default().to_owned();
    if detach {
        return print(&format!("{process}\n"));
    }
    let streams = match (given, on_terminal) {
        (true, _) => Streams::Given,
        (false, true) => Streams::Terminal,
        (false, false) => Streams::Piped,
    };
    client.join(&process, streams)
}

fn attach(session: &str, process: Option<String>) -> Result<i32, Failure> {
    let mut client = Client::existing()?;
    let described = client.call("session/attach", &json!({ "session": session }))?;
    let mut running = described["processes"].as_array().into_iter().flatten();
    let newest = running.rfind(|process| process.get("code").is_none());
    let newest = newest.and_then(|process| process["process"].as_str()).map(String::from);
    let process = process.or(newest).ok_or_else(|| {
        failed("cannot attach: no command runs in this session", "start one with \"session exec\"")
    })?;
    client.call("process/attach", &json!({ "process": process }))?;
    if let Ok(size) = terminal::size(std::io::stdin()) {
        let size = json!({ "process": process, "rows": size.rows, "columns": size.columns });
        // One without a terminal has no size.
        let _ = client.call("process/resize", &size);
    }
    let on_terminal = std::io::stdin().is_terminal();
    client.join(&process, if on_terminal { Streams::Terminal } else { Streams::Piped })
}

/// What connects a command with this process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    /// It has the descriptors of this process.
    Given,
    /// Messages, from and to a terminal.
    Terminal,
    /// Messages, from and to whatever else.
    Piped,
}

/// A connection to the server.
struct Client {
    reader: BufReader<Stream>,
    writer: Arc<Mutex<Stream>>,
    last: u64,
    /// Requests that have not been sent yet.
    posted: Vec<u8>,
    /// Notifications that came before the answer that was waited for.
    earlier: Vec<Value>,
    /// Signals to this process, once they are for the command.
    signals: Option<Signals>,
}

/// The identifier of requests that are sent while a command is joined.
const FORWARDED: &str = "forwarded";
const INPUT: &str = "input";

impl Client {
    fn existing() -> Result<Client, Failure> {
        Client::over(existing()?)
    }

    /// Starts a server when there is none.
    fn existing_or_new(caller: &Caller) -> Result<Client, Failure> {
        let socket = socket(caller)?;
        if let Ok(stream) = Stream::connect(&socket) {
            return Client::over(stream);
        }
        Client::over(begin::server(&socket)?)
    }

    fn over(stream: Stream) -> Result<Client, Failure> {
        let mut client = Client::unready(stream)?;
        client.call("initialize", &json!({ "protocol": 1 }))?;
        Ok(client)
    }

    /// A connection on which nothing has been said.
    fn unready(stream: Stream) -> Result<Client, Failure> {
        let writer = stream.try_clone().map_err(|_| lost())?;
        let (reader, writer) = (BufReader::new(stream), Arc::new(Mutex::new(writer)));
        let (posted, earlier) = (Vec::new(), Vec::new());
        Ok(Client { reader, writer, last: 0, posted, earlier, signals: None })
    }

    /// The next message; does something about each signal that comes before it, if they are
    /// for the command.
    fn next(&mut self, mut act: impl FnMut(i32) -> Result<(), Failure>) -> Result<Value, Failure> {
        while let Some(signals) = &mut self.signals
            && self.reader.buffer().is_empty()
        {
            let waited = [Some(lent(self.reader.get_ref())), Some(signals.descriptor())];
            let ready = readable(&waited, None).map_err(|_| lost())?;
            if ready.get(1) == Some(&true)
                && let Ok(signal) = signals.wait()
            {
                act(signal)?;
            }
            if ready.first() == Some(&true) {
                break;
            }
        }
        match read_line(&mut self.reader) {
            Ok(Line::Text(line)) => serde_json::from_slice(&line).map_err(|_| lost()),
            _ => Err(lost()),
        }
    }

    /// Puts a request beside others that are sent together; its identifier.
    fn post(&mut self, method: &str, parameters: &impl Serialize) -> Value {
        self.last += 1;
        let id = Value::from(self.last);
        self.posted.extend(request(&id, method, parameters));
        id
    }

    /// Sends what was posted, with the standard streams of this process if they are to
    /// come along.
    fn deliver(&mut self, with_streams: bool) -> Result<(), Failure> {
        let posted = std::mem::take(&mut self.posted);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if !with_streams {
            // A server that is gone shows where its answers are read.
            let _ = writer.write_all(&posted);
            return Ok(());
        }
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let streams = [lent(&input), lent(&output), lent(&error)];
        let sent = neighbour::send(&writer, &posted, &streams)
            .and_then(|taken| writer.write_all(posted.get(taken..).unwrap_or_default()));
        sent.map_err(|error| {
            let why = pinfold_sys::describe(error.raw_os_error().unwrap_or_default());
            let hint = "open standard input, output and error";
            failed(&format!("cannot pass the streams on: {why}"), hint)
        })
    }

    /// Sends a request and waits for its answer.
    fn call(&mut self, method: &str, parameters: &impl Serialize) -> Result<Value, Failure> {
        let id = self.post(method, parameters);
        self.deliver(false)?;
        self.answer(&id)
    }

    fn answer(&mut self, id: &Value) -> Result<Value, Failure> {
        loop {
            let mut message = self.next(|signal| Err(interrupted(signal)))?;
            if message.get("method").is_some() {
                self.earlier.push(message);
            } else if message["id"] == *id {
                return match message.get("error") {
                    None => Ok(message["result"].take()),
                    Some(error) => Err(refused(error)),
                };
            }
        }
    }

    /// Connects this process's streams with those of a command until it ends, or
    /// until the user leaves it. Its exit status.
    fn join(mut self, process: &str, streams: Streams) -> Result<i32, Failure> {
        let on_terminal = streams == Streams::Terminal;
        let raw = if on_terminal { terminal::raw(std::io::stdin()).ok() } else { None };
        if self.signals.is_none() {
            self.signals = terminal::signals().ok();
        }
        let writer = self.writer.clone();
        let on_signal = |signal| {
            pass_on(&writer, process, signal);
            Ok(())
        };
        let (acknowledge, acknowledged) = mpsc::channel();
        let (writer, target) = (self.writer.clone(), process.to_owned());
        if streams != Streams::Given {
            std::thread::spawn(move || forward(&writer, &target, on_terminal, &acknowledged));
        }
        let mut earlier = std::mem::take(&mut self.earlier).into_iter();
        loop {
            let message = match earlier.next() {
                Some(message) => message,
                None => match self.next(on_signal) {
                    Ok(message) => message,
                    Err(lost) => {
                        drop(raw);
                        return Err(lost);
                    }
                },
            };
            if message["id"] == INPUT {
                let _ = acknowledge.send(message["error"]["code"] != CLOSED);
            }
            if message["id"] == LEFT {
                drop(raw);
                return print("\n");
            }
            if message["params"]["process"] != process {
                continue;
            }
            match message["method"].as_str() {
                Some("process/output") => show(&message["params"]),
                Some("process/ended") => {
                    drop(raw);
                    for denial in message["params"]["denials"].as_array().into_iter().flatten() {
                        complain(&format!("pinfold: {}", denied(denial)));
                    }
                    let code = message["params"]["code"].as_i64();
                    return Ok(code.and_then(|code| i32::try_from(code).ok()).unwrap_or(125));
                }
                _ => {}
            }
        }
    }
}

/// The identifier of the request whose answer ends a join.
const LEFT: &str = "left";

fn lost() -> Failure {
    failed("the server of the sessions has ended", "start a session again")
}

/// By a signal that is for no command yet.
fn interrupted(signal: i32) -> Failure {
    let failure = failed("interrupted before the server answered", "see \"pinfold session list\"");
    Failure { status: 128 + signal, ..failure }
}

fn refused(error: &Value) -> Failure {
    let message = error["message"].as_str().unwrap_or("the server refuses");
    let hint = error["data"]["hint"].as_str();
    let text = match hint {
        Some(hint) => format!("error: {message}\nhint: {hint}"),
        None => format!("error: {message}"),
    };
    let status = error["data"]["code"].as_i64().and_then(|code| i32::try_from(code).ok());
    Failure { text, status: status.unwrap_or(125) }
}

/// A line with a request.
fn request(id: &Value, method: &str, parameters: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a, P> {
        jsonrpc: &'a str,
        id: &'a Value,
        method: &'a str,
        params: &'a P,
    }
    let line = Line { jsonrpc: "2.0", id, method, params: parameters };
    // Maps with keys that are text, and memory to write to: nothing of this can fail.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

fn send(writer: &Mutex<Stream>, id: &Value, method: &str, parameters: &Value) {
    let line = request(id, method, parameters);
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    // A server that is gone shows where its answers are read.
    let _ = writer.write_all(&line);
}

fn pass_on(writer: &Mutex<Stream>, process: &str, signal: i32) {
    let id = Value::from(FORWARDED);
    if signal == RESIZED {
        if let Ok(size) = terminal::size(std::io::stdin()) {
            let size = json!({ "process": process, "rows": size.rows, "columns": size.columns });
            send(writer, &id, "process/resize", &size);
        }
    } else if let Some(name) = super::methods::name_of(signal) {
        send(writer, &id, "process/signal", &json!({ "process": process, "signal": name }));
    }
}

/// Sends standard input on, each piece when the one before has been taken.
fn forward(
    writer: &Mutex<Stream>,
    process: &str,
    on_terminal: bool,
    acknowledged: &mpsc::Receiver<bool>,
) {
    let mut input = std::io::stdin();
    let mut buffer = vec![0; PIECE];
    loop {
        let length = input.read(&mut buffer).unwrap_or(0);
        let piece = buffer.get(..length).unwrap_or_default();
        if on_terminal && piece.contains(&LEAVE) {
            send(writer, &Value::from(LEFT), "session/list", &json!({}));
            return;
        }
        if piece.is_empty() {
            let id = Value::from(FORWARDED);
            send(writer, &id, "process/close_stdin", &json!({ "process": process }));
            return;
        }
        let data = Bytes(piece.to_vec());
        let asked = json!({ "process": process, "data": data });
        send(writer, &Value::from(INPUT), "process/write", &asked);
        if acknowledged.recv() != Ok(true) {
            return;
        }
    }
}

fn show(chunk: &Value) {
    let Ok(Bytes(data)) = serde_json::from_value(chunk["data"].clone()) else { return };
    // Nobody may read it any more; the command goes on, as with "| head".
    let _ = if chunk["stream"] == "stderr" {
        std::io::stderr().write_all(&data)
    } else {
        let mut output = std::io::stdout().lock();
        output.write_all(&data).and_then(|()| output.flush())
    };
}
