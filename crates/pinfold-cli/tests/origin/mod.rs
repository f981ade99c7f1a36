//! A server on the host's loopback, for tests of what is reached.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Counts what reaches it.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<AtomicU32>,
}

impl Server {
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicU32::new(0));
        let counter = seen.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                counter.fetch_add(1, SeqCst);
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n")
                    && stream.read(&mut byte).is_ok_and(|n| n == 1)
                {
                    request.push(byte[0]);
                }
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved",
                );
            }
        });
        Server { port, seen }
    }

    /// The connections since the last time.
    pub(crate) fn seen(&self) -> u32 {
        self.seen.swap(0, SeqCst)
    }

    pub(crate) fn rule(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
