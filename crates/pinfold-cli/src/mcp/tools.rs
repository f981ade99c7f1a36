//! The tools: what a model is told of them, and which function each one is.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Reply;
use super::arguments::{Explain, List, Resize, Signal};
use super::explain::{denials, explain};
use super::home::{Current, Home};
use crate::serve::message::{FAILED, Fault, WRONG_PARAMETERS};
use crate::serve::methods;

const NAMES: [&str; 9] =
    ["run", "start", "write", "read", "stop", "signal", "resize", "list", "explain"];

/// Does what a tool is for.
pub(super) fn call(
    home: &Home,
    current: &Current,
    tool: &str,
    arguments: Value,
) -> Result<Reply, Fault> {
    match tool {
        "run" => home.run(parsed(tool, arguments)?, current),
        "start" => home.start(parsed(tool, arguments)?),
        "write" => home.write(parsed(tool, arguments)?),
        "read" => home.read(parsed(tool, arguments)?),
        "stop" => home.stop(&parsed(tool, arguments)?),
        "signal" => signal(home, &parsed(tool, arguments)?),
        "resize" => resize(home, &parsed(tool, arguments)?),
        "list" => parsed(tool, arguments).and_then(|List {}| home.list()),
        "explain" => {
            let Explain { about } = parsed(tool, arguments)?;
            match about {
                Some(about) => explain(&*home.room()?, &about),
                None => denials(&*home.room()?),
            }
        }
        _ => {
            let fault = Fault::new(WRONG_PARAMETERS, format!("there is no tool \"{tool}\""));
            Err(fault.hint(&format!("the tools are {}", NAMES.join(", "))))
        }
    }
}

fn parsed<T: DeserializeOwned>(tool: &str, arguments: Value) -> Result<T, Fault> {
    serde_json::from_value(arguments).map_err(|error| {
        let fault =
            Fault::new(WRONG_PARAMETERS, format!("wrong arguments for \"{tool}\": {error}"));
        fault.hint("the input schema of the tool names its arguments and their types")
    })
}

fn signal(home: &Home, asked: &Signal) -> Result<Reply, Fault> {
    let number = methods::signal(&asked.signal)?;
    let sent = home.process(&asked.process)?.process.signal(number);
    sent.map_err(|error| Fault::new(FAILED, format!("cannot send it: {error}")))?;
    Ok(done(&asked.process, &format!("sent {}", asked.signal)))
}

fn resize(home: &Home, asked: &Resize) -> Result<Reply, Fault> {
    let (rows, columns) = (asked.rows, asked.columns);
    let resized = home.process(&asked.process)?.process.resize(pinfold::Size { rows, columns });
    resized.map_err(|_| {
        let fault = Fault::new(WRONG_PARAMETERS, "the process has no terminal");
        fault.hint("give \"terminal\" to \"start\"")
    })?;
    Ok(done(&asked.process, &format!("has {rows} rows and {columns} columns")))
}

fn done(process: &str, what: &str) -> Reply {
    Reply { text: format!("[{process}: {what}]"), structured: json!({ "process": process }) }
}

/// All tools, as a client lists them.
pub(super) fn all() -> Vec<Tool> {
    NAMES.iter().map(|name| tool(name)).collect()
}

fn tool(name: &'static str) -> Tool {
    let (description, properties, required) = described(name);
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let schema = match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    let only_looks = matches!(name, "read" | "list" | "explain");
    let hints = ToolAnnotations::new().read_only(only_looks);
    // What a command does is bounded by the profile, but may still reach hosts.
    let hints = hints.open_world(matches!(name, "run" | "start" | "write"));
    Tool::new(name, description, Arc::new(schema)).with_annotations(hints)
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn number(description: &str, default: f64, most: f64) -> Value {
    json!({
        "type": "number", "minimum": 0, "maximum": most, "default": default,
        "description": description,
    })
}

fn command() -> Value {
    json!({
        "description": "a command line for sh, such as \"make test 2>&1 | tail\", or a program and its \
                        arguments as a list, which no shell reads",
        "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ],
    })
}

fn environment() -> Value {
    json!({
        "type": "object", "additionalProperties": { "type": "string" },
        "description": "variables to set for this command",
    })
}

fn bytes() -> Value {
    json!({
        "type": "integer", "minimum": 1, "maximum": super::arguments::MOST_OUTPUT, "default": 32768,
        "description": "the most output to answer with, in bytes",
    })
}

fn wait(default: f64) -> Value {
    number(
        "how long to wait for output at most; without \"until\", a short pause after some output \
         ends the wait",
        default,
        3600.0,
    )
}

const DIRECTORY: &str = "where to run it, absolute or relative to the session's directory";
const PROCESS: &str = "its name, as \"start\" answered, such as \"p1\"";
const UNTIL: &str = "wait until the output holds this text, such as the prompt \">>> \"";

/// What a tool does, its arguments, and those that it needs.
fn described(name: &str) -> (&'static str, Value, Value) {
    match name {
        "run" => (
            "Run a command in the sandbox to its end. Answers with its output (standard output and \
             error together; \"2>&1\" keeps their exact order) and its exit status, which is not 0 when the \
             command failed. Files and background processes stay for the next call. For something \
             that asks for input, keeps running (a server) or needs a terminal, use \"start\".",
            json!({
                "command": command(),
                "directory": text(DIRECTORY),
                "environment": environment(),
                "input": text("text for its standard input, which is empty otherwise"),
                "timeout_seconds": number("the time it may take", 50.0, 3600.0),
                "on_timeout": {
                    "type": "string", "enum": ["stop", "keep"], "default": "stop",
                    "description": "when the time is over: \"stop\" ends it and all it started; \
                                    \"keep\" lets it run on as a process for \"read\" and \"stop\"",
                },
                "max_output_bytes": bytes(),
            }),
            json!(["command"]),
        ),
        "start" => (
            "Start a command that stays: a server, a REPL, a debugger, a watcher. Answers with the \
             name of the process and its first output; \"write\" and \"read\" go on with it. Give it \
             a terminal when it is meant for people (REPLs, editors, password prompts).",
            json!({
                "command": command(),
                "directory": text(DIRECTORY),
                "environment": environment(),
                "terminal": {
                    "type": "object",
                    "properties": {
                        "rows": { "type": "integer", "minimum": 1, "maximum": 65535 },
                        "columns": { "type": "integer", "minimum": 1, "maximum": 65535 },
                    },
                    "required": ["rows", "columns"], "additionalProperties": false,
                    "description": "the size of a terminal of its own; pipes without it",
                },
                "wait_seconds": wait(1.0),
                "until": text(UNTIL),
            }),
            json!(["command"]),
        ),
        "write" => (
            "Write text to a process that \"start\" started, and answer with what it writes then. A \
             line needs its newline. On a terminal, \"\\u0003\" is Ctrl-C and \"\\u0004\" Ctrl-D.",
            json!({
                "process": text(PROCESS),
                "text": text("what to write, taken as it is"),
                "close": {
                    "type": "boolean", "default": false,
                    "description": "end its standard input afterwards; on a terminal, write \
                                    \"\\u0004\" instead",
                },
                "wait_seconds": wait(1.0),
                "until": text(UNTIL),
                "max_output_bytes": bytes(),
            }),
            json!(["process"]),
        ),
        "read" => (
            "Read what a process has written since the last answer that showed its output, or after \
             a sequence number. Says whether it still runs, or how it ended. Of old output, 1 MiB is \
             kept; \"left_out_bytes\" counts what is gone.",
            json!({
                "process": text(PROCESS),
                "after": {
                    "type": "integer", "minimum": 0,
                    "description": "the \"next\" of an earlier answer, to read on after it; 0 reads all \
                                    that is kept",
                },
                "wait_seconds": wait(0.0),
                "until": text(UNTIL),
                "max_output_bytes": bytes(),
            }),
            json!(["process"]),
        ),
        "stop" => (
            "End a process and everything it has started: asks first, then kills.",
            json!({
                "process": text(PROCESS),
                "grace_seconds": number("time to end by itself before it is killed", 5.0, 3600.0),
            }),
            json!(["process"]),
        ),
        "signal" => (
            "Send a signal to a process and its group, for example INT to interrupt it.",
            json!({
                "process": text(PROCESS),
                "signal": text("HUP, INT, QUIT, KILL, USR1, USR2, PIPE, TERM, CONT, STOP, TSTP or WINCH"),
            }),
            json!(["process", "signal"]),
        ),
        "resize" => (
            "Tell the terminal of a process its size.",
            json!({
                "process": text(PROCESS),
                "rows": { "type": "integer", "minimum": 1, "maximum": 65535 },
                "columns": { "type": "integer", "minimum": 1, "maximum": 65535 },
            }),
            json!(["process", "rows", "columns"]),
        ),
        "list" => (
            "List the processes of the session, and its profile and directory.",
            json!({}),
            json!([]),
        ),
        _ => (
            "Ask why the sandbox refuses something, or whether it would: whether a path may be read, \
             written and removed, a host reached or a variable seen, which rule decides, and the \
             smallest option that would allow it. Only the user can pass that option. Without \
             \"about\", lists everything that the sandbox has refused so far.",
            json!({
                "about": text(
                    "a path (with a slash), a URL, HOST:PORT, a host name with a dot, or the name of \
                     a variable; everything that was refused so far when it is left out",
                ),
            }),
            json!([]),
        ),
    }
}
