//! EOF packet, for peers without DEPRECATE_EOF. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_eof_packet.html>

use crate::wire::{PutExt, Reader, StatusFlags, WireError};

/// Ends column definitions or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EofPacket {
    pub warnings: u16,
    pub status: StatusFlags,
}

impl EofPacket {
    /// Its first byte.
    pub const HEADER: u8 = 0xFE;
    /// An EOF packet is shorter than this, in bytes; a longer payload that begins with 0xFE is a
    /// row, or an OK packet in an EOF's place.
    pub const MAX_LEN: usize = 9;

    /// Whether a payload of the answer to a query is an EOF packet, given no DEPRECATE_EOF.
    #[must_use]
    pub fn is(payload: &[u8]) -> bool {
        payload.first() == Some(&Self::HEADER) && payload.len() < Self::MAX_LEN
    }

    /// Reads the payload of an EOF packet.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        match r.u8("EOF header")? {
            Self::HEADER => {}
            other => {
                return Err(WireError::Invalid { what: "EOF header", value: u64::from(other) });
            }
        }
        let warnings = r.u16("warning count")?;
        let status = StatusFlags(r.u16("status flags")?);
        Ok(Self { warnings, status })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(Self::HEADER);
        out.put_u16(self.warnings);
        out.put_u16(self.status.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal() {
        let bytes = [0xFE, 0x01, 0x00, 0x02, 0x00];
        let eof = EofPacket { warnings: 1, status: StatusFlags::AUTOCOMMIT };
        assert_eq!(EofPacket::decode(&bytes), Ok(eof));
        let mut out = Vec::new();
        eof.encode(&mut out);
        assert_eq!(out, bytes);
        for len in 0..bytes.len() {
            assert!(EofPacket::decode(&bytes[..len]).is_err());
        }
        assert!(EofPacket::is(&bytes));
        assert!(!EofPacket::is(&[0xFE, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(EofPacket::decode(&[0, 0, 0, 0, 0]).is_err());
    }
}
