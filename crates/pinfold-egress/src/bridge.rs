//! The way through the proxy for programs that take a command instead of a proxy,
//! such as `ssh -o ProxyCommand=…`.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use pinfold_policy::net::Host;

use crate::environment::ProxyAddress;
use crate::upstream::base64;

/// Longest answer of the proxy's that is read.
const LONGEST_ANSWER: usize = 16 * 1024;

/// Why there is no way through.
#[derive(Debug)]
pub enum BridgeError {
    /// The proxy cannot be reached, or breaks off.
    Proxy(io::Error),
    /// The proxy refuses; its own words.
    Refused(String),
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BridgeError::Proxy(error) => write!(f, "cannot use the sandbox proxy: {error}"),
            BridgeError::Refused(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for BridgeError {}

impl From<io::Error> for BridgeError {
    fn from(error: io::Error) -> BridgeError {
        BridgeError::Proxy(error)
    }
}

/// A connection to `host` and `port` through the proxy, ready for the first byte.
/// It blocks, and needs no runtime.
///
/// # Errors
/// When the proxy refuses, with the reason and the rule that would allow it.
pub fn bridge(proxy: &ProxyAddress, host: &Host, port: u16) -> Result<TcpStream, BridgeError> {
    let mut stream = TcpStream::connect(proxy.address)?;
    stream.set_nodelay(true)?;
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(token) = &proxy.token {
        let credentials = base64(format!("pinfold:{token}").as_bytes());
        request += &format!("Proxy-Authorization: Basic {credentials}\r\n");
    }
    stream.write_all((request + "\r\n").as_bytes())?;
    // Byte by byte: what follows the head belongs to the program.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_ANSWER {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.lines().next().unwrap_or_default().splitn(3, ' ').skip(1);
    match (words.next(), words.next()) {
        (Some("200"), _) => Ok(stream),
        (_, Some(reason)) => Err(BridgeError::Refused(reason.into())),
        _ => Err(BridgeError::Proxy(io::ErrorKind::InvalidData.into())),
    }
}
