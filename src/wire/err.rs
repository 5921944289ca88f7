//! ERR packet. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html>

use crate::wire::{Capabilities, PutExt, Reader, WireError};

/// A refusal: MySQL's error number, SQLSTATE and text.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrPacket {
    pub code: u16,
    /// Five ASCII characters; `HY000` when the packet had none.
    pub sqlstate: [u8; 5],
    pub message: Vec<u8>,
}

impl ErrPacket {
    /// Its first byte.
    pub const HEADER: u8 = 0xFF;

    /// Whether the payload is an ERR packet (it is, wherever a row or an OK packet may stand).
    #[must_use]
    pub fn is(payload: &[u8]) -> bool {
        payload.first() == Some(&Self::HEADER)
    }

    /// Reads the payload. Before the capabilities are agreed a server may leave the SQLSTATE out,
    /// so its marker decides.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        match r.u8("ERR header")? {
            Self::HEADER => {}
            other => {
                return Err(WireError::Invalid { what: "ERR header", value: u64::from(other) });
            }
        }
        let code = r.u16("error code")?;
        let mut sqlstate = *b"HY000";
        if r.remaining().first() == Some(&b'#') && r.remaining().len() > sqlstate.len() {
            r.take(1, "SQLSTATE marker")?;
            sqlstate = r.array("SQLSTATE")?;
        }
        Ok(Self { code, sqlstate, message: r.rest().to_vec() })
    }

    /// Appends the payload; with SQLSTATE when `caps` has PROTOCOL_41.
    pub fn encode(&self, out: &mut Vec<u8>, caps: Capabilities) {
        out.put_u8(Self::HEADER);
        out.put_u16(self.code);
        if caps.has(Capabilities::PROTOCOL_41) {
            out.put_u8(b'#');
            out.extend_from_slice(&self.sqlstate);
        }
        out.extend_from_slice(&self.message);
    }
}

impl std::fmt::Display for ErrPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = String::from_utf8_lossy(&self.sqlstate);
        let message = String::from_utf8_lossy(&self.message);
        write!(f, "ERROR {} ({state}): {message}", self.code)
    }
}

/// As text: the message in bytes helps nobody.
impl std::fmt::Debug for ErrPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ErrPacket({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &[u8] = b"\xFF\x15\x04#28000Access denied for user 'a'@'b'";

    #[test]
    fn with_sqlstate() {
        let err = ErrPacket::decode(DENIED).unwrap();
        assert_eq!((err.code, &err.sqlstate), (1045, b"28000"));
        assert_eq!(err.message, b"Access denied for user 'a'@'b'");
        let mut out = Vec::new();
        err.encode(&mut out, Capabilities::PROTOCOL_41);
        assert_eq!(out, DENIED);
        assert_eq!(err.to_string(), "ERROR 1045 (28000): Access denied for user 'a'@'b'");
    }

    #[test]
    fn before_the_handshake() {
        let bytes = b"\xFF\x10\x04Too many connections";
        let err = ErrPacket::decode(bytes).unwrap();
        assert_eq!((err.code, &err.sqlstate), (1040, b"HY000"));
        let mut out = Vec::new();
        err.encode(&mut out, Capabilities::NONE);
        assert_eq!(out, bytes);
    }

    #[test]
    fn cut_short() {
        for len in 0..DENIED.len() {
            assert_eq!(ErrPacket::decode(&DENIED[..len]).is_ok(), len >= 3, "{len}");
        }
        assert!(ErrPacket::decode(&[0, 1, 2]).is_err());
    }
}
