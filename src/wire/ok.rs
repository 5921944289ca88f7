//! OK packet. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html>
//!
//! The page calls the text without SESSION_TRACK `string<EOF>`. Servers send it with a
//! length all the same, and clients expect that; only an empty text is left out.

use crate::wire::{Capabilities, PutExt, Reader, StatusFlags, WireError};

/// A statement is done, or (with DEPRECATE_EOF) its rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OkPacket<'a> {
    pub affected_rows: u64,
    pub last_insert_id: u64,
    pub status: StatusFlags,
    pub warnings: u16,
    /// Text for people, "Rows matched: 1  Changed: 1  Warnings: 0".
    pub info: &'a [u8],
    /// What changed in the session, for [`Changes`](crate::wire::Changes), without the block's
    /// length; empty when nothing did.
    pub session_state: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// First byte where an answer begins.
    pub const HEADER: u8 = 0x00;
    /// First byte where rows end, with DEPRECATE_EOF.
    pub const HEADER_EOF: u8 = 0xFE;

    /// Whether a payload after the column definitions ends the rows, given DEPRECATE_EOF. A row
    /// may begin with 0xFE too, but only when its first column has 16 MiB or more.
    #[must_use]
    pub fn ends_rows(payload: &[u8]) -> bool {
        payload.first() == Some(&Self::HEADER_EOF) && payload.len() < crate::wire::MAX_PAYLOAD
    }

    /// Reads the payload, with either first byte.
    pub fn decode(payload: &'a [u8], caps: Capabilities) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        let header = r.u8("OK header")?;
        if header != Self::HEADER && header != Self::HEADER_EOF {
            return Err(WireError::Invalid { what: "OK header", value: u64::from(header) });
        }
        let affected_rows = r.lenenc_int("affected rows")?;
        let last_insert_id = r.lenenc_int("last insert id")?;
        let status = StatusFlags(r.u16("status flags")?);
        let warnings = r.u16("warning count")?;
        let mut ok =
            Self { affected_rows, last_insert_id, status, warnings, info: &[], session_state: &[] };
        if !caps.has(Capabilities::SESSION_TRACK) {
            ok.info = text_or_rest(&mut r);
            return Ok(ok);
        }
        if !r.is_empty() {
            ok.info = r.lenenc_bytes("info")?;
        }
        if status.has(StatusFlags::SESSION_STATE_CHANGED) && !r.is_empty() {
            ok.session_state = r.lenenc_bytes("session state")?;
        }
        Ok(ok)
    }

    /// Appends the payload with that first byte.
    ///
    /// With SESSION_TRACK and the status SESSION_STATE_CHANGED the session state is written, empty
    /// or not; without either it is left out, and the status bit stays as the caller set it.
    pub fn encode(&self, out: &mut Vec<u8>, header: u8, caps: Capabilities) {
        out.put_u8(header);
        out.put_lenenc_int(self.affected_rows);
        out.put_lenenc_int(self.last_insert_id);
        out.put_u16(self.status.0);
        out.put_u16(self.warnings);
        let state = caps.has(Capabilities::SESSION_TRACK)
            && self.status.has(StatusFlags::SESSION_STATE_CHANGED);
        if state || !self.info.is_empty() {
            out.put_lenenc_bytes(self.info);
        }
        if state {
            out.put_lenenc_bytes(self.session_state);
        }
    }
}

/// The text with its length; whatever is left when it is not of that form.
fn text_or_rest<'a>(r: &mut Reader<'a>) -> &'a [u8] {
    let mut ahead = r.clone();
    match ahead.lenenc_bytes("info") {
        Ok(text) if ahead.is_empty() => {
            *r = ahead;
            text
        }
        _ => r.rest(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACK: Capabilities = Capabilities::SESSION_TRACK;

    fn roundtrip(payload: &[u8], caps: Capabilities) -> OkPacket<'_> {
        let ok = OkPacket::decode(payload, caps).unwrap();
        let mut out = Vec::new();
        ok.encode(&mut out, payload[0], caps);
        assert_eq!(out, payload);
        ok
    }

    #[test]
    fn plain() {
        let ok = roundtrip(&[0, 1, 0xFC, 0, 1, 2, 0, 3, 0], TRACK);
        assert_eq!((ok.affected_rows, ok.last_insert_id, ok.warnings), (1, 256, 3));
        assert_eq!(ok.status, StatusFlags::AUTOCOMMIT);
    }

    #[test]
    fn in_place_of_eof() {
        let ok = roundtrip(&[0xFE, 0, 0, 0x22, 0, 0, 0], TRACK);
        assert!(ok.status.has(StatusFlags::NO_INDEX_USED));
        assert!(OkPacket::ends_rows(&[0xFE, 0, 0, 0x22, 0, 0, 0]));
    }

    #[test]
    fn schema_changed() {
        // USE test, with SESSION_TRACK.
        let payload = b"\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04test";
        let ok = roundtrip(payload, TRACK);
        assert_eq!(ok.session_state, b"\x01\x05\x04test");
        assert_eq!(ok.info, b"");
    }

    #[test]
    fn captured_from_mysql_9() {
        let update = b"\0\x01\0\x22\x40\0\0\x28Rows matched: 1  Changed: 1  Warnings: 0\
            \x2a\x03\x28\0\x265823c704-e543-11f1-acb9-02fc00000001:4";
        let ok = roundtrip(update, TRACK);
        assert_eq!(ok.info, b"Rows matched: 1  Changed: 1  Warnings: 0");
        assert_eq!(ok.session_state.len(), 0x2A);
        roundtrip(b"\0\0\0\x02\x40\0\0\0\x0e\x05\x09\x08________\x04\x01\0", TRACK);
        roundtrip(b"\0\0\0\0\x40\0\0\0\x11\0\x0f\x0aautocommit\x03OFF", TRACK);
        roundtrip(
            b"\0\x01\0\x22\0\0\0\x28Rows matched: 1  Changed: 1  Warnings: 0",
            Capabilities::NONE,
        );
    }

    #[test]
    fn text_has_a_length_with_and_without_tracking() {
        let payload = b"\0\x01\0\x02\0\0\0\x28Rows matched: 1  Changed: 1  Warnings: 0";
        for caps in [TRACK, Capabilities::NONE] {
            assert_eq!(roundtrip(payload, caps).info, b"Rows matched: 1  Changed: 1  Warnings: 0");
        }
        let as_documented = b"\0\x01\0\x02\0\0\0Rows matched: 1";
        let ok = OkPacket::decode(as_documented, Capabilities::NONE).unwrap();
        assert_eq!(ok.info, b"Rows matched: 1");
    }

    #[test]
    fn cut_short() {
        let payload = b"\0\0\0\x02\x40\0\0\x02hi\x07\x01\x05\x04test";
        for len in 0..payload.len() {
            // Whole fields may be absent at the end; part of one may not.
            let whole = len == 7 || len == 10;
            assert_eq!(OkPacket::decode(&payload[..len], TRACK).is_ok(), whole, "{len}");
        }
        assert!(OkPacket::decode(b"\x05hello there", TRACK).is_err());
    }

    proptest! {
        #[test]
        fn comes_back(
            affected_rows: u64,
            last_insert_id: u64,
            status: u16,
            warnings: u16,
            info in prop::collection::vec(any::<u8>(), 0..300),
            session_state in prop::collection::vec(any::<u8>(), 0..300),
            tracked: bool,
            eof: bool,
        ) {
            let caps = if tracked { TRACK } else { Capabilities::NONE };
            let status = StatusFlags(status);
            let state = tracked && status.has(StatusFlags::SESSION_STATE_CHANGED);
            let ok = OkPacket {
                affected_rows,
                last_insert_id,
                status,
                warnings,
                info: &info,
                session_state: if state { &session_state } else { &[] },
            };
            let header = if eof { OkPacket::HEADER_EOF } else { OkPacket::HEADER };
            let mut out = Vec::new();
            ok.encode(&mut out, header, caps);
            prop_assert_eq!(OkPacket::decode(&out, caps), Ok(ok));
        }

        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 1..60), tracked: bool) {
            bytes[0] = 0;
            let caps = if tracked { TRACK } else { Capabilities::NONE };
            let _ = OkPacket::decode(&bytes, caps);
        }
    }
}
