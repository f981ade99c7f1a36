//! A UDP socket that knows which of its addresses a datagram was sent to. One
//! that listens on every address must answer from the one that was asked, or the
//! client does not take the answer.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Room for datagrams that the system hands over together.
const ROOM: usize = 64 * 1024;

/// The two ends of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    from: SocketAddr,
    to: Option<IpAddr>,
}

/// A socket for questions and answers.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    state: UdpSocketState,
    room: Vec<u8>,
}

impl Datagrams {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Datagrams> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        let socket = UdpSocket::from_std(socket)?;
        Ok(Datagrams { socket, state, room: vec![0; ROOM] })
    }

    /// The next datagrams, at least one, all from and to the same addresses.
    pub(crate) async fn receive(&mut self) -> io::Result<(Ends, Vec<Vec<u8>>)> {
        let Datagrams { socket, state, room } = self;
        let mut meta = [RecvMeta::default()];
        let receive = || {
            let mut rooms = [IoSliceMut::new(room)];
            state.recv((&*socket).into(), &mut rooms, &mut meta)
        };
        socket.async_io(Interest::READABLE, receive).await?;
        let [meta] = meta;
        let bytes = room.get(..meta.len).unwrap_or_default();
        let datagrams = bytes.chunks(meta.stride.max(1)).map(<[u8]>::to_vec).collect();
        Ok((Ends { from: meta.addr, to: meta.dst_ip }, datagrams))
    }

    /// Sends an answer back, from the address that was asked.
    pub(crate) async fn answer(&self, ends: Ends, contents: &[u8]) -> io::Result<()> {
        let answer = Transmit {
            destination: ends.from,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: ends.to,
        };
        let send = || self.state.try_send((&self.socket).into(), &answer);
        self.socket.async_io(Interest::WRITABLE, send).await
    }
}
