//! `pinfold connect`: a connection through the proxy of the sandbox, for programs that
//! take a command instead of a proxy, as ssh does with `ProxyCommand`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinfold::Caller;
use pinfold::policy::path::Quoted;
use pinfold_sys::name;

use crate::arguments::Parsed;
use crate::terminal::{Failure, failed, usage};

/// Where a program finds the proxy; the first that is there counts.
const VARIABLES: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];

/// The longest head of an answer, and the most of a refusal that is shown, in bytes.
const LARGEST: usize = 16 * 1024;

/// Connects standard input and output with a port of a host.
pub(crate) fn connect(parsed: &Parsed) -> Result<i32, Failure> {
    let [host, port] = &parsed.operands[..] else {
        return Err(usage(
            "connect needs a host and a port",
            "write \"pinfold connect HOST PORT\"",
        ));
    };
    let (host, port) = (name::bytes(host), name::bytes(port));
    let number = std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
    let Some(number) = number.filter(|number| *number > 0) else {
        let message = format!("{} is not a port", Quoted(port));
        return Err(usage(&message, "a port is a number from 1 to 65535"));
    };
    let Some(host) = std::str::from_utf8(host).ok().filter(|host| is_plain(host)) else {
        let message = format!("{} is not the name or address of a host", Quoted(host));
        return Err(usage(&message, "write a name, or an address without brackets"));
    };
    let proxy = Proxy::of(&Caller::of_this_process()?)?;
    let target =
        if host.contains(':') { format!("[{host}]:{number}") } else { format!("{host}:{number}") };
    let stream = proxy.tunnel(&target)?;
    pass(stream).map_err(|error| {
        let message = format!("the connection to {target} broke: {error}");
        failed(&message, "try again")
    })
}

/// Whether a host can be in the head of a request as it is.
fn is_plain(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    !host.is_empty() && host.bytes().all(plain)
}

/// An HTTP proxy.
struct Proxy {
    address: String,
    /// Name and password.
    credentials: Option<String>,
}

impl Proxy {
    fn of(caller: &Caller) -> Result<Proxy, Failure> {
        let value = VARIABLES.iter().find_map(|name| caller.variable(name));
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Err(failed(
                "there is no proxy: https_proxy is not set",
                "use it inside of a sandbox with host rules, as in \"pinfold run --net HOST:22 -- ssh HOST\"",
            ));
        };
        let proxy = std::str::from_utf8(value).ok().and_then(Proxy::parse);
        proxy.ok_or_else(|| {
            let message = format!("https_proxy is {}", Quoted(value));
            failed(&message, "it has to be http://ADDRESS:PORT")
        })
    }

    fn parse(url: &str) -> Option<Proxy> {
        let rest = url.strip_prefix("http://")?;
        let authority = rest.split('/').next()?;
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials.to_owned()), address),
            None => (None, authority),
        };
        let (_, port) = address.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        Some(Proxy { address: address.to_owned(), credentials })
    }

    /// A connection to `target` through the proxy.
    fn tunnel(&self, target: &str) -> Result<TcpStream, Failure> {
        let broken = |error: io::Error| {
            let message = format!("cannot reach the proxy at {}: {error}", self.address);
            failed(&message, "check https_proxy")
        };
        let mut stream = TcpStream::connect(&self.address).map_err(broken)?;
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(credentials) = &self.credentials {
            let encoded = STANDARD.encode(credentials);
            request += &format!("Proxy-Authorization: Basic {encoded}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).map_err(broken)?;
        let head = head(&mut stream).map_err(broken)?;
        if head.split(' ').nth(1) == Some("200") {
            return Ok(stream);
        }
        let mut why = Vec::new();
        let _ = stream.take(LARGEST as u64).read_to_end(&mut why);
        let status = head.lines().next().unwrap_or_default();
        let why = String::from_utf8_lossy(&why);
        Err(failed(
            &format!("the proxy does not connect to {target}: {status}"),
            if why.trim().is_empty() { "allow the host with --net" } else { why.trim() },
        ))
    }
}

/// The head of an answer. Not a byte more is read: what follows is the host's.
fn head(stream: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
        if head.len() > LARGEST {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Passes everything on in both directions until the host has closed.
fn pass(mut stream: TcpStream) -> io::Result<i32> {
    let mut outward = stream.try_clone()?;
    // It may wait for input that never comes, and ends with the process.
    thread::spawn(move || {
        let _ = copy(&mut io::stdin().lock(), &mut outward);
        let _ = outward.shutdown(Shutdown::Write);
    });
    match copy(&mut stream, &mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(0),
    }
}

/// Passes everything on at once: what waits for an answer is not kept back.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; LARGEST];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
