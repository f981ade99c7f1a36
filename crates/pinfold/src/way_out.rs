//! The proxy of a profile with host rules: it is started when the doors inside
//! are open, and stopped when nothing is left inside.

use std::net::SocketAddr;

use pinfold_egress::{
    Door, Egress, Loopback, Options, ProxyAddress, Resolution, Running, Upstream, proxy_variables,
};
use pinfold_policy::plan::linux::PROXY_PORT;
use pinfold_policy::profile::Profile;
use pinfold_sys::OpenDoors;

use crate::{Caller, Error};

/// Starts the proxy behind the doors.
pub(crate) fn open(profile: &Profile, caller: &Caller, doors: OpenDoors) -> Result<Running, Error> {
    let variable =
        |name: &str| caller.variable(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let upstream =
        Upstream::from_environment(variable, Resolution::Here).map_err(|error| Error::Caller {
            message: format!("cannot use the proxy of the environment: {error}"),
            hint: String::from("mend or unset HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"),
        })?;
    let options = Options { upstream, ..Options::default() };
    let mut all = vec![
        Door::Proxy(doors.proxy),
        Door::Names(doors.names),
        Door::NamesStream(doors.names_stream),
    ];
    all.extend(doors.captured.into_iter().map(Door::Captured));
    Egress::new(profile.network.clone(), options).start(all).map_err(|error| Error::Caller {
        message: format!("cannot start the proxy: {error}"),
        hint: String::from("check \"ulimit -n\" and \"ulimit -u\""),
    })
}

/// Adds the variables that lead programs to the proxy, in place of the caller's.
pub(crate) fn add_variables(environment: &mut Vec<Vec<u8>>) {
    let address = SocketAddr::from(([127, 0, 0, 1], PROXY_PORT));
    let inherited = |name: &str| {
        environment.iter().find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    };
    let proxy = ProxyAddress { address, token: None };
    let variables = proxy_variables(&proxy, Loopback::Own, inherited);
    environment.retain(|entry| {
        let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
        !variables.iter().any(|(set, _)| set.as_bytes() == name)
    });
    environment
        .extend(variables.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()));
}
