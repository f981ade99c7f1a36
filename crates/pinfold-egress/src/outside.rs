//! The network outside: where names are resolved and connections made.

use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
/// network. What a name was found to have holds for a second: programs that
/// fetch many things open many connections at once.
#[derive(Clone, Debug, Default)]
pub struct System {
    found: Arc<Mutex<Found>>,
}

/// The addresses of names, and since when they are known.
type Found = HashMap<String, (Instant, Vec<IpAddr>)>;

/// How long the addresses of a name hold.
const FRESH: Duration = Duration::from_secs(1);

/// Names whose addresses are kept.
const MOST_NAMES: usize = 256;

impl System {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, name: String, addresses: &[IpAddr]) {
        let mut found = self.found();
        if found.len() >= MOST_NAMES {
            found.retain(|_, (since, _)| since.elapsed() < FRESH);
        }
        if found.len() < MOST_NAMES {
            found.insert(name, (Instant::now(), addresses.to_vec()));
        }
    }
}

impl Outside for System {
    fn resolve(&self, name: &str) -> Pending<Vec<IpAddr>> {
        if let Some((since, addresses)) = self.found().get(name)
            && since.elapsed() < FRESH
        {
            let addresses = addresses.clone();
            return Box::pin(async { Ok(addresses) });
        }
        let (name, own) = (String::from(name), self.clone());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            own.keep(name, &addresses);
            Ok(addresses)
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
    fn what_was_found_is_kept_for_a_moment_and_within_bounds() {
        let system = System::default();
        for index in 0..2 * MOST_NAMES {
            system.keep(format!("host{index}.test"), &[IpAddr::from([11, 0, 0, 1])]);
        }
        assert_eq!(system.found().len(), MOST_NAMES);
        let old = Instant::now().checked_sub(FRESH).unwrap();
        system.found().values_mut().for_each(|(since, _)| *since = old);
        system.keep("new.test".into(), &[]);
        assert_eq!(system.found().keys().collect::<Vec<_>>(), ["new.test"]);
    }

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
