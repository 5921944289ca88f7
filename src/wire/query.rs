//! COM_QUERY. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html>

use crate::wire::params::{MAX_PARAMS, is_null, null_bitmap_len, take_types, take_value};
use crate::wire::{Capabilities, Command, PutExt, Reader, WireError};

/// A statement in text, and what was sent along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryCommand<'a> {
    /// Query attributes as sent, with their counts; empty without QUERY_ATTRIBUTES.
    pub attributes: &'a [u8],
    pub sql: &'a [u8],
}

impl<'a> QueryCommand<'a> {
    /// Reads the payload after its command byte.
    ///
    /// # Errors
    /// When the attributes cannot be walked: then it is not known where the statement begins.
    pub fn decode(after_command: &'a [u8], caps: Capabilities) -> Result<Self, WireError> {
        let mut r = Reader::new(after_command);
        if caps.has(Capabilities::QUERY_ATTRIBUTES) {
            skip_attributes(&mut r)?;
        }
        Ok(Self { attributes: r.since(0), sql: r.rest() })
    }
}

/// Appends the payload, command byte and all, of a statement without attributes.
pub fn encode_query(out: &mut Vec<u8>, caps: Capabilities, sql: &[u8]) {
    out.put_u8(Command::Query.byte());
    if caps.has(Capabilities::QUERY_ATTRIBUTES) {
        // No parameters, in one set.
        out.extend_from_slice(&[0, 1]);
    }
    out.extend_from_slice(sql);
}

fn skip_attributes(r: &mut Reader<'_>) -> Result<(), WireError> {
    let count = r.lenenc_usize("number of query attributes")?;
    let sets = r.lenenc_int("number of attribute sets")?;
    if sets != 1 {
        return Err(WireError::Invalid { what: "number of attribute sets", value: sets });
    }
    if count > MAX_PARAMS {
        let value = u64::try_from(count).unwrap_or(u64::MAX);
        return Err(WireError::Invalid { what: "number of query attributes", value });
    }
    if count == 0 {
        return Ok(());
    }
    let null_bitmap = r.take(null_bitmap_len(count), "NULL bitmap")?;
    if r.u8("new-types flag")? == 0 {
        return Err(WireError::Invalid { what: "new-types flag", value: 0 });
    }
    let types = take_types(r, count, true)?;
    let mut types = Reader::new(types);
    for at in 0..count {
        let kind = types.u8("type of a parameter")?;
        let sign = types.u8("sign of a parameter")?;
        // The server takes the low 15 bits as the type and knows none above 255.
        if sign & 0x7F != 0 {
            return Err(WireError::Invalid { what: "type of a parameter", value: u64::from(sign) });
        }
        types.lenenc_bytes("name of a parameter")?;
        if !is_null(null_bitmap, at) {
            take_value(r, kind)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;

    #[test]
    fn plain() {
        let query = QueryCommand::decode(b"SELECT 1", Capabilities::NONE).unwrap();
        assert_eq!((query.attributes, query.sql), (&b""[..], &b"SELECT 1"[..]));
        let query = QueryCommand::decode(b"\x00\x01SELECT 1", ATTRIBUTES).unwrap();
        assert_eq!((query.attributes, query.sql), (&b"\x00\x01"[..], &b"SELECT 1"[..]));
    }

    /// Three attributes: a text, a NULL, a LONGLONG.
    const THREE: &[u8] = b"\x03\x01\x02\x01\
        \xfe\x00\x05trace\
        \x06\x00\x01n\
        \x08\x80\x02id\
        \x03abc\
        \x01\x00\x00\x00\x00\x00\x00\x00\
        SELECT 1";

    #[test]
    fn with_attributes() {
        let query = QueryCommand::decode(THREE, ATTRIBUTES).unwrap();
        assert_eq!(query.sql, b"SELECT 1");
        assert_eq!([query.attributes, query.sql].concat(), THREE);
        for len in 0..THREE.len() - query.sql.len() {
            assert!(QueryCommand::decode(&THREE[..len], ATTRIBUTES).is_err(), "{len}");
        }
    }

    #[test]
    fn what_servers_refuse() {
        let refused = |bytes: &[u8]| {
            assert!(QueryCommand::decode(bytes, ATTRIBUTES).is_err(), "{bytes:?}");
        };
        refused(b"\x00\x02SELECT 1");
        refused(b"\xFD\x00\x00\x01\x01SELECT 1");
        refused(b"\x01\x01\x00\x00SELECT 1");
        refused(b"\x01\x01\x00\x01\x08\x01\x00SELECT 1, 2, 3");
        refused(b"\x01\x01\x00\x01\x0d\x00\x00SELECT 1, 2, 3");
    }

    #[test]
    fn encoded() {
        let mut out = Vec::new();
        encode_query(&mut out, Capabilities::NONE, b"DO 1");
        assert_eq!(out, b"\x03DO 1");
        out.clear();
        encode_query(&mut out, ATTRIBUTES, b"DO 1");
        assert_eq!(out, b"\x03\x00\x01DO 1");
        assert_eq!(QueryCommand::decode(&out[1..], ATTRIBUTES).unwrap().sql, b"DO 1");
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 2..80), count in 0u8..5) {
            bytes[0] = count;
            bytes[1] = 1;
            if let Ok(query) = QueryCommand::decode(&bytes, ATTRIBUTES) {
                prop_assert_eq!([query.attributes, query.sql].concat(), bytes);
            }
        }
    }
}
