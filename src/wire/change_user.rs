//! COM_CHANGE_USER. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_change_user.html>

use crate::wire::{Capabilities, Command, PutExt, Reader, WireError};

/// A new login on an open connection; everything of the old session ends.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeUser {
    pub username: Vec<u8>,
    /// The plugin's answer to the salt of the greeting (or of the last auth switch).
    pub auth: Vec<u8>,
    /// `None` when the empty name was sent: no database is chosen then.
    pub database: Option<Vec<u8>>,
    /// 0 when not sent: the collation stays.
    pub collation: u16,
    /// The plugin that `auth` was made with.
    pub plugin: Option<Vec<u8>>,
    /// Connection attributes: length-encoded keys and values in turn, without the block's length.
    pub attributes: Vec<u8>,
}

impl ChangeUser {
    /// Reads the payload after its command byte.
    pub fn decode(after_command: &[u8], caps: Capabilities) -> Result<Self, WireError> {
        let mut r = Reader::new(after_command);
        let username = r.null_str("user name")?.to_vec();
        let auth = if caps.has(Capabilities::SECURE_CONNECTION) {
            let len = usize::from(r.u8("authentication data")?);
            r.take(len, "authentication data")?.to_vec()
        } else {
            r.null_str("authentication data")?.to_vec()
        };
        let database = Some(r.null_str("database")?).filter(|name| !name.is_empty());
        let database = database.map(<[u8]>::to_vec);
        // Each of what follows may be left out, from the end.
        let collation = if r.is_empty() { 0 } else { r.u16("collation")? };
        let plugin = (caps.has(Capabilities::PLUGIN_AUTH) && !r.is_empty())
            .then(|| r.null_str_or_rest().to_vec());
        let attributes = if caps.has(Capabilities::CONNECT_ATTRS) && !r.is_empty() {
            r.lenenc_bytes("connection attributes")?.to_vec()
        } else {
            Vec::new()
        };
        Ok(Self { username, auth, database, collation, plugin, attributes })
    }

    /// Appends the payload, command byte and all. `auth` holds at most 255 bytes; more is cut.
    pub fn encode(&self, out: &mut Vec<u8>, caps: Capabilities) {
        out.put_u8(Command::ChangeUser.byte());
        out.put_null_str(&self.username);
        if caps.has(Capabilities::SECURE_CONNECTION) {
            let len = u8::try_from(self.auth.len()).unwrap_or(u8::MAX);
            out.put_u8(len);
            out.extend(self.auth.iter().take(usize::from(len)));
        } else {
            out.put_null_str(&self.auth);
        }
        out.put_null_str(self.database.as_deref().unwrap_or_default());
        out.put_u16(self.collation);
        if caps.has(Capabilities::PLUGIN_AUTH) {
            out.put_null_str(self.plugin.as_deref().unwrap_or_default());
        }
        if caps.has(Capabilities::CONNECT_ATTRS) {
            out.put_lenenc_bytes(&self.attributes);
        }
    }
}

/// `auth` may be a password in clear text, so it is not shown.
impl std::fmt::Debug for ChangeUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeUser")
            .field("username", &String::from_utf8_lossy(&self.username))
            .field("auth_len", &self.auth.len())
            .field("database", &self.database.as_deref().map(String::from_utf8_lossy))
            .field("collation", &self.collation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Capabilities = Capabilities(
        Capabilities::SECURE_CONNECTION.0
            | Capabilities::PLUGIN_AUTH.0
            | Capabilities::CONNECT_ATTRS.0,
    );
    const FULL: &[u8] = b"\x11ann\0\x03abcshop\0\x2d\0caching_sha2_password\0\x06\x01k\x03val";

    #[test]
    fn full() {
        let change = ChangeUser::decode(&FULL[1..], CAPS).unwrap();
        assert_eq!(change.username, b"ann");
        assert_eq!(change.auth, b"abc");
        assert_eq!(change.database.as_deref(), Some(&b"shop"[..]));
        assert_eq!(change.collation, 45);
        assert_eq!(change.plugin.as_deref(), Some(&b"caching_sha2_password"[..]));
        assert_eq!(change.attributes, b"\x01k\x03val");
        let mut out = Vec::new();
        change.encode(&mut out, CAPS);
        assert_eq!(out, FULL);
        assert!(!format!("{change:?}").contains("abc"));
    }

    #[test]
    fn what_comes_last_may_be_absent() {
        let change = ChangeUser::decode(b"ann\0\0\0", CAPS).unwrap();
        assert_eq!((change.database, change.collation, change.plugin), (None, 0, None));
        let change = ChangeUser::decode(b"ann\0abc\0shop\0", Capabilities::NONE).unwrap();
        assert_eq!(change.auth, b"abc");
    }

    #[test]
    fn cut_short() {
        let payload = &FULL[1..];
        for len in 0..payload.len() {
            let result = ChangeUser::decode(&payload[..len], CAPS);
            let required = b"ann\0\x03abcshop\0".len();
            let half_a_collation = len == required + 1;
            let attributes = payload.len() - 7;
            let half_attributes = len > attributes;
            let ok = len >= required && !half_a_collation && !half_attributes;
            assert_eq!(result.is_ok(), ok, "{len}");
        }
    }
}
