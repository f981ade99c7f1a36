//! What the profile says about one thing, and the smallest rule that would allow it.

use pinfold::policy::decide::{Operation, decide, host};
use pinfold::policy::denial::{Attempted, refusal};
use pinfold::policy::net::decide_host;
use pinfold::policy::path::{AbsPath, Quoted};
use pinfold::policy::profile::Profile;
use serde_json::{Value, json};

use super::Reply;
use crate::serve::denied;
use crate::serve::message::{Fault, WRONG_PARAMETERS};
use crate::serve::sessions::Room;
use crate::show::Thing;

/// What can be done with a path.
const OPERATIONS: [(&str, Attempted); 3] =
    [("read", Attempted::Read), ("write", Attempted::Write), ("remove", Attempted::Remove)];

/// The verdicts about a thing.
pub(super) fn explain(room: &Room, about: &str) -> Result<Reply, Fault> {
    let verdicts = room.with(|session| {
        let thing = Thing::named(&room.caller, about.as_bytes())?;
        Ok(verdicts(session.sandbox().profile(), &thing))
    })?;
    let verdicts = verdicts.map_err(|failure: crate::terminal::Failure| {
        let text = failure.text.strip_prefix("error: ").unwrap_or(&failure.text);
        match text.split_once("\nhint: ") {
            Some((message, hint)) => Fault::new(WRONG_PARAMETERS, message).hint(hint),
            None => Fault::new(WRONG_PARAMETERS, text),
        }
    })?;
    let mut text = String::from(about);
    for verdict in &verdicts {
        let field = |name: &str| verdict[name].as_str().unwrap_or_default();
        let word = if verdict["allowed"] == true { "allowed" } else { "denied" };
        text.push_str(&format!("\n{}: {word}: {}", field("operation"), field("rule")));
        if let Some(origin) = verdict["origin"].as_str() {
            text.push_str(&format!(" ({origin})"));
        }
        if let Some(option) = verdict["to_allow"].as_str() {
            text.push_str(&format!("; to allow, the user starts pinfold with {option}"));
        }
    }
    Ok(Reply { text, structured: json!({ "about": about, "verdicts": verdicts }) })
}

/// Everything that was refused so far.
pub(super) fn denials(room: &Room) -> Result<Reply, Fault> {
    let structured = room.denials(0, None)?;
    let list = structured["denials"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines: Vec<String> = list.iter().map(denied::line).collect();
    if lines.is_empty() {
        lines.push(String::from("nothing was refused"));
    }
    if let Some(omitted @ 1..) = structured["omitted"].as_u64() {
        lines.push(format!("and {omitted} more before these"));
    }
    if let Some(unheard) = structured["unheard"].as_str() {
        lines.push(format!("what else was refused is not known: {unheard}"));
    }
    Ok(Reply { text: lines.join("\n"), structured })
}

fn verdicts(profile: &Profile, thing: &Thing<'_>) -> Vec<Value> {
    match thing {
        Thing::Path(path) => {
            OPERATIONS.iter().map(|operation| of_path(profile, path, *operation)).collect()
        }
        Thing::Host(name, port) => {
            let verdict = host(profile, name, *port);
            let rule = decide_host(&profile.network, name, *port).remedy(name, *port);
            let option = rule.map(|rule| format!("--net {rule}"));
            vec![described("connect", &verdict, option)]
        }
        Thing::Variable(name) => {
            let verdict = decide(profile, Operation::Variable(name));
            let option = format!("--env {}", Quoted(name));
            let option = (!verdict.allowed).then_some(option);
            vec![described("see", &verdict, option)]
        }
    }
}

fn of_path(profile: &Profile, path: &AbsPath, (operation, attempted): (&str, Attempted)) -> Value {
    let exists = pinfold_sys::facts::exists(path);
    match refusal(profile, attempted, path, exists) {
        Some(refused) => {
            let option = refused.allow.map(|allow| allow.to_string());
            described(operation, &refused.verdict, option)
        }
        None => {
            let asked = match attempted {
                Attempted::Read => Operation::Read(path),
                Attempted::Remove => Operation::Remove(path),
                _ => Operation::Write(path),
            };
            described(operation, &decide(profile, asked), None)
        }
    }
}

fn described(
    operation: &str,
    verdict: &pinfold::policy::decide::Verdict,
    option: Option<String>,
) -> Value {
    json!({
        "operation": operation,
        "allowed": verdict.allowed,
        "rule": verdict.rule,
        "origin": verdict.origin.as_ref().map(ToString::to_string),
        "to_allow": option,
    })
}
