//! What a filter is in the terms of the Windows Filtering Platform: at which layers, and what
//! has to be true there, besides that the account is the filter's. One filter of ours is one
//! of the platform's at each layer.

use super::digest::sha256;
use super::setup::{Action, Filter, Traffic};

/// Who made the filters: the key of our provider, as the 128 bits of its identifier.
pub const PROVIDER: u128 = 0x9f1c_46d2_60f4_4c0b_8f3e_70d5_1f0a_21c4;

/// Where they are: the key of our sublayer.
pub const SUBLAYER: u128 = 0x2f0e_7c55_6a0b_4b6e_a6ad_4f1e_cc02_9b73;

/// A place where the platform asks; their names there begin with `FWPM_LAYER_ALE_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// `AUTH_CONNECT_V4`: connecting, and the first packet to a place.
    Connect4,
    /// `AUTH_CONNECT_V6`.
    Connect6,
    /// `AUTH_RECV_ACCEPT_V4`: accepting, and the first packet from a place.
    Accept4,
    /// `AUTH_RECV_ACCEPT_V6`.
    Accept6,
    /// `AUTH_LISTEN_V4`: waiting for connections.
    Listen4,
    /// `AUTH_LISTEN_V6`.
    Listen6,
}

/// What has to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The number of the protocol.
    Protocol(u8),
    /// The address of the other end, as a number whose highest byte comes first.
    RemoteAddress(u32),
    /// The port of the other end.
    RemotePort(u16),
}

/// One filter of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its key. The port is not in it, so that another port takes the place of the old one.
    pub key: u128,
    /// Where it is.
    pub layer: Layer,
    /// What has to be true; all of it.
    pub conditions: Vec<Condition>,
    /// Its weight, from 0 to 15.
    pub weight: u8,
}

/// TCP.
const TCP: u8 = 6;

/// What a filter is made of.
pub fn parts(filter: &Filter) -> Vec<Part> {
    let (layers, conditions): (&[Layer], Vec<Condition>) = match filter.traffic {
        Traffic::Outbound => (&[Layer::Connect4, Layer::Connect6], Vec::new()),
        Traffic::Inbound => {
            (&[Layer::Accept4, Layer::Accept6, Layer::Listen4, Layer::Listen6], Vec::new())
        }
        Traffic::Loopback(port) => {
            let there = Condition::RemoteAddress(0x7f00_0001);
            (&[Layer::Connect4], vec![Condition::Protocol(TCP), there, Condition::RemotePort(port)])
        }
    };
    let (kind, weight) = match filter.action {
        Action::Permit => ("permit", 15),
        Action::Block => ("block", 8),
    };
    let part = |layer: &Layer| Part {
        key: key(&format!("{} {kind} {layer:?}", filter.user)),
        layer: *layer,
        conditions: conditions.clone(),
        weight,
    };
    layers.iter().map(part).collect()
}

/// A key that follows from a name.
fn key(name: &str) -> u128 {
    let [a, b, c, d, ..] = sha256(format!("pinfold filter 1\0{name}").as_bytes());
    u128::from(a) << 96 | u128::from(b) << 64 | u128::from(c) << 32 | u128::from(d)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::windows::setup::{Step, steps};
    use crate::plan::windows::{OFFLINE, PROXY};

    fn all(port: u16) -> Vec<(Filter, Part)> {
        let filters = steps(port, &[]).into_iter().filter_map(|step| match step {
            Step::Filter(filter) => Some(filter),
            _ => None,
        });
        filters
            .flat_map(|filter| parts(&filter).into_iter().map(move |part| (filter.clone(), part)))
            .collect()
    }

    #[test]
    fn every_way_out_and_in_is_closed_for_both_and_one_is_open() {
        let parts = all(4128);
        for user in [OFFLINE, PROXY] {
            let closed: BTreeSet<Layer> = parts
                .iter()
                .filter(|(filter, part)| {
                    filter.user == user
                        && filter.action == Action::Block
                        && part.conditions.is_empty()
                })
                .map(|(_, part)| part.layer)
                .collect();
            assert_eq!(closed.len(), 6, "{user}");
        }
        let open: Vec<_> =
            parts.iter().filter(|(filter, _)| filter.action == Action::Permit).collect();
        let [(filter, part)] = &open[..] else { panic!("{open:?}") };
        assert_eq!((filter.user, part.layer), (PROXY, Layer::Connect4));
        assert!(parts.iter().all(|(_, other)| other == part || other.weight < part.weight));
        assert_eq!(part.conditions.len(), 3, "{:?}", part.conditions);
    }

    #[test]
    fn keys_are_each_filters_own_whatever_the_port() {
        let keys = |port| all(port).into_iter().map(|(_, part)| part.key).collect::<Vec<u128>>();
        let distinct: BTreeSet<u128> = keys(1).into_iter().chain([PROVIDER, SUBLAYER]).collect();
        assert_eq!(distinct.len(), keys(1).len() + 2);
        assert_eq!(keys(1), keys(2));
    }
}
