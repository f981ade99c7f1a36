//! The network outside: where names are resolved and connections made.

use std::future::Future;
use std::io;
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
}
