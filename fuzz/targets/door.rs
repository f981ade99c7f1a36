//! The proxy's door: HTTP, CONNECT, SOCKS 5 and 4a, told apart by the first byte.
#![no_main]

mod scene;

use libfuzzer_sys::fuzz_target;
use pinfold_egress::Door;

fuzz_target!(|bytes: &[u8]| scene::connect(Door::Proxy, |_| bytes.to_vec()));
