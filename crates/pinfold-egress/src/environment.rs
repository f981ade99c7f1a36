//! The variables that lead programs to the proxy.

use std::net::SocketAddr;

/// Where programs find the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyAddress {
    /// The address and port of the door.
    pub address: SocketAddr,
    /// What clients must present, where others can reach the door too.
    pub token: Option<String>,
}

/// Whose loopback a program inside reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// Its own: servers inside are reached directly.
    Own,
    /// The host's: everything goes through the proxy.
    Host,
}

impl ProxyAddress {
    fn url(&self, scheme: &str) -> String {
        match &self.token {
            Some(token) => format!("{scheme}://pinfold:{token}@{}", self.address),
            None => format!("{scheme}://{}", self.address),
        }
    }
}

/// Variables that take the URL of an HTTP proxy. Both spellings: curl ignores
/// `HTTP_PROXY`, wget and apt read only lower case.
const HTTP_VARIABLES: [&str; 27] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "WS_PROXY",
    "WSS_PROXY",
    "ws_proxy",
    "wss_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "grpc_proxy",
    "npm_config_proxy",
    "npm_config_https_proxy",
    "NPM_CONFIG_PROXY",
    "NPM_CONFIG_HTTPS_PROXY",
    "YARN_HTTP_PROXY",
    "YARN_HTTPS_PROXY",
    "BUNDLE_HTTP_PROXY",
    "BUNDLE_HTTPS_PROXY",
    "PIP_PROXY",
    "CARGO_HTTP_PROXY",
    "DOCKER_HTTP_PROXY",
    "DOCKER_HTTPS_PROXY",
    "GLOBAL_AGENT_HTTP_PROXY",
    "GLOBAL_AGENT_HTTPS_PROXY",
];

/// Variables that list what is reached directly.
const DIRECT_VARIABLES: [&str; 7] = [
    "NO_PROXY",
    "no_proxy",
    "npm_config_noproxy",
    "NPM_CONFIG_NOPROXY",
    "YARN_NO_PROXY",
    "BUNDLE_NO_PROXY",
    "GLOBAL_AGENT_NO_PROXY",
];

/// The variables that lead programs to the proxy, with their values, sorted by
/// name. `inherited` looks up the command's own variables: those that hold a list
/// of options are extended, not replaced.
///
/// Programs that look at none of them lose nothing but a clear refusal: the proxy
/// is the only way out, not a wish.
pub fn proxy_variables(
    proxy: &ProxyAddress,
    loopback: Loopback,
    inherited: impl Fn(&str) -> Option<String>,
) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.into(), value));
    for name in HTTP_VARIABLES {
        set(name, proxy.url("http"));
    }
    let direct = match loopback {
        Loopback::Own => "localhost,127.0.0.1,::1",
        Loopback::Host => "",
    };
    for name in DIRECT_VARIABLES {
        set(name, direct.into());
    }
    set("NODE_USE_ENV_PROXY", "1".into());
    set("ELECTRON_GET_USE_PROXY", "true".into());
    set("CLOUDSDK_PROXY_TYPE", "http".into());
    set("CLOUDSDK_PROXY_ADDRESS", proxy.address.ip().to_string());
    set("CLOUDSDK_PROXY_PORT", proxy.address.port().to_string());
    set("JAVA_TOOL_OPTIONS", java_options(proxy, loopback, inherited("JAVA_TOOL_OPTIONS")));
    variables.sort();
    variables
}

fn java_options(proxy: &ProxyAddress, loopback: Loopback, inherited: Option<String>) -> String {
    let (host, port) = (proxy.address.ip(), proxy.address.port());
    let mut options =
        inherited.filter(|text| !text.is_empty()).map_or(String::new(), |text| text + " ");
    for scheme in ["http", "https"] {
        options += &format!("-D{scheme}.proxyHost={host} -D{scheme}.proxyPort={port} ");
    }
    options += match loopback {
        Loopback::Own => "-Dhttp.nonProxyHosts=localhost|127.*|[::1]",
        Loopback::Host => "-Dhttp.nonProxyHosts=",
    };
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(variables: &[(String, String)], name: &str) -> Option<String> {
        variables.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn every_client_finds_the_proxy_under_its_own_spelling() {
        let address = "127.0.0.1:3128".parse().unwrap();
        let proxy = ProxyAddress { address, token: None };
        let inherited = |name: &str| (name == "JAVA_TOOL_OPTIONS").then(|| String::from("-Xmx1g"));
        let variables = proxy_variables(&proxy, Loopback::Own, inherited);
        for (name, expected) in [
            ("HTTP_PROXY", "http://127.0.0.1:3128"),
            ("https_proxy", "http://127.0.0.1:3128"),
            ("all_proxy", "http://127.0.0.1:3128"),
            ("no_proxy", "localhost,127.0.0.1,::1"),
            ("NODE_USE_ENV_PROXY", "1"),
            (
                "JAVA_TOOL_OPTIONS",
                "-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=3128 \
                 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128 \
                 -Dhttp.nonProxyHosts=localhost|127.*|[::1]",
            ),
        ] {
            assert_eq!(value(&variables, name).as_deref(), Some(expected), "{name}");
        }
        let mut names: Vec<&String> = variables.iter().map(|(name, _)| name).collect();
        names.dedup();
        assert_eq!(names.len(), variables.len(), "each once");
    }

    #[test]
    fn on_the_hosts_loopback_nothing_goes_past_the_proxy_and_the_token_is_in_the_url() {
        let address = "127.0.0.1:3128".parse().unwrap();
        let proxy = ProxyAddress { address, token: Some("secret".into()) };
        let variables = proxy_variables(&proxy, Loopback::Host, |_| None);
        for (name, expected) in [
            ("NO_PROXY", ""),
            ("HTTPS_PROXY", "http://pinfold:secret@127.0.0.1:3128"),
            ("ALL_PROXY", "http://pinfold:secret@127.0.0.1:3128"),
        ] {
            assert_eq!(value(&variables, name).as_deref(), Some(expected), "{name}");
        }
    }
}
