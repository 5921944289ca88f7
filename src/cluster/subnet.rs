//! The addresses of a cluster's network: a fixed one for each node, so that a restart never gives a
//! node the address of another. Pure.

use std::net::Ipv4Addr;

/// Node n has the subnet's base address + this + n; below it are the gateway and room for helpers.
const FIRST_NODE_OFFSET: u32 = 10;
/// A subnet must hold the fixed nodes in its lower half.
const MAX_PREFIX_BITS: u8 = 25;

/// An IPv4 network, as the engine writes it: "172.18.0.0/16".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
    prefix_bits: u8,
}

impl Subnet {
    /// `None` when it is not a network of IPv4 with at least 128 addresses.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let prefix_bits: u8 = bits.parse().ok()?;
        if !(1..=MAX_PREFIX_BITS).contains(&prefix_bits) {
            return None;
        }
        let base = u32::from(address.parse::<Ipv4Addr>().ok()?) & mask(prefix_bits);
        Some(Self { base, prefix_bits })
    }

    /// The first address, which the engine's bridge has on the host.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base.saturating_add(1))
    }

    /// The fixed address of node `number` (1, 2, ..).
    pub(super) fn node(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base.saturating_add(FIRST_NODE_OFFSET).saturating_add(number))
    }

    /// The upper half, "172.18.128.0/17": where the engine takes addresses for other containers.
    pub(super) fn dynamic_range(self) -> String {
        let half = self.prefix_bits.saturating_add(1);
        let step = 1_u32.checked_shl(u32::from(32_u8.saturating_sub(half))).unwrap_or(0);
        format!("{}/{half}", Ipv4Addr::from(self.base.saturating_add(step)))
    }

    /// "172.18.0.0/255.255.0.0": the host part of an account that may come from this network alone
    /// (<https://dev.mysql.com/doc/refman/8.4/en/account-names.html>).
    pub(super) fn account_host(self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.base), Ipv4Addr::from(mask(self.prefix_bits)))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix_bits)
    }
}

fn mask(prefix_bits: u8) -> u32 {
    u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(prefix_bits))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_usual_network() {
        let subnet = Subnet::parse("172.18.0.0/16").unwrap();
        assert_eq!(subnet.to_string(), "172.18.0.0/16");
        assert_eq!(subnet.gateway().to_string(), "172.18.0.1");
        assert_eq!(subnet.node(1).to_string(), "172.18.0.11");
        assert_eq!(subnet.node(17).to_string(), "172.18.0.27");
        assert_eq!(subnet.dynamic_range(), "172.18.128.0/17");
        assert_eq!(subnet.account_host(), "172.18.0.0/255.255.0.0");
    }

    #[test]
    fn a_small_network() {
        let subnet = Subnet::parse("192.168.5.128/25").unwrap();
        assert_eq!(subnet.node(17).to_string(), "192.168.5.155");
        assert_eq!(subnet.dynamic_range(), "192.168.5.192/26");
        assert_eq!(subnet.account_host(), "192.168.5.128/255.255.255.128");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/26", "fd00::/64", "a.b.c.d/16", "1.2.3.4/0"]
        {
            assert_eq!(Subnet::parse(text), None, "{text}");
        }
    }
}
