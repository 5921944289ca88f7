//! Fields onto the end of a payload. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_data_types.html>

/// Appends protocol fields; the mirror of [`Reader`](crate::wire::Reader).
pub trait PutExt {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// Two bytes, little-endian, as all integers of the protocol are.
    fn put_u16(&mut self, value: u16);
    /// The three low bytes of `value`.
    fn put_u24(&mut self, value: u32);
    /// Four bytes.
    fn put_u32(&mut self, value: u32);
    /// Eight bytes.
    fn put_u64(&mut self, value: u64);
    /// One, three, four or nine bytes: the shortest that holds `value`.
    fn put_lenenc_int(&mut self, value: u64);
    /// A length-encoded length and the bytes.
    fn put_lenenc_bytes(&mut self, bytes: &[u8]);
    /// The bytes up to their first NUL, and a NUL.
    fn put_null_str(&mut self, text: &[u8]);
    /// `n` zero bytes.
    fn put_zeros(&mut self, n: usize);
}

impl PutExt for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u24(&mut self, value: u32) {
        let [a, b, c, _] = value.to_le_bytes();
        self.extend_from_slice(&[a, b, c]);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_lenenc_int(&mut self, value: u64) {
        let [a, b, c, ..] = value.to_le_bytes();
        match value {
            0..=0xFA => self.push(a),
            0xFB..=0xFFFF => self.extend_from_slice(&[0xFC, a, b]),
            0x1_0000..=0xFF_FFFF => self.extend_from_slice(&[0xFD, a, b, c]),
            _ => {
                self.push(0xFE);
                self.put_u64(value);
            }
        }
    }

    fn put_lenenc_bytes(&mut self, bytes: &[u8]) {
        // usize has at most 64 bits on every platform that Rust's std runs on.
        self.put_lenenc_int(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.extend_from_slice(bytes);
    }

    fn put_null_str(&mut self, text: &[u8]) {
        self.extend(text.iter().take_while(|b| **b != 0));
        self.push(0);
    }

    fn put_zeros(&mut self, n: usize) {
        self.resize(self.len() + n, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Reader;

    #[test]
    fn literals() {
        let mut out = Vec::new();
        out.put_u8(1);
        out.put_u16(0x0203);
        out.put_u24(0x0004_0506);
        out.put_u32(0x0708_090A);
        out.put_u64(0x0B);
        out.put_null_str(b"ab\0cd");
        out.put_zeros(2);
        out.put_lenenc_bytes(b"xyz");
        assert_eq!(
            out,
            b"\x01\x03\x02\x06\x05\x04\x0A\x09\x08\x07\x0B\0\0\0\0\0\0\0ab\0\0\0\x03xyz"
        );
    }

    #[test]
    fn lenenc_int_is_shortest() {
        for (value, len) in [
            (0, 1),
            (250, 1),
            (251, 3),
            (0xFFFF, 3),
            (0x1_0000, 4),
            (0xFF_FFFF, 4),
            (0x100_0000, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            out.put_lenenc_int(value);
            assert_eq!(out.len(), len, "{value}");
            assert_eq!(Reader::new(&out).lenenc_int("n"), Ok(value));
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut out = Vec::new();
            out.put_lenenc_bytes(&bytes);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.lenenc_bytes("b"), Ok(&bytes[..]));
            prop_assert!(r.is_empty());
        }
    }
}
