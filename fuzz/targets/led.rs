//! Connections that say where they were meant to go: to the proxy itself, to a name server,
//! or to an address from the input.
#![no_main]

mod scene;

use libfuzzer_sys::fuzz_target;
use pinfold_egress::Door;
use pinfold_policy::net::{Introduction, Secret};

const SECRET: Secret = [7; 16];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    scene::connect(
        |listener| Door::Led(listener, SECRET),
        |door| match (first & 3, rest.split_first_chunk::<18>()) {
            (0, _) => introduced(door, rest),
            (1, _) => introduced(([192, 0, 2, 1], 53).into(), rest),
            (2, Some((address, rest))) => [&SECRET[..], address, rest].concat(),
            _ => rest.to_vec(),
        },
    );
});

fn introduced(destination: std::net::SocketAddr, words: &[u8]) -> Vec<u8> {
    [&Introduction { secret: SECRET, destination }.to_bytes()[..], words].concat()
}
