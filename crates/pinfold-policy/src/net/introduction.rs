//! How a connection that was led to the proxy says where it was meant to go.
//!
//! Without a network of its own a command is connected to the proxy by the
//! supervisor, whatever it asked for. The first bytes on such a connection are the
//! supervisor's: a secret, since anybody on the host can reach that port, and the
//! destination.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What only the supervisor and the proxy of a run know.
pub type Secret = [u8; 16];

/// The first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Shows who has connected.
    pub secret: Secret,
    /// Where the command wanted to.
    pub destination: SocketAddr,
}

impl Introduction {
    /// The length in bytes: the secret, an IPv6 address, and a port in network order.
    pub const LENGTH: usize = 16 + 16 + 2;

    /// As it is sent; an IPv4 address in its IPv6 form.
    pub fn to_bytes(&self) -> [u8; Introduction::LENGTH] {
        let address = match self.destination.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let port = self.destination.port().to_be_bytes();
        let mut bytes = [0; Introduction::LENGTH];
        let parts = self.secret.into_iter().chain(address.octets()).chain(port);
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        bytes
    }

    /// What was sent; IPv6 forms of IPv4 addresses are those.
    pub fn of(bytes: &[u8; Introduction::LENGTH]) -> Introduction {
        let (secret, rest) = bytes.split_at(16);
        let (address, port) = rest.split_at(16);
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).unwrap_or_default());
        let port = u16::from_be_bytes(<[u8; 2]>::try_from(port).unwrap_or_default());
        let destination = SocketAddr::new(address.to_canonical(), port);
        Introduction { secret: Secret::try_from(secret).unwrap_or_default(), destination }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_arrives() {
        for (given, expected) in [
            ("93.184.216.34:443", "93.184.216.34:443"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("[::1]:22", "[::1]:22"),
        ] {
            let destination = given.parse().unwrap();
            let secret = *b"sixteen bytes of";
            let read = Introduction::of(&Introduction { secret, destination }.to_bytes());
            assert_eq!((read.destination.to_string().as_str(), read.secret), (expected, secret));
        }
    }
}
