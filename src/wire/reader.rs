//! The one place that walks offsets of a payload. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_data_types.html>

/// Why a payload could not be understood. The fault is the peer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The payload ends before this field.
    #[error("packet is cut short: {0} is missing")]
    Missing(&'static str),
    /// The field holds a value that the protocol does not allow there.
    #[error("packet is malformed: {what} is {value:#x}")]
    Invalid { what: &'static str, value: u64 },
    /// The client speaks the protocol from before MySQL 4.1.
    #[error("the client speaks the protocol from before MySQL 4.1, which is not supported")]
    OldProtocol,
}

/// Reads fields from the front of a payload. Every method names the field, for the error.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Whether all is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining().is_empty()
    }

    /// What is not read yet; stays unread.
    #[must_use]
    pub fn remaining(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// What was read since `start`, an earlier [`Reader::position`].
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.position).unwrap_or_default()
    }

    /// Reads all that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.remaining();
        self.position = self.bytes.len();
        rest
    }

    /// Reads `n` bytes.
    ///
    /// # Errors
    /// [`WireError::Missing`] when fewer are left; then nothing is read.
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let taken = self.remaining().get(..n).ok_or(WireError::Missing(what))?;
        self.position += n;
        Ok(taken)
    }

    /// Reads one byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        let [value] = self.array::<1>(what)?;
        Ok(value)
    }

    /// Reads two bytes, little-endian, as all integers of the protocol are.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Reads three bytes.
    pub fn u24(&mut self, what: &'static str) -> Result<u32, WireError> {
        let [a, b, c] = self.array(what)?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Reads four bytes.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Reads eight bytes.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads `N` bytes into an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let array = *self.remaining().first_chunk::<N>().ok_or(WireError::Missing(what))?;
        self.position += N;
        Ok(array)
    }

    /// Reads an integer of one, three, four or nine bytes.
    ///
    /// # Errors
    /// [`WireError::Invalid`] for the first bytes 0xFB (NULL in a row) and 0xFF (an ERR packet).
    pub fn lenenc_int(&mut self, what: &'static str) -> Result<u64, WireError> {
        match self.u8(what)? {
            small @ 0..=0xFA => Ok(u64::from(small)),
            0xFC => self.u16(what).map(u64::from),
            0xFD => self.u24(what).map(u64::from),
            0xFE => self.u64(what),
            other @ (0xFB | 0xFF) => Err(WireError::Invalid { what, value: u64::from(other) }),
        }
    }

    /// Reads a length-encoded integer that counts things in memory.
    pub fn lenenc_usize(&mut self, what: &'static str) -> Result<usize, WireError> {
        let value = self.lenenc_int(what)?;
        usize::try_from(value).map_err(|_too_big| WireError::Invalid { what, value })
    }

    /// Reads a length-encoded length and as many bytes.
    pub fn lenenc_bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let len = self.lenenc_usize(what)?;
        self.take(len, what)
    }

    /// Reads up to the next NUL, which is read too but not returned.
    pub fn null_str(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let len = self.remaining().iter().position(|b| *b == 0).ok_or(WireError::Missing(what))?;
        let text = self.take(len, what)?;
        self.position += 1;
        Ok(text)
    }

    /// As [`Reader::null_str`], but the end of the payload ends the text too: some peers leave the
    /// last NUL out.
    pub fn null_str_or_rest(&mut self) -> &'a [u8] {
        self.null_str("").unwrap_or_else(|_no_nul| self.rest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let mut r = Reader::new(&[1, 2, 1, 3, 2, 1, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(r.u8("a"), Ok(1));
        assert_eq!(r.u16("b"), Ok(0x0102));
        assert_eq!(r.u24("c"), Ok(0x01_0203));
        assert_eq!(r.u32("d"), Ok(0x0102_0304));
        assert_eq!(r.u64("e"), Ok(0x0102_0304_0506_0708));
        assert!(r.is_empty());
        assert_eq!(r.position(), 18);
        assert_eq!(r.u8("f"), Err(WireError::Missing("f")));
    }

    #[test]
    fn length_encoded_integers() {
        let check = |bytes: &[u8], want| {
            assert_eq!(Reader::new(bytes).lenenc_int("n"), want, "{bytes:?}");
        };
        check(&[0xFA], Ok(250));
        check(&[0xFC, 0xFB, 0x00], Ok(251));
        check(&[0xFD, 0, 0, 1], Ok(0x01_0000));
        check(&[0xFE, 1, 0, 0, 0, 0, 0, 0, 0x80], Ok(0x8000_0000_0000_0001));
        check(&[0xFB], Err(WireError::Invalid { what: "n", value: 0xFB }));
        check(&[0xFF], Err(WireError::Invalid { what: "n", value: 0xFF }));
        check(&[], Err(WireError::Missing("n")));
        check(&[0xFC, 1], Err(WireError::Missing("n")));
        check(&[0xFE, 1, 2, 3], Err(WireError::Missing("n")));
    }

    #[test]
    fn strings() {
        let mut r = Reader::new(b"root\0\x02hixyz");
        assert_eq!(r.null_str("user"), Ok(&b"root"[..]));
        assert_eq!(r.lenenc_bytes("x"), Ok(&b"hi"[..]));
        assert_eq!(r.null_str("y"), Err(WireError::Missing("y")));
        assert_eq!(r.take(9, "z"), Err(WireError::Missing("z")));
        assert_eq!(r.since(5), b"\x02hi");
        assert_eq!(r.rest(), b"xyz");
        assert_eq!(r.rest(), b"");
    }

    #[test]
    fn a_huge_length_is_missing_data_not_a_panic() {
        let mut r = Reader::new(&[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
        assert_eq!(r.lenenc_bytes("blob"), Err(WireError::Missing("blob")));
    }
}
