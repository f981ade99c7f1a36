//! A client of the session protocol.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::World;

pub(crate) struct Talk {
    server: Option<Child>,
    writer: Option<Box<dyn Write>>,
    reader: Box<dyn BufRead>,
    last: u64,
    notes: Vec<Value>,
}

/// A server on a socket; killed at the end if it has not ended before.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Text as the protocol carries bytes.
pub(crate) fn text(text: &str) -> String {
    STANDARD.encode(text)
}

impl Talk {
    /// A server of its own, over pipes.
    pub(crate) fn start(world: &World) -> Talk {
        Talk::of(world, &["serve"])
    }

    /// A server of its own, with these arguments.
    pub(crate) fn of(world: &World, arguments: &[&str]) -> Talk {
        let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
        command.args(arguments);
        Talk::with(command)
    }

    /// The server that a command starts.
    pub(crate) fn with(mut command: Command) -> Talk {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = pipes.spawn().unwrap();
        let writer = server.stdin.take().unwrap();
        let reader = BufReader::new(server.stdout.take().unwrap());
        Talk {
            server: Some(server),
            writer: Some(Box::new(writer)),
            reader: Box::new(reader),
            last: 0,
            notes: Vec::new(),
        }
    }

    /// A server on a socket in the home of the world.
    pub(crate) fn listen(world: &World) -> (Server, PathBuf) {
        let socket = world.home().join("socket");
        let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
        let server = Server(command.arg("serve").arg("--socket").arg(&socket).spawn().unwrap());
        for _ in 0..200 {
            if UnixStream::connect(&socket).is_ok() {
                return (server, socket);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not listen");
    }

    /// A client of a socket.
    pub(crate) fn connect(socket: &Path) -> Talk {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Talk {
            server: None,
            writer: Some(Box::new(stream)),
            reader: Box::new(reader),
            last: 0,
            notes: Vec::new(),
        }
    }

    pub(crate) fn initialize(&mut self) {
        let answer = self.result("initialize", json!({ "protocol": 1 }));
        assert_eq!(answer["protocol"], 1);
    }

    pub(crate) fn line(&mut self, line: &str) {
        let writer = self.writer.as_mut().unwrap();
        let _ = writer.write_all(format!("{line}\n").as_bytes());
        let _ = writer.flush();
    }

    /// The next message; none at the end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(length) if length > 0 => Some(serde_json::from_str(&line).unwrap()),
            _ => None,
        }
    }

    /// Sends a line; the answer, with whatever identifier.
    pub(crate) fn raw(&mut self, line: &str) -> Value {
        self.line(line);
        self.answer()
    }

    /// The next answer; news that arrives before it is kept.
    pub(crate) fn answer(&mut self) -> Value {
        loop {
            let message = self.next().unwrap();
            if message.get("method").is_none() {
                return message;
            }
            self.notes.push(message);
        }
    }

    pub(crate) fn send_and_wait(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
        let answer = self.raw(&request.to_string());
        assert_eq!(answer["id"], id);
        answer
    }

    pub(crate) fn result(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.send_and_wait(method, parameters);
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub(crate) fn error(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.send_and_wait(method, parameters);
        assert!(answer.get("error").is_some(), "{method}: {answer}");
        answer["error"].clone()
    }

    /// Starts a process; its identifier.
    pub(crate) fn spawn(&mut self, session: &str, command: &[&str], more: Value) -> String {
        let mut asked = json!({ "session": session, "command": command });
        for (name, value) in more.as_object().unwrap() {
            asked[name] = value.clone();
        }
        self.result("process/start", asked)["process"].as_str().unwrap().to_owned()
    }

    /// Starts and waits for a process that does nothing.
    pub(crate) fn spawn_once(&mut self, session: &str) {
        let process = self.spawn(session, &["true"], json!({}));
        self.result("process/wait", json!({ "process": process }));
    }

    fn chunks(&self, process: &str) -> impl Iterator<Item = &Value> {
        let output = self.notes.iter().filter(|note| note["method"] == "process/output");
        let parameters = output.map(|note| &note["params"]);
        parameters.filter(move |chunk| chunk["process"] == process)
    }

    /// What has arrived of a stream.
    pub(crate) fn output(&self, process: &str, stream: &str) -> String {
        let chunks = self.chunks(process).filter(|chunk| chunk["stream"] == stream);
        let bytes: Vec<u8> = chunks
            .flat_map(|chunk| STANDARD.decode(chunk["data"].as_str().unwrap()).unwrap())
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    /// The numbers of the chunks that have arrived.
    pub(crate) fn numbers(&self, process: &str) -> Vec<u64> {
        self.chunks(process).map(|chunk| chunk["sequence"].as_u64().unwrap()).collect()
    }

    /// The first `count` pieces of news of a kind, which are waited for.
    pub(crate) fn notes_of(&mut self, method: &str, count: usize) -> Vec<Value> {
        loop {
            let news = self.notes.iter().filter(|note| note["method"] == method);
            let found: Vec<Value> = news.map(|note| note["params"].clone()).take(count).collect();
            if found.len() == count {
                return found;
            }
            let message = self.next().unwrap();
            self.notes.push(message);
        }
    }

    /// Waits for some output.
    pub(crate) fn until_output(&mut self, process: &str, stream: &str, wanted: &str) {
        while !self.output(process, stream).contains(wanted) {
            let message = self.next().unwrap();
            self.notes.push(message);
        }
    }

    pub(crate) fn kill(&mut self) {
        let server = self.server.as_mut().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Ends the input; the server's exit status.
    pub(crate) fn end(&mut self) -> i32 {
        self.writer = None;
        let mut rest = String::new();
        let _ = self.reader.read_to_string(&mut rest);
        self.server.as_mut().unwrap().wait().unwrap().code().unwrap()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
