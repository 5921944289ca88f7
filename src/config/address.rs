//! `host:port` of a server.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A host (name or IP) and a port, as a server's address gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// In lower case, without brackets.
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, `1.2.3.4:port` or `[::1]:port`. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("://") {
            return Err("is a URL");
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err("needs [brackets] around an IPv6 address, and a port");
        }
        let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
        let port = match port.parse::<u16>() {
            Ok(0) | Err(_) => return Err("has no port from 1 to 65535"),
            Ok(port) => port,
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => {
                inner
                    .parse::<Ipv6Addr>()
                    .map_err(|_not_ipv6| "has no IPv6 address in its brackets")?;
                inner
            }
            None => host,
        };
        if host.is_empty() {
            return Err("has no host");
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.len() > 253 || (!host.contains(':') && !host.chars().all(allowed)) {
            return Err("has a host that is neither a name nor an IP address");
        }
        if host.contains(':') && host.parse::<Ipv6Addr>().is_err() {
            return Err("has more than one port");
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// The other end is this machine, and nobody can listen in between.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Both lead to the same socket, as far as text can tell.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_host = match (self.host.parse::<IpAddr>(), other.host.parse::<IpAddr>()) {
            (Ok(one), Ok(two)) => one == two,
            _ => self.host == other.host,
        };
        same_host && self.port == other.port
    }

    /// Whoever connects to this address reaches what listens at `listen`.
    pub(super) fn leads_to(&self, listen: SocketAddr) -> bool {
        if self.port != listen.port() {
            return false;
        }
        let host = self.host.parse::<IpAddr>().ok();
        host == Some(listen.ip())
            || (self.is_loopback() && (listen.ip().is_unspecified() || listen.ip().is_loopback()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("127.0.0.1:3306", Some(("127.0.0.1", 3306))),
            ("DB-1.example.com:13301", Some(("db-1.example.com", 13301))),
            ("my_host:1", Some(("my_host", 1))),
            ("[::1]:3306", Some(("::1", 3306))),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:0", None),
            ("localhost:65536", None),
            ("localhost:-1", None),
            (":3306", None),
            ("", None),
            ("::1", None),
            ("a:1:2", None),
            ("[zz]:1", None),
            ("[::1]", None),
            ("a b:1", None),
            ("mysql://a:1", None),
        ] {
            let parsed = Address::parse(text).ok();
            let found = parsed.as_ref().map(|address| (address.host.as_str(), address.port));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn loopback_and_self() {
        let address = |text: &str| Address::parse(text).unwrap();
        assert!(address("127.1.2.3:1").is_loopback());
        assert!(address("[::1]:1").is_loopback());
        assert!(address("LOCALHOST:1").is_loopback());
        assert!(!address("10.0.0.1:1").is_loopback());
        for (server, listen, leads) in [
            ("127.0.0.1:6033", "127.0.0.1:6033", true),
            ("localhost:6033", "0.0.0.0:6033", true),
            ("10.0.0.1:6033", "10.0.0.1:6033", true),
            ("10.0.0.1:6033", "127.0.0.1:6033", false),
            ("127.0.0.1:6034", "127.0.0.1:6033", false),
        ] {
            assert_eq!(address(server).leads_to(listen.parse().unwrap()), leads, "{server}");
        }
        assert!(address("[0::1]:1").is_same(&address("[::1]:1")));
        assert!(!address("a:1").is_same(&address("a:2")));
    }
}
