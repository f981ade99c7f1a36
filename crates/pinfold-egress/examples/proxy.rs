//! A proxy on one port of this host, for measuring and for trying rules:
//! `proxy 3128 'example.com' '127.0.0.1:8000'`. It serves until it is killed.
// An example's only way to say what is wrong.
#![allow(clippy::print_stderr)]

use std::net::{Ipv4Addr, TcpListener};

use pinfold_egress::{Bounds, Door, Egress, Event, Options};
use pinfold_policy::net::parse_host_rule;
use pinfold_policy::origin::Origin;
use pinfold_policy::profile::{HostAction, HostRule, NetAccess, NetMode, NetPolicy};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("the port is missing")?.parse()?;
    let rule = |text: String| {
        let (host, ports) = parse_host_rule(&text)?;
        let origin = Origin::Flag(text.as_str().into());
        Ok(HostRule { text, host, ports, action: HostAction::Allow, origin })
    };
    let hosts: Result<Vec<HostRule>, Box<dyn std::error::Error>> = arguments.map(rule).collect();
    let policy = NetPolicy {
        access: NetAccess::Rules,
        origin: Origin::Flag("proxy".into()),
        mode: NetMode::Full,
        allow_local_binding: None,
        upstream_resolves: false,
        hosts: hosts?,
        unix_sockets: Vec::new(),
    };
    let door = Door::Proxy(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
    let observer = |event: &Event| {
        if let Event::Refused(refusal) = event {
            eprintln!("{}", refusal.line());
        }
    };
    let options = Options {
        observer: Some(std::sync::Arc::new(observer)),
        bounds: Bounds { connections: 4096, ..Bounds::default() },
        ..Options::default()
    };
    let running = Egress::new(policy, options).start(vec![door])?;
    loop {
        std::thread::park();
        eprintln!("{} requests let through", running.report().allowed);
    }
}
