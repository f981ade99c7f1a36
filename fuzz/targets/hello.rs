//! The first bytes of a TLS client.
//!
//! What has been read decides, whatever comes after: a name is not another one, and
//! what is malformed does not become right, when more bytes arrive. Or the proxy would
//! let through what the origin reads otherwise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfold_egress::{ClientHello, HelloError, client_hello};

/// The handshake message in records that were accepted.
fn message(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        message.extend_from_slice(&rest[..length]);
        records = &rest[length..];
        if let [_, high, middle, low, ..] = message[..] {
            let length = 4 + u32::from_be_bytes([0, high, middle, low]) as usize;
            if message.len() >= length {
                message.truncate(length);
                break;
            }
        }
    }
    message
}

fuzz_target!(|bytes: &[u8]| {
    let whole = client_hello(bytes);
    let mut first: Option<Result<ClientHello, HelloError>> = None;
    // Every prefix of short input, else some.
    let step = (bytes.len() / 64).max(1);
    for length in (0..bytes.len()).step_by(step) {
        let read = client_hello(&bytes[..length]);
        match (&first, read) {
            (None, Err(HelloError::Incomplete)) => {}
            (None, decided) => first = Some(decided),
            (Some(first), again) => assert_eq!(*first, again, "at {length}"),
        }
    }
    if let Some(first) = first {
        assert_eq!(first, whole, "in the end");
    }
    if whole.is_ok() {
        // The same message in records of another length is the same.
        let message = message(bytes);
        for piece in [1, 2, 3, 7, 100, message.len()] {
            let records = message.chunks(piece.min(16_384)).flat_map(|piece| {
                let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                [&[22, 3, 1], &length[..], piece].concat()
            });
            assert_eq!(client_hello(&records.collect::<Vec<u8>>()), whole, "in pieces of {piece}");
        }
    }
    if let Ok(ClientHello { server_name: Some(name), .. }) = whole {
        let message = message(bytes);
        let mut places = message.windows(name.len());
        let given = places.any(|place| place.eq_ignore_ascii_case(name.as_bytes()));
        assert!(given, "{name:?} stands nowhere in the hello");
    }
});
