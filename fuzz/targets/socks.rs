//! SOCKS at the proxy's door: the first bit says which version, and of 5 the greeting is
//! made up, so that most inputs are requests.
#![no_main]

mod scene;

use libfuzzer_sys::fuzz_target;
use pinfold_egress::Door;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let begin: &[u8] = match first & 3 {
        0 => &[4],
        1 => &[5],
        2 => &[5, 1, 0, 5, 1, 0, 3, 7, b'o', b'k', b'.', b't', b'e', b's', b't'],
        _ => &[5, 1, 0, 5],
    };
    scene::connect(Door::Proxy, |_| [begin, rest].concat());
});
