//! Packets between handshake response and OK.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_switch_request.html>
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_more_data.html>
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>

use crate::wire::{PutExt, Reader, WireError};

/// SHA-1 scramble; gone from MySQL 9.
pub const PLUGIN_NATIVE: &str = "mysql_native_password";
/// SHA-256 scramble with a cache on the server; MySQL's default since 8.0.
pub const PLUGIN_SHA2: &str = "caching_sha2_password";
/// The password itself, over TLS or encrypted with the server's key.
pub const PLUGIN_SHA256: &str = "sha256_password";
/// The password as it is; over TLS only.
pub const PLUGIN_CLEAR: &str = "mysql_clear_password";

/// caching_sha2_password, server to client in [`AuthMoreData`]: the scramble was right, OK follows.
pub const FAST_AUTH_OK: u8 = 3;
/// caching_sha2_password, server to client in [`AuthMoreData`]: send the password.
pub const FULL_AUTH: u8 = 4;
/// caching_sha2_password, client to server, a payload of its own: send the public key.
pub const REQUEST_PUBLIC_KEY: u8 = 2;

/// The server wants another plugin. The client answers with that plugin's data as the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSwitch {
    pub plugin: Vec<u8>,
    /// The plugin's data: for the scramble plugins 20 bytes of salt, without the NUL that MySQL
    /// sends behind them.
    pub data: Vec<u8>,
}

impl AuthSwitch {
    /// Its first byte.
    pub const HEADER: u8 = 0xFE;

    /// Reads the payload.
    ///
    /// # Errors
    /// [`WireError::OldProtocol`] for the one-byte form, which asks for the password hash of MySQL 3.23.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        expect(r.u8("auth switch header")?, Self::HEADER, "auth switch header")?;
        if r.is_empty() {
            return Err(WireError::OldProtocol);
        }
        let plugin = r.null_str_or_rest().to_vec();
        let data = r.rest();
        let data = data.strip_suffix(b"\0").unwrap_or(data).to_vec();
        Ok(Self { plugin, data })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(Self::HEADER);
        out.put_null_str(&self.plugin);
        out.extend_from_slice(&self.data);
        out.put_u8(0);
    }
}

/// Data from the server's plugin to the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthMoreData<'a>(pub &'a [u8]);

impl<'a> AuthMoreData<'a> {
    /// Its first byte.
    pub const HEADER: u8 = 0x01;

    /// Reads the payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        expect(r.u8("auth data header")?, Self::HEADER, "auth data header")?;
        Ok(Self(r.rest()))
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(Self::HEADER);
        out.extend_from_slice(self.0);
    }
}

fn expect(got: u8, want: u8, what: &'static str) -> Result<(), WireError> {
    if got == want { Ok(()) } else { Err(WireError::Invalid { what, value: u64::from(got) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch() {
        let bytes = b"\xFEmysql_native_password\0abcdefghijklmnopqrst\0";
        let switch = AuthSwitch::decode(bytes).unwrap();
        assert_eq!(switch.plugin, PLUGIN_NATIVE.as_bytes());
        assert_eq!(switch.data, b"abcdefghijklmnopqrst");
        let mut out = Vec::new();
        switch.encode(&mut out);
        assert_eq!(out, bytes);
        for len in 0..bytes.len() {
            assert_eq!(AuthSwitch::decode(&bytes[..len]).is_ok(), len >= 2, "{len}");
        }
        assert_eq!(AuthSwitch::decode(&[0xFE]), Err(WireError::OldProtocol));
        assert!(AuthSwitch::decode(&[0x00, b'x']).is_err());
    }

    #[test]
    fn switch_without_data() {
        let switch = AuthSwitch::decode(b"\xFEmysql_clear_password\0").unwrap();
        assert_eq!((&switch.plugin[..], switch.data.len()), (PLUGIN_CLEAR.as_bytes(), 0));
    }

    #[test]
    fn more_data() {
        assert_eq!(AuthMoreData::decode(&[1, FULL_AUTH]), Ok(AuthMoreData(&[FULL_AUTH])));
        let mut out = Vec::new();
        AuthMoreData(&[FAST_AUTH_OK]).encode(&mut out);
        assert_eq!(out, [1, 3]);
        assert!(AuthMoreData::decode(&[]).is_err());
        assert!(AuthMoreData::decode(&[0]).is_err());
    }
}
