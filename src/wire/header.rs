//! The four bytes before every payload. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>

use crate::wire::MAX_PAYLOAD;

/// Length and sequence number of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow, at most [`MAX_PAYLOAD`]; when equal to it, another packet
    /// continues the payload.
    pub len: usize,
    /// Counts packets of one exchange, both directions, wrapping.
    pub seq: u8,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` when fewer than four are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, seq] = *bytes.first_chunk::<4>()?;
        Some(Self { len: usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16, seq })
    }

    /// The four bytes. A length above [`MAX_PAYLOAD`] is a mistake of the caller and is cut to it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let [a, b, c, ..] = self.len.min(MAX_PAYLOAD).to_le_bytes();
        [a, b, c, self.seq]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal() {
        let header = Header { len: 0x01_02_03, seq: 7 };
        assert_eq!(header.to_bytes(), [3, 2, 1, 7]);
        assert_eq!(Header::parse(&[3, 2, 1, 7, 99]), Some(header));
        for len in 0..4 {
            assert_eq!(Header::parse(&[3, 2, 1, 7][..len]), None);
        }
    }
}
