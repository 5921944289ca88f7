//! The client's answer to the greeting, and the shorter packet before TLS.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_response.html>
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_ssl_request.html>

use crate::wire::{Capabilities, PutExt, Reader, WireError};

/// Bytes of the fields that both packets begin with.
const FIXED_LEN: usize = 32;
/// Unused bytes among them.
const FILLER_LEN: usize = 23;

/// The client wants TLS: what follows on the socket is a TLS handshake, then a
/// [`HandshakeResponse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SslRequest {
    pub capabilities: Capabilities,
    /// Largest packet that the client takes, bytes.
    pub max_packet: u32,
    /// Low byte of the collation, as sent.
    pub collation: u8,
}

/// Whether the client's first payload is an [`SslRequest`]: the fixed fields alone, with SSL.
#[must_use]
pub fn is_ssl_request(payload: &[u8]) -> bool {
    payload.len() == FIXED_LEN
        && SslRequest::decode(payload).is_ok_and(|r| r.capabilities.has(Capabilities::SSL))
}

impl SslRequest {
    /// Reads the fixed fields, of this packet or of a whole handshake response.
    ///
    /// # Errors
    /// [`WireError::OldProtocol`] from a client without PROTOCOL_41.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        Self::read(&mut Reader::new(payload))
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.capabilities.0);
        out.put_u32(self.max_packet);
        out.put_u8(self.collation);
        out.put_zeros(FILLER_LEN);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        // The old packet has the low two bytes of the capabilities only, at the same place.
        let low = u32::from(r.clone().u16("capabilities")?);
        if !Capabilities(low).has(Capabilities::PROTOCOL_41) {
            return Err(WireError::OldProtocol);
        }
        let capabilities = Capabilities(r.u32("capabilities")?);
        let max_packet = r.u32("largest packet")?;
        let collation = r.u8("collation")?;
        r.take(FILLER_LEN, "filler")?;
        Ok(Self { capabilities, max_packet, collation })
    }
}

/// Who the client is and what it speaks.
#[derive(Clone, PartialEq, Eq)]
pub struct HandshakeResponse {
    pub capabilities: Capabilities,
    /// Largest packet that the client takes, bytes.
    pub max_packet: u32,
    /// Low byte of the collation, as sent.
    pub collation: u8,
    pub username: Vec<u8>,
    /// The plugin's answer to the salt.
    pub auth: Vec<u8>,
    /// `None` when no database or the empty name was sent.
    pub database: Option<Vec<u8>>,
    /// The plugin that `auth` was made with; `None` without PLUGIN_AUTH.
    pub plugin: Option<Vec<u8>>,
    /// Connection attributes: length-encoded keys and values in turn, without the block's length.
    pub attributes: Vec<u8>,
    /// Level for zstd compression, 1 to 22; `None` without ZSTD_COMPRESSION.
    pub zstd_level: Option<u8>,
}

impl HandshakeResponse {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`WireError::OldProtocol`] from a client without PROTOCOL_41.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        let SslRequest { capabilities, max_packet, collation } = SslRequest::read(&mut r)?;
        let username = r.null_str("user name")?.to_vec();
        let auth = read_auth(&mut r, capabilities)?.to_vec();
        let database = if capabilities.has(Capabilities::CONNECT_WITH_DB) {
            Some(r.null_str_or_rest()).filter(|name| !name.is_empty()).map(<[u8]>::to_vec)
        } else {
            None
        };
        let plugin =
            capabilities.has(Capabilities::PLUGIN_AUTH).then(|| r.null_str_or_rest().to_vec());
        let attributes = if capabilities.has(Capabilities::CONNECT_ATTRS) && !r.is_empty() {
            r.lenenc_bytes("connection attributes")?.to_vec()
        } else {
            Vec::new()
        };
        let zstd_level = if capabilities.has(Capabilities::ZSTD_COMPRESSION) && !r.is_empty() {
            Some(r.u8("zstd level")?)
        } else {
            None
        };
        Ok(Self {
            capabilities,
            max_packet,
            collation,
            username,
            auth,
            database,
            plugin,
            attributes,
            zstd_level,
        })
    }

    /// Appends the payload. Which fields are written is decided by `capabilities` alone.
    ///
    /// Without PLUGIN_AUTH_LENENC_CLIENT_DATA `auth` holds at most 255 bytes; more is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let has = |capability| self.capabilities.has(capability);
        self.ssl_request().encode(out);
        out.put_null_str(&self.username);
        if has(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            out.put_lenenc_bytes(&self.auth);
        } else if has(Capabilities::SECURE_CONNECTION) {
            let len = u8::try_from(self.auth.len()).unwrap_or(u8::MAX);
            out.put_u8(len);
            out.extend(self.auth.iter().take(usize::from(len)));
        } else {
            out.put_null_str(&self.auth);
        }
        if has(Capabilities::CONNECT_WITH_DB) {
            out.put_null_str(self.database.as_deref().unwrap_or_default());
        }
        if has(Capabilities::PLUGIN_AUTH) {
            out.put_null_str(self.plugin.as_deref().unwrap_or_default());
        }
        if has(Capabilities::CONNECT_ATTRS) {
            out.put_lenenc_bytes(&self.attributes);
        }
        if has(Capabilities::ZSTD_COMPRESSION) {
            out.put_u8(self.zstd_level.unwrap_or(DEFAULT_ZSTD_LEVEL));
        }
    }

    /// The packet that announces TLS before this one.
    #[must_use]
    pub const fn ssl_request(&self) -> SslRequest {
        let Self { capabilities, max_packet, collation, .. } = *self;
        SslRequest { capabilities, max_packet, collation }
    }
}

/// `auth` may be a password in clear text, so it is not shown.
impl std::fmt::Debug for HandshakeResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("capabilities", &self.capabilities)
            .field("username", &String::from_utf8_lossy(&self.username))
            .field("auth_len", &self.auth.len())
            .field("plugin", &self.plugin.as_deref().map(String::from_utf8_lossy))
            .finish_non_exhaustive()
    }
}

fn read_auth<'a>(r: &mut Reader<'a>, caps: Capabilities) -> Result<&'a [u8], WireError> {
    const WHAT: &str = "authentication data";
    if caps.has(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
        r.lenenc_bytes(WHAT)
    } else if caps.has(Capabilities::SECURE_CONNECTION) {
        let len = usize::from(r.u8(WHAT)?);
        r.take(len, WHAT)
    } else {
        r.null_str(WHAT)
    }
}

/// What MySQL's client asks for when nobody chose.
const DEFAULT_ZSTD_LEVEL: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the protocol page: MySQL 5.5's client, user "pam", database "test".
    const PAGE: &[u8] =
        b"\x8d\xa6\x0f\0\0\0\0\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        pam\0\x14\xab\x09\xee\xf6\xbc\xb1\x32\x3e\x61\x14\x38\x65\xc0\x99\x1d\x95\x7d\x75\xd4\x47\
        test\0mysql_native_password\0";

    #[test]
    fn page_example() {
        let response = HandshakeResponse::decode(PAGE).unwrap();
        assert_eq!(response.capabilities, Capabilities(0x000F_A68D));
        assert_eq!(response.max_packet, 16 << 20);
        assert_eq!(response.collation, 8);
        assert_eq!(response.username, b"pam");
        assert_eq!(response.auth.len(), 20);
        assert_eq!(response.database.as_deref(), Some(&b"test"[..]));
        assert_eq!(response.plugin.as_deref(), Some(&b"mysql_native_password"[..]));
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(out, PAGE);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut response = HandshakeResponse::decode(PAGE).unwrap();
        response.auth = b"secret".to_vec();
        let shown = format!("{response:?}");
        assert!(shown.contains("pam") && shown.contains("auth_len: 6"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
    }

    #[test]
    fn before_tls() {
        let request = SslRequest {
            capabilities: Capabilities::PROTOCOL_41 | Capabilities::SSL,
            max_packet: 1 << 24,
            collation: 45,
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(out, [&b"\0\x0a\0\0\0\0\0\x01\x2d"[..], &[0; 23]].concat());
        assert!(is_ssl_request(&out));
        assert_eq!(SslRequest::decode(&out), Ok(request));
        for len in 0..out.len() {
            assert!(SslRequest::decode(&out[..len]).is_err(), "{len}");
            assert!(!is_ssl_request(&out[..len]), "{len}");
        }
        out.push(0);
        assert!(!is_ssl_request(&out), "a whole response is longer");
        assert!(!is_ssl_request(PAGE));
    }

    #[test]
    fn from_before_4_1() {
        let old = b"\x85\x24\0\0\0old\0\x47\x44\x53\x43\x51\x59\x52\x5f";
        assert_eq!(HandshakeResponse::decode(old), Err(WireError::OldProtocol));
    }

    #[test]
    fn the_length_of_the_authentication_data_has_three_forms() {
        let base = Capabilities::PROTOCOL_41 | Capabilities::PLUGIN_AUTH;
        let check = |caps: Capabilities, auth: &[u8], wire: &[u8]| {
            let mut payload = Vec::new();
            payload.put_u32((base | caps).0);
            payload.put_zeros(28);
            payload.extend_from_slice(b"u\0");
            payload.extend_from_slice(wire);
            payload.extend_from_slice(b"p\0");
            let response = HandshakeResponse::decode(&payload).unwrap();
            assert_eq!(response.auth, auth);
            assert_eq!(response.plugin.as_deref(), Some(&b"p"[..]));
            let mut out = Vec::new();
            response.encode(&mut out);
            assert_eq!(out, payload);
        };
        let long = [b'x'; 300];
        let long_wire = [&b"\xFC\x2C\x01"[..], &long].concat();
        check(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA, &long, &long_wire);
        check(Capabilities::SECURE_CONNECTION, b"ab", b"\x02ab");
        check(Capabilities::NONE, b"ab", b"ab\0");
    }

    #[test]
    fn cut_short() {
        for len in 0..PAGE.len() {
            // The last two texts may be without NUL.
            let needed = PAGE.len() - b"test\0mysql_native_password\0".len();
            assert_eq!(HandshakeResponse::decode(&PAGE[..len]).is_ok(), len >= needed, "{len}");
        }
    }

    /// A length-encoded answer, attributes, and a level of compression.
    const MODERN: &[u8] =
        b"\x00\x82\x38\x04\0\0\0\x01\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        root\0\x04abcdcaching_sha2_password\0\x0a\x03_os\x05Linux\x07";

    #[test]
    fn attributes_and_level() {
        let capabilities = Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::CONNECT_ATTRS
            | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA
            | Capabilities::ZSTD_COMPRESSION;
        let response = HandshakeResponse {
            capabilities,
            max_packet: 1 << 24,
            collation: 255,
            username: b"root".to_vec(),
            auth: b"abcd".to_vec(),
            database: None,
            plugin: Some(b"caching_sha2_password".to_vec()),
            attributes: b"\x03_os\x05Linux".to_vec(),
            zstd_level: Some(7),
        };
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(out, MODERN);
        assert_eq!(HandshakeResponse::decode(MODERN), Ok(response));
    }

    #[test]
    fn attributes_and_level_cut_short() {
        let plugin_at = 32 + b"root\0\x04abcd".len();
        let attributes_at = plugin_at + b"caching_sha2_password\0".len();
        let level_at = MODERN.len() - 1;
        for len in 0..MODERN.len() {
            let decoded = HandshakeResponse::decode(&MODERN[..len]);
            // What is missing from the plugin's name on was not sent; a block that has begun must end.
            let is_whole = (plugin_at..=attributes_at).contains(&len) || len == level_at;
            assert_eq!(decoded.is_ok(), is_whole, "{len}: {decoded:?}");
            let Ok(response) = decoded else { continue };
            assert_eq!(response.zstd_level, None, "{len}");
            assert_eq!(response.attributes.is_empty(), len < level_at, "{len}");
        }
    }

    proptest! {
        #[test]
        fn comes_back(
            caps: u32,
            max_packet: u32,
            collation: u8,
            username in prop::collection::vec(1u8.., 0..40),
            auth in prop::collection::vec(1u8.., 0..255),
            database in prop::collection::vec(1u8.., 1..40),
            plugin in prop::collection::vec(1u8.., 0..40),
            attributes in prop::collection::vec(any::<u8>(), 0..300),
            level: u8,
        ) {
            let capabilities = Capabilities(caps) | Capabilities::PROTOCOL_41;
            let has = |capability| capabilities.has(capability);
            let response = HandshakeResponse {
                capabilities,
                max_packet,
                collation,
                username,
                auth,
                database: has(Capabilities::CONNECT_WITH_DB).then_some(database),
                plugin: has(Capabilities::PLUGIN_AUTH).then_some(plugin),
                attributes: if has(Capabilities::CONNECT_ATTRS) { attributes } else { Vec::new() },
                zstd_level: has(Capabilities::ZSTD_COMPRESSION).then_some(level),
            };
            let mut out = Vec::new();
            response.encode(&mut out);
            prop_assert_eq!(HandshakeResponse::decode(&out), Ok(response));
        }

        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 2..200)) {
            bytes[1] |= 2;
            let _ = HandshakeResponse::decode(&bytes);
        }
    }
}
