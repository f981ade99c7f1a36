//! The network outside: where names are resolved and connections made.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use tokio::net::TcpStream;

/// Something that is on its way.
pub type Pending<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// A resolver and a dialler. What is dialled has been resolved and checked
/// before; implementations need not check anything.
pub trait Outside: Send + Sync + 'static {
    /// Every address of a name.
    fn resolve(&self, name: &str) -> Pending<Vec<IpAddr>>;

    /// A connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> Pending<TcpStream>;

    /// Names that programs find for themselves and connect to by address, as they
    /// do with those of a hosts file. By default there are none.
    fn names(&self, _address: IpAddr) -> Vec<String> {
        Vec::new()
    }
}

/// This host's own resolver (hosts file, VPN and local names included) and
/// network.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Outside for System {
    fn resolve(&self, name: &str) -> Pending<Vec<IpAddr>> {
        let name = String::from(name);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    fn connect(&self, address: SocketAddr) -> Pending<TcpStream> {
        Box::pin(TcpStream::connect(address))
    }

    fn names(&self, address: IpAddr) -> Vec<String> {
        let mut text = Vec::new();
        let read = File::open(HOSTS).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
        if read.is_err() {
            return Vec::new();
        }
        names_in(&String::from_utf8_lossy(&text), address)
    }
}

/// `hosts(5)`. Programs ask elsewhere only about names that are not in it.
const HOSTS: &str = "/etc/hosts";

/// Bytes of the hosts file that are read.
const LONGEST: u64 = 1 << 20;

/// The names of an address in the text of a hosts file.
fn names_in(hosts: &str, address: IpAddr) -> Vec<String> {
    let entries = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let of_address = entries.filter_map(|entry| {
        let mut words = entry.split_whitespace();
        (words.next()?.parse() == Ok(address)).then_some(words)
    });
    of_address.flatten().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_names_addresses() {
        let hosts = "127.0.0.1 localhost\n# 11.0.0.1 no\n11.0.0.1\tone  two # three\n\
                     2001:DB8:0::1 six\n11.0.0.1 four\n11.0.0.1\nnonsense one\n11.0.0.10 ten";
        for (address, expected) in [
            ("11.0.0.1", &["one", "two", "four"][..]),
            ("2001:db8::1", &["six"]),
            ("11.0.0.2", &[]),
        ] {
            assert_eq!(names_in(hosts, address.parse().unwrap()), expected, "{address}");
        }
    }
}
