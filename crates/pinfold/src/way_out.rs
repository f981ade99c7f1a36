//! The proxy of a profile with host rules: it is started when the doors inside
//! are open, and stopped when nothing is left inside.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pinfold_egress::{
    Decider, Door, Egress, Loopback, Observer, Options, Program, ProxyAddress, Report, Resolution,
    Running, Upstream, proxy_variables,
};
use pinfold_policy::profile::Profile;
use pinfold_sys::OpenDoors;

use crate::denials::Names;
use crate::sandbox::NetworkOptions;
use crate::{Caller, Error};

/// A proxy at work, and the program that it asks.
#[derive(Debug)]
pub(crate) struct WayOut {
    proxy: Running,
    decider: Option<Child>,
}

impl WayOut {
    /// Starts the proxy behind the doors.
    pub(crate) fn open(
        (profile, caller, asked): (&Profile, &Caller, &NetworkOptions),
        observer: Option<Observer>,
        doors: OpenDoors,
    ) -> Result<WayOut, Error> {
        let variable = |name: &str| {
            caller.variable(name).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let resolution = match profile.network.upstream_resolves {
            true => Resolution::There,
            false => Resolution::Here,
        };
        let upstream = Upstream::from_environment(variable, resolution).map_err(|error| {
            failed(
                format!("cannot use the proxy of the environment: {error}"),
                "mend or unset HTTPS_PROXY, HTTP_PROXY and ALL_PROXY",
            )
        })?;
        let audit = asked.audit.as_deref().map(audit).transpose()?;
        let (decider, answers) = match &asked.decide {
            Some(decide) => (None, Some(decide.clone())),
            None => decider(&asked.decider)?.unzip(),
        };
        let run = std::process::id().to_string();
        let options =
            Options { upstream, audit, observer, decider: answers, run, ..Options::default() };
        let mut all = vec![match doors.secret {
            Some(secret) => Door::Led(doors.proxy, secret),
            None => Door::Proxy(doors.proxy),
        }];
        all.extend(doors.names.map(Door::Names));
        all.extend(doors.names_stream.map(Door::NamesStream));
        all.extend(doors.captured.into_iter().map(Door::Captured));
        let proxy = Egress::new(profile.network.clone(), options).start(all).map_err(|error| {
            failed(
                format!("cannot start the proxy: {error}"),
                "check \"ulimit -n\" and \"ulimit -u\"",
            )
        })?;
        Ok(WayOut { proxy, decider })
    }

    /// What addresses that the proxy made up stand for.
    pub(crate) fn names(&self) -> Names {
        Box::new(self.proxy.names())
    }

    /// Ends the proxy and the program that it asked.
    pub(crate) fn close(self) -> Report {
        let report = self.proxy.stop();
        if let Some(mut decider) = self.decider {
            let _ = decider.kill();
            let _ = decider.wait();
        }
        report
    }
}

/// The file that the audit is appended to.
fn audit(file: &Path) -> Result<Box<dyn Write + Send>, Error> {
    let opened = File::options().append(true).create(true).open(file);
    match opened {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(failed(
            format!("cannot open the audit {}: {error}", file.display()),
            "name a file that can be written",
        )),
    }
}

/// Starts the deciding program.
fn decider(words: &[OsString]) -> Result<Option<(Child, Decider)>, Error> {
    let [program, arguments @ ..] = words else { return Ok(None) };
    let started =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let cannot = |why: String| {
        failed(
            format!("cannot start the decider {}: {why}", program.display()),
            "name a program that reads questions and writes answers, one JSON object per line",
        )
    };
    let mut child = started.map_err(|error| cannot(error.to_string()))?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(questions), Some(answers)) => {
            let decider = Program::new(questions, BufReader::new(answers)).decider();
            Ok(Some((child, decider)))
        }
        _ => Err(cannot(String::from("no pipes"))),
    }
}

fn failed(message: String, hint: &str) -> Error {
    Error::Caller { message, hint: String::from(hint) }
}

/// Adds the variables that lead programs to the proxy on the loopback of a network
/// of their own, in place of the caller's.
pub(crate) fn add_own(environment: &mut Vec<Vec<u8>>, port: u16) {
    add_variables(environment, SocketAddr::from(([127, 0, 0, 1], port)), Loopback::Own);
}

/// The same for a proxy on the loopback of the host, where programs that look at no
/// variable get nowhere. Of these, git says with which command it calls ssh: `connect`
/// names a program that leads that to the proxy.
pub(crate) fn add_host(environment: &mut Vec<Vec<u8>>, door: SocketAddr, connect: Option<&Path>) {
    add_variables(environment, door, Loopback::Host);
    let is_set = |names: [&[u8]; 2]| {
        let name = |entry: &Vec<u8>| entry.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
        environment.iter().filter_map(name).any(|name| names.contains(&&name[..]))
    };
    // Two shells and ssh itself read it: what one of them might take for something else is left out.
    let plain =
        |path: &&str| path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c));
    let program = connect.and_then(Path::to_str).filter(plain);
    if let Some(program) = program.filter(|_| !is_set([b"GIT_SSH_COMMAND", b"GIT_SSH"])) {
        let command = format!("GIT_SSH_COMMAND=ssh -o ProxyCommand='{program} connect %h %p'");
        environment.push(command.into_bytes());
    }
}

/// The same where every TCP connection is led there: names are resolved that way, too,
/// `resolv.conf(5)`.
pub(crate) fn add_led(environment: &mut Vec<Vec<u8>>, door: SocketAddr) {
    const NAME: &[u8] = b"RES_OPTIONS=";
    add_variables(environment, door, Loopback::Host);
    match environment.iter_mut().find(|entry| entry.starts_with(NAME)) {
        Some(options) => options.extend(b" use-vc"),
        None => environment.push([NAME, b"use-vc"].concat()),
    }
}

fn add_variables(environment: &mut Vec<Vec<u8>>, address: SocketAddr, loopback: Loopback) {
    let inherited = |name: &str| {
        environment.iter().find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    };
    let proxy = ProxyAddress { address, token: None };
    let variables = proxy_variables(&proxy, loopback, inherited);
    environment.retain(|entry| {
        let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
        !variables.iter().any(|(set, _)| set.as_bytes() == name)
    });
    environment
        .extend(variables.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_calls_ssh_by_the_proxy_where_nothing_captures_it() {
        let door = SocketAddr::from(([127, 0, 0, 1], 3128));
        let ours = "GIT_SSH_COMMAND=ssh -o ProxyCommand='/opt/pinfold connect %h %p'";
        for (given, program, expected) in [
            (&[][..], Some("/opt/pinfold"), Some(ours)),
            (&[], None, None),
            (&[], Some("/opt/it's/pinfold"), None),
            (&[], Some("/opt/%h"), None),
            (&["GIT_SSH_COMMAND=mine"], Some("/opt/pinfold"), Some("GIT_SSH_COMMAND=mine")),
            (&["GIT_SSH=mine"], Some("/opt/pinfold"), None),
        ] {
            let mut environment: Vec<Vec<u8>> =
                given.iter().map(|entry| entry.as_bytes().to_vec()).collect();
            add_host(&mut environment, door, program.map(Path::new));
            let found = environment.iter().find(|entry| entry.starts_with(b"GIT_SSH_COMMAND="));
            assert_eq!(
                found.map(Vec::as_slice),
                expected.map(str::as_bytes),
                "{given:?} {program:?}"
            );
            assert!(environment.contains(&b"https_proxy=http://127.0.0.1:3128".to_vec()));
        }
    }
}
