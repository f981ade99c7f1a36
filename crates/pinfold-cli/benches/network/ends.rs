//! Both ends of a connection: the origin with its name server, and its clients.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use crate::{ADDRESS, LED, LISTENED};

/// What a connection to the origin begins with; no protocol that anybody would look into.
const ECHO: u8 = 1;
const SEND: u8 = 2;
const TAKE: u8 = 3;

const MIB: usize = 1 << 20;

/// Answers at both ports, and to every question for a name.
pub(crate) fn origin() {
    let names = UdpSocket::bind((ADDRESS, 53)).unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = names.recv_from(&mut question) {
            let end = 12 + question[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_ipv4 = question[end - 4..end] == [0, 1, 0, 1];
            let mut answer = question[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
            answer.extend(&question[12..end]);
            if is_ipv4 {
                answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(ADDRESS.parse::<Ipv4Addr>().unwrap().octets());
            }
            let _ = names.send_to(&answer, from);
        }
    });
    for port in [LISTENED, LED] {
        let listener = TcpListener::bind((ADDRESS, port)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let small = std::thread::Builder::new().stack_size(64 << 10);
                small.spawn(move || serve(stream)).unwrap();
            }
        });
    }
}

fn serve(mut stream: TcpStream) {
    let mut first = [0];
    if stream.read_exact(&mut first).is_err() {
        return;
    }
    let _ = match first[0] {
        ECHO => stream.write_all(&first).map(|()| 0),
        SEND => {
            let mut length = [0; 8];
            stream.read_exact(&mut length).unwrap();
            let block = vec![0; 256 << 10];
            let mut left = usize::try_from(u64::from_be_bytes(length)).unwrap();
            while left > 0 {
                let part = left.min(block.len());
                if stream.write_all(&block[..part]).is_err() {
                    return;
                }
                left -= part;
            }
            Ok(0)
        }
        _ => {
            let taken = std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default();
            stream.write_all(&taken.to_be_bytes()).map(|()| 0)
        }
    };
}

/// How a client gets to the origin.
pub(crate) enum Way {
    /// To an address.
    Direct(String),
    /// By a name, as a program does that knows of no proxy.
    Name(String),
    /// By the proxy at the first with `CONNECT` for the second.
    Connect(String, String),
    /// The same with SOCKS 5, by name.
    Socks(String, String),
}

impl Way {
    pub(crate) fn parse(text: &str) -> Way {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["direct", to] => Way::Direct(to.into()),
            ["name", to] => Way::Name(to.into()),
            ["connect", proxy, to] => Way::Connect(proxy.into(), to.into()),
            ["socks", proxy, to] => Way::Socks(proxy.into(), to.into()),
            _ => panic!("no way: {text}"),
        }
    }

    /// A connection; what a proxy says instead of one.
    fn open(&self) -> Result<TcpStream, String> {
        let open = |to: &str| TcpStream::connect(to).unwrap();
        match self {
            Way::Direct(to) | Way::Name(to) => Ok(open(to)),
            Way::Connect(proxy, to) => {
                let mut stream = open(proxy);
                stream
                    .write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
                    .unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                if head.split(' ').nth(1) == Some("200") { Ok(stream) } else { Err(head) }
            }
            Way::Socks(proxy, to) => {
                let mut stream = open(proxy);
                let (host, port) = to.split_once(':').unwrap();
                stream.write_all(&[5, 1, 0]).unwrap();
                stream.read_exact(&mut [0; 2]).unwrap();
                let mut request = vec![5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
                request.extend(host.bytes());
                request.extend(port.parse::<u16>().unwrap().to_be_bytes());
                stream.write_all(&request).unwrap();
                stream.read_exact(&mut [0; 10]).unwrap();
                Ok(stream)
            }
        }
    }
}

/// Does something so many times, or with so many MiB; says what it took, and waits to be
/// dismissed.
pub(crate) fn client(role: &str, way: &Way, count: usize) {
    let began = Instant::now();
    match role {
        "connections" => {
            for _ in 0..count {
                let began = Instant::now();
                let mut stream = way.open().unwrap();
                stream.write_all(&[ECHO]).unwrap();
                stream.read_exact(&mut [0]).unwrap();
                println!("{}", began.elapsed().as_micros());
            }
        }
        "refusals" => {
            for _ in 0..count {
                let began = Instant::now();
                assert!(way.open().unwrap_err().starts_with("HTTP/1.1 403"));
                println!("{}", began.elapsed().as_micros());
            }
        }
        "down" => {
            let mut stream = way.open().unwrap();
            let bytes = u64::try_from(count * MIB).unwrap();
            stream.write_all(&[&[SEND][..], &bytes.to_be_bytes()].concat()).unwrap();
            let mut block = vec![0; 256 << 10];
            let mut taken = 0;
            while taken < bytes {
                let length = stream.read(&mut block).unwrap();
                assert!(length > 0, "lost after {taken} bytes");
                taken += length as u64;
            }
            println!("{}", began.elapsed().as_micros());
        }
        "up" => {
            let mut stream = way.open().unwrap();
            stream.write_all(&[TAKE]).unwrap();
            let block = vec![0; MIB];
            for _ in 0..count {
                stream.write_all(&block).unwrap();
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut taken = [0; 8];
            stream.read_exact(&mut taken).unwrap();
            assert_eq!(u64::from_be_bytes(taken), (count * MIB) as u64);
            println!("{}", began.elapsed().as_micros());
        }
        _ => {
            let open: Vec<TcpStream> = (0..count).map(|_| way.open().unwrap()).collect();
            println!("{}", open.len());
            return wait_until_dismissed();
        }
    }
    wait_until_dismissed();
}

fn wait_until_dismissed() {
    println!();
    let _ = std::io::stdin().read(&mut [0]);
}
