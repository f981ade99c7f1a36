//! Lines of the session protocol, as far as they can be read without a server.
//!
//! What is read as a request is one object with the members of one; data comes out as it
//! went in; an error becomes an object with a number and a text.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../crates/pinfold-cli/src/serve/message.rs"]
mod message;

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn fits<T: DeserializeOwned>(parameters: &Value) -> bool {
    message::parameters::<T>(parameters.clone()).is_ok()
}

fuzz_target!(|line: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(line) else { return };
    if let Ok(bytes) = serde_json::from_value::<message::Bytes>(value.clone()) {
        assert_eq!(serde_json::to_value(&bytes).ok(), Some(value.clone()));
    }
    let Some(request) = line_of(line) else { return };
    let object = value.as_object().expect("a request is an object");
    assert!(object.keys().all(|key| ["jsonrpc", "id", "method", "params"].contains(&key.as_str())));
    let parameters = request.params.unwrap_or_default();
    let read = [
        fits::<message::Initialize>(&parameters),
        fits::<message::SessionStart>(&parameters),
        fits::<message::ProcessStart>(&parameters),
        fits::<message::Write>(&parameters),
        fits::<message::Resize>(&parameters),
        fits::<message::Signal>(&parameters),
        fits::<message::Terminate>(&parameters),
        fits::<message::Read>(&parameters),
        fits::<message::FileRead>(&parameters),
        fits::<message::FileWrite>(&parameters),
    ];
    assert!(read.iter().all(|fits| !fits) || parameters.is_object());
    let fault = message::Fault::new(message::WRONG_PARAMETERS, request.method).value();
    assert!(fault["code"].is_i64() && fault["message"].is_string());
});

fn line_of(line: &[u8]) -> Option<message::Request> {
    message::parameters(serde_json::from_slice(line).ok()?).ok()
}
