//! The messages of the session protocol, as they are written. `docs/protocol.md`
//! says what they mean.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a request failed with.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(super) code: i32,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The exit status that stands for it, when a program could not be run.
    pub(super) status: Option<i32>,
}

pub(super) const NOT_JSON: i32 = -32700;
pub(super) const NO_REQUEST: i32 = -32600;
pub(super) const NO_METHOD: i32 = -32601;
pub(crate) const WRONG_PARAMETERS: i32 = -32602;
pub(crate) const FAILED: i32 = -32603;
pub(crate) const UNKNOWN: i32 = -32001;
pub(super) const NOT_READY: i32 = -32002;
pub(super) const REFUSED: i32 = -32003;
pub(super) const CONFIGURATION: i32 = -32004;
pub(crate) const LIMIT: i32 = -32005;
pub(super) const CLOSED: i32 = -32006;
pub(super) const NO_PROGRAM: i32 = -32007;

impl Fault {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), hint: None, status: None }
    }

    pub(crate) fn hint(self, hint: &str) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }

    /// As the member `error` of a response.
    pub(super) fn value(&self) -> Value {
        let mut error = serde_json::json!({ "code": self.code, "message": self.message });
        let mut more = serde_json::Map::new();
        if let Some(hint) = &self.hint {
            more.insert("hint".into(), hint.as_str().into());
        }
        if let Some(status) = self.status {
            more.insert("code".into(), status.into());
        }
        if !more.is_empty() {
            error["data"] = Value::Object(more);
        }
        error
    }
}

impl From<pinfold::Error> for Fault {
    fn from(error: pinfold::Error) -> Fault {
        let code = match &error {
            pinfold::Error::Configuration(_) | pinfold::Error::Gaps(_) => CONFIGURATION,
            pinfold::Error::Program { .. } => NO_PROGRAM,
            pinfold::Error::Caller { .. } => WRONG_PARAMETERS,
            pinfold::Error::Launch(_) => FAILED,
        };
        let status = (code == NO_PROGRAM).then(|| error.status());
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let (message, hint) = match text.split_once("\nhint: ") {
            Some((message, hint)) if !hint.contains("\nerror: ") => (message, Some(hint.into())),
            _ => (text, None),
        };
        Fault { code, message: message.into(), hint, status }
    }
}

/// A line that was received.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) jsonrpc: String,
    #[serde(default)]
    pub(super) id: Option<Value>,
    pub(super) method: String,
    #[serde(default)]
    pub(super) params: Option<Value>,
}

/// Members by their names; an array would give them by an order that nobody promised.
pub(super) fn parameters<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    if !value.is_object() {
        return Err(String::from("they must be an object"));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Bytes, as base64.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text);
        bytes.map(Bytes).map_err(|_| serde::de::Error::custom("\"data\" is not base64"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        STANDARD.encode(&self.0).serialize(to)
    }
}

/// A name and version of a program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    #[serde(rename = "name")]
    pub(super) _name: String,
    #[serde(default, rename = "version")]
    pub(super) _version: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Initialize {
    pub(super) protocol: u32,
    #[serde(default, rename = "client")]
    pub(super) _client: Option<Client>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionStart {
    pub(super) name: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) directory: Option<String>,
    pub(super) settings: Vec<String>,
    pub(super) read: Vec<String>,
    pub(super) write: Vec<String>,
    pub(super) deny: Vec<String>,
    pub(super) net: Vec<String>,
    pub(super) environment: Vec<String>,
    pub(super) allow_gaps: Vec<String>,
    pub(super) unix_sockets: Vec<String>,
    /// How closely denials are looked for.
    pub(super) denials: Option<String>,
    pub(super) caller: Option<BTreeMap<String, String>>,
    pub(super) keep: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfSession {
    pub(super) session: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DenialsOf {
    pub(super) session: String,
    #[serde(default)]
    pub(super) process: Option<String>,
    #[serde(default)]
    pub(super) from: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    pub(super) session: String,
    pub(super) thing: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terminal {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessStart {
    pub(crate) session: String,
    pub(crate) command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) terminal: Option<Terminal>,
    #[serde(default = "yes")]
    pub(crate) stdin: bool,
    /// Three descriptors came with the request.
    #[serde(default)]
    pub(crate) descriptors: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfProcess {
    pub(super) process: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    pub(super) process: String,
    pub(super) data: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resize {
    pub(super) process: String,
    pub(super) rows: u16,
    pub(super) columns: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    pub(super) process: String,
    pub(super) signal: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terminate {
    pub(super) process: String,
    /// Seconds.
    #[serde(default)]
    pub(super) grace: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    pub(super) process: String,
    #[serde(default)]
    pub(super) after: u64,
    /// Bytes.
    #[serde(default)]
    pub(super) maximum: Option<usize>,
    /// Seconds.
    #[serde(default)]
    pub(super) wait: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attach {
    pub(super) process: String,
    #[serde(default)]
    pub(super) after: u64,
}

/// A piece of output.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Chunk {
    pub(crate) sequence: u64,
    pub(crate) stream: &'static str,
    pub(crate) data: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRead {
    pub(super) session: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) length: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileWrite {
    pub(super) session: String,
    pub(super) path: String,
    pub(super) data: Bytes,
    #[serde(default)]
    pub(super) how: How,
}

/// What a written file does to one that is there.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum How {
    #[default]
    Replace,
    Create,
    Append,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileList {
    pub(super) session: String,
    pub(super) path: String,
}
