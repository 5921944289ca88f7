//! The server's first packet, protocol version 10.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>
//! and for MariaDB <https://mariadb.com/kb/en/connection/#initial-handshake-packet>.

use crate::wire::{Capabilities, ErrPacket, PutExt, Reader, StatusFlags, WireError};

/// Bytes of random salt in a greeting.
pub const SALT_LEN: usize = 20;
/// Salt bytes that stand in the first of the two places.
const SALT_PART_1: usize = 8;
const PROTOCOL_VERSION: u8 = 10;

/// What a server says of itself when a client connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// "9.7.4", "11.8.3-MariaDB".
    pub version: Vec<u8>,
    pub connection_id: u32,
    pub salt: [u8; SALT_LEN],
    pub capabilities: Capabilities,
    /// MariaDB's capabilities above bit 31; 0 from MySQL.
    pub extended: u32,
    /// Low byte of the server's default collation.
    pub collation: u8,
    pub status: StatusFlags,
    /// The authentication plugin that the salt is for; empty without PLUGIN_AUTH.
    pub plugin: Vec<u8>,
}

/// Why there is no greeting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// The server sent an error instead: 1040 too many connections, 1130 host not allowed, ..
    #[error("{0}")]
    Refused(ErrPacket),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Greeting {
    /// Whether the server is a MariaDB: it leaves LONG_PASSWORD out, which every MySQL sets.
    #[must_use]
    pub const fn is_mariadb(&self) -> bool {
        !self.capabilities.has(Capabilities::LONG_PASSWORD)
    }

    /// Reads the payload of a server's first packet.
    ///
    /// # Errors
    /// [`GreetingError::Refused`] when it is an ERR packet.
    pub fn decode(payload: &[u8]) -> Result<Self, GreetingError> {
        if ErrPacket::is(payload) {
            return Err(GreetingError::Refused(ErrPacket::decode(payload)?));
        }
        let mut r = Reader::new(payload);
        let protocol = r.u8("protocol version")?;
        if protocol != PROTOCOL_VERSION {
            let value = u64::from(protocol);
            return Err(WireError::Invalid { what: "protocol version", value }.into());
        }
        let version = r.null_str("server version")?.to_vec();
        let connection_id = r.u32("connection id")?;
        let part_1: [u8; SALT_PART_1] = r.array("salt")?;
        r.u8("filler")?;
        let low = u32::from(r.u16("capabilities")?);
        let collation = r.u8("collation")?;
        let status = StatusFlags(r.u16("status flags")?);
        let capabilities = Capabilities(low | u32::from(r.u16("capabilities")?) << 16);
        let salt_len = usize::from(r.u8("salt length")?);
        r.take(6, "filler")?;
        let last_filler = r.u32("filler")?;
        let extended = if capabilities.has(Capabilities::LONG_PASSWORD) { 0 } else { last_filler };
        let part_2: [u8; SALT_LEN - SALT_PART_1] = r.array("salt")?;
        // The length counts the NUL after the salt; servers of old give 0 and yet send the NUL.
        let nul = salt_len.saturating_sub(SALT_LEN).max(1);
        r.take(nul.min(r.remaining().len()), "salt")?;
        let plugin = if capabilities.has(Capabilities::PLUGIN_AUTH) {
            r.null_str_or_rest().to_vec()
        } else {
            Vec::new()
        };

        let mut salt = [0; SALT_LEN];
        for (to, from) in salt.iter_mut().zip(part_1.iter().chain(&part_2)) {
            *to = *from;
        }
        Ok(Self { version, connection_id, salt, capabilities, extended, collation, status, plugin })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let [low_a, low_b, high_a, high_b] = self.capabilities.0.to_le_bytes();
        let (part_1, part_2) = self.salt.split_at(SALT_PART_1);
        let plugin_auth = self.capabilities.has(Capabilities::PLUGIN_AUTH);
        out.put_u8(PROTOCOL_VERSION);
        out.put_null_str(&self.version);
        out.put_u32(self.connection_id);
        out.extend_from_slice(part_1);
        out.put_u8(0);
        out.extend_from_slice(&[low_a, low_b]);
        out.put_u8(self.collation);
        out.put_u16(self.status.0);
        out.extend_from_slice(&[high_a, high_b]);
        // 20 bytes of salt and their NUL.
        out.put_u8(if plugin_auth { 21 } else { 0 });
        out.put_zeros(6);
        out.put_u32(self.extended);
        out.extend_from_slice(part_2);
        out.put_u8(0);
        if plugin_auth {
            out.put_null_str(&self.plugin);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the protocol page, a MySQL 5.6.4.
    const PAGE: &[u8] = b"\x0a5.6.4-m7-log\0\x56\x0a\0\0RB3vz&Gr\0\xff\xff\x08\x02\0\x0f\xc0\x15\
        \0\0\0\0\0\0\0\0\0\0+yD&/ZZ305ZG\0mysql_native_password\0";

    #[test]
    fn mysql() {
        let greeting = Greeting::decode(PAGE).unwrap();
        assert_eq!(greeting.version, b"5.6.4-m7-log");
        assert_eq!(greeting.connection_id, 2646);
        assert_eq!(&greeting.salt, b"RB3vz&Gr+yD&/ZZ305ZG");
        assert_eq!(greeting.capabilities, Capabilities(0xC00F_FFFF));
        assert_eq!(greeting.collation, 8);
        assert_eq!(greeting.status, StatusFlags::AUTOCOMMIT);
        assert_eq!(greeting.plugin, b"mysql_native_password");
        assert!(!greeting.is_mariadb());
        let mut out = Vec::new();
        greeting.encode(&mut out);
        assert_eq!(out, PAGE);
    }

    /// MySQL 9.7.4, as captured.
    #[test]
    fn mysql_9() {
        let bytes = b"\x0a9.7.4-2\0\x08\0\0\0~\x16k\"g^9y\0\xff\xff\xff\x02\0\xff\xdf\x15\
            \0\0\0\0\0\0\0\0\0\0\x1d,U\"G\rd~(i!\x18\0caching_sha2_password\0";
        let greeting = Greeting::decode(bytes).unwrap();
        assert_eq!(greeting.version, b"9.7.4-2");
        assert_eq!(greeting.capabilities, Capabilities(0xDFFF_FFFF));
        assert_eq!(greeting.plugin, b"caching_sha2_password");
        let mut out = Vec::new();
        greeting.encode(&mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn mariadb_has_extended_capabilities() {
        let bytes = b"\x0a5.5.5-10.6.4-MariaDB\0\x03\0\0\0abcdefgh\0\xfe\xf7\x08\x02\0\xff\x81\x15\
            \0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0";
        let greeting = Greeting::decode(bytes).unwrap();
        assert!(greeting.is_mariadb());
        assert_eq!(greeting.extended, 0x1D);
        assert_eq!(&greeting.salt, b"abcdefghijklmnopqrst");
        let mut out = Vec::new();
        greeting.encode(&mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn an_error_instead() {
        let refused = |bytes: &[u8]| match Greeting::decode(bytes) {
            Err(GreetingError::Refused(err)) => (err.code, err.sqlstate, err.message),
            other => panic!("{other:?}"),
        };
        let (code, state, message) = refused(b"\xFF\x10\x04Too many connections");
        assert_eq!((code, &state, &message[..]), (1040, b"HY000", &b"Too many connections"[..]));
        let (code, state, _) = refused(b"\xFF\x6A\x04#HY000Host '10.0.0.9' is not allowed");
        assert_eq!((code, &state), (1130, b"HY000"));
    }

    #[test]
    fn cut_short() {
        for len in 0..PAGE.len() {
            // The plugin's name comes last and its NUL may be left out.
            let salt_end = PAGE.len() - b"\0mysql_native_password\0".len();
            assert_eq!(Greeting::decode(&PAGE[..len]).is_ok(), len >= salt_end, "{len}");
        }
        assert!(Greeting::decode(b"\x09old").is_err());
    }

    proptest! {
        #[test]
        fn comes_back(
            version in prop::collection::vec(1u8.., 0..40),
            connection_id: u32,
            salt: [u8; SALT_LEN],
            caps: u32,
            extended: u32,
            collation: u8,
            status: u16,
            plugin in prop::collection::vec(1u8.., 0..40),
        ) {
            let capabilities = Capabilities(caps);
            let mysql = capabilities.has(Capabilities::LONG_PASSWORD);
            let named = capabilities.has(Capabilities::PLUGIN_AUTH);
            let greeting = Greeting {
                version,
                connection_id,
                salt,
                capabilities,
                extended: if mysql { 0 } else { extended },
                collation,
                status: StatusFlags(status),
                plugin: if named { plugin } else { Vec::new() },
            };
            let mut out = Vec::new();
            greeting.encode(&mut out);
            prop_assert_eq!(Greeting::decode(&out), Ok(greeting));
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Greeting::decode(&bytes);
        }
    }
}
