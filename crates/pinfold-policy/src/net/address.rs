//! What kind of address an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
///
/// Everything but [`AddressClass::Public`] is dialled only if a rule names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// Somewhere on the Internet.
    Public,
    /// No address: `0.0.0.0/8` and `::`, which systems take for themselves.
    Unspecified,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918, unique local IPv6).
    Private,
    /// Carrier-grade translation, `100.64.0.0/10`.
    Shared,
    /// This link only.
    LinkLocal,
    /// A cloud's metadata service, which hands out credentials. Only a rule for
    /// exactly this address opens it.
    Metadata,
    /// Many receivers.
    Multicast,
    /// Documentation and benchmarks.
    Documentation,
    /// Anything else that is set aside, old tunnels between IPv4 and IPv6
    /// included.
    Reserved,
}

impl AddressClass {
    /// The class in words, to follow "is" in a message.
    pub fn in_words(self) -> &'static str {
        match self {
            AddressClass::Public => "a public address",
            AddressClass::Unspecified => "the unspecified address",
            AddressClass::Loopback => "a loopback address",
            AddressClass::Private => "a private address",
            AddressClass::Shared => "a carrier's internal address",
            AddressClass::LinkLocal => "a link-local address",
            AddressClass::Metadata => "a cloud metadata address",
            AddressClass::Multicast => "a multicast address",
            AddressClass::Documentation => "an address for documentation or tests",
            AddressClass::Reserved => "a reserved address",
        }
    }
}

/// Addresses at which clouds serve credentials.
const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

type Block<A> = (A, u8, AddressClass);

const fn four(a: u8, b: u8, c: u8, prefix: u8, class: AddressClass) -> Block<Ipv4Addr> {
    (Ipv4Addr::new(a, b, c, 0), prefix, class)
}

const fn six(a: u16, b: u16, prefix: u8, class: AddressClass) -> Block<Ipv6Addr> {
    (Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix, class)
}

/// The blocks of IPv4 that are not public (IANA's special-purpose registry).
const SPECIAL_FOUR: [Block<Ipv4Addr>; 15] = [
    four(0, 0, 0, 8, AddressClass::Unspecified),
    four(10, 0, 0, 8, AddressClass::Private),
    four(100, 64, 0, 10, AddressClass::Shared),
    four(127, 0, 0, 8, AddressClass::Loopback),
    four(169, 254, 0, 16, AddressClass::LinkLocal),
    four(172, 16, 0, 12, AddressClass::Private),
    four(192, 0, 0, 24, AddressClass::Reserved),
    four(192, 0, 2, 24, AddressClass::Documentation),
    four(192, 88, 99, 24, AddressClass::Reserved),
    four(192, 168, 0, 16, AddressClass::Private),
    four(198, 18, 0, 15, AddressClass::Documentation),
    four(198, 51, 100, 24, AddressClass::Documentation),
    four(203, 0, 113, 24, AddressClass::Documentation),
    four(224, 0, 0, 4, AddressClass::Multicast),
    four(240, 0, 0, 4, AddressClass::Reserved),
];

/// The blocks of IPv6 that have a class of their own. What is neither here nor
/// in `2000::/3` is reserved.
const SPECIAL_SIX: [Block<Ipv6Addr>; 7] = [
    six(0xfc00, 0, 7, AddressClass::Private),
    six(0xfe80, 0, 10, AddressClass::LinkLocal),
    six(0xfec0, 0, 10, AddressClass::Private),
    six(0xff00, 0, 8, AddressClass::Multicast),
    six(0x2001, 0, 23, AddressClass::Reserved),
    six(0x2001, 0xdb8, 32, AddressClass::Documentation),
    six(0x3fff, 0, 20, AddressClass::Documentation),
];

/// An IPv4 address that is written in IPv6 form, in its own form. That is how
/// every address is compared with rules.
pub fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// What kind of address this is. An IPv6 address that stands for an IPv4 one
/// (mapped, NAT64, 6to4) is of that one's kind.
pub fn classify(address: IpAddr) -> AddressClass {
    let address = unmapped(address);
    if METADATA.contains(&address) {
        return AddressClass::Metadata;
    }
    match address {
        IpAddr::V4(address) => classify_four(address),
        IpAddr::V6(address) => classify_six(address),
    }
}

fn classify_four(address: Ipv4Addr) -> AddressClass {
    let bits = u32::from(address);
    let within = |(first, prefix, _): &&Block<Ipv4Addr>| {
        (bits ^ u32::from(*first)) >> (32 - u32::from(*prefix)) == 0
    };
    SPECIAL_FOUR.iter().find(within).map_or(AddressClass::Public, |(_, _, class)| *class)
}

fn classify_six(address: Ipv6Addr) -> AddressClass {
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    match address.segments() {
        // NAT64 and 6to4: the packet ends at the IPv4 address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let inner = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
            return classify(IpAddr::V4(inner));
        }
        _ => {}
    }
    let bits = u128::from(address);
    let within = |(first, prefix, _): &&Block<Ipv6Addr>| {
        (bits ^ u128::from(*first)) >> (128 - u32::from(*prefix)) == 0
    };
    match SPECIAL_SIX.iter().find(within) {
        Some((_, _, class)) => *class,
        None if bits >> 125 == 1 => AddressClass::Public,
        None => AddressClass::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::AddressClass::*;
    use super::*;

    #[test]
    fn every_address_has_a_class() {
        for (text, class) in [
            ("93.184.216.34", Public),
            ("8.8.8.8", Public),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("128.0.0.0", Public),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("192.168.1.1", Private),
            ("100.64.0.1", Shared),
            ("100.128.0.1", Public),
            ("169.254.1.1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("169.254.170.2", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("192.0.0.1", Reserved),
            ("192.88.99.1", Reserved),
            ("198.18.0.1", Documentation),
            ("198.19.255.255", Documentation),
            ("203.0.113.9", Documentation),
            ("224.0.0.1", Multicast),
            ("255.255.255.255", Reserved),
            ("::", Unspecified),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:8.8.8.8", Public),
            ("::127.0.0.1", Reserved),
            ("::ffff:0:127.0.0.1", Reserved),
            ("64:ff9b::7f00:1", Loopback),
            ("64:ff9b::808:808", Public),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("64:ff9b:1::7f00:1", Reserved),
            ("2002:7f00:1::", Loopback),
            ("2002:a00:1::1", Private),
            ("2001::1", Reserved),
            ("2001:db8::1", Documentation),
            ("2606:4700::1111", Public),
            ("3fff:1000::", Public),
            ("3fff::1", Documentation),
            ("fc00::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("fe80::1", LinkLocal),
            ("fec0::1", Private),
            ("ff02::1", Multicast),
            ("100::1", Reserved),
            ("4000::1", Reserved),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(classify(address), class, "{text}");
        }
    }
}
