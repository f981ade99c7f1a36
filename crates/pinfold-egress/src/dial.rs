//! Connections to the first address that answers.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::outside::Outside;

/// Head start of one attempt over the next (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Attempts for one connection.
const MOST_ATTEMPTS: usize = 8;

/// Connects to one of these addresses, IPv6 and IPv4 in turn, the next attempt
/// starting when the one before fails or takes its time.
pub(crate) async fn dial(
    outside: &Arc<dyn Outside>,
    addresses: &[SocketAddr],
    time: Duration,
) -> io::Result<(TcpStream, SocketAddr)> {
    let attempts = race(outside, interleaved(addresses));
    match tokio::time::timeout(time, attempts).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn race(
    outside: &Arc<dyn Outside>,
    mut waiting: VecDeque<SocketAddr>,
) -> io::Result<(TcpStream, SocketAddr)> {
    let mut running = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.pop_front() {
            let attempt = outside.connect(address);
            running.spawn(async move { attempt.await.map(|stream| (stream, address)) });
        }
        let ended = if waiting.is_empty() {
            running.join_next().await
        } else {
            match tokio::time::timeout(STAGGER, running.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            // Attempts that are still running end with the set.
            Some(Ok(Ok(connected))) => return Ok(connected),
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None if waiting.is_empty() => return Err(last),
            None => {}
        }
    }
}

/// The families in turn, the first one found first.
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_six = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut these, mut those): (VecDeque<SocketAddr>, VecDeque<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first_is_six);
    let mut order = VecDeque::new();
    while order.len() < MOST_ATTEMPTS {
        let Some(next) = these.pop_front().or_else(|| those.pop_front()) else { break };
        order.push_back(next);
        std::mem::swap(&mut these, &mut those);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        for (addresses, expected) in [
            (&["[::1]:1", "[::2]:1", "1.1.1.1:1"][..], &["[::1]:1", "1.1.1.1:1", "[::2]:1"][..]),
            (&["1.1.1.1:1", "[::1]:1", "[::2]:1"], &["1.1.1.1:1", "[::1]:1", "[::2]:1"]),
            (&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
            (&[], &[]),
        ] {
            let parsed: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            let order: Vec<String> = interleaved(&parsed).iter().map(ToString::to_string).collect();
            assert_eq!(order, expected);
        }
    }
}
