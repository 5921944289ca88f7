//! Small results that Weir answers by itself.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html>
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html>

use crate::wire::column::{FLAG_UNSIGNED, TYPE_LONGLONG};
use crate::wire::{
    Capabilities, ColumnDefinition, EofPacket, OkPacket, PutExt, StatusFlags, WireError, frame_with,
};

/// One row: a value a column, as text, `None` for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// Appends a whole answer to COM_QUERY, packets and all; `seq` is that of the first packet and
/// afterwards that of the next.
pub fn encode_text_result(
    out: &mut Vec<u8>,
    seq: &mut u8,
    caps: Capabilities,
    status: StatusFlags,
    columns: &[ColumnDefinition],
    rows: &[Row],
) {
    encode_columns(out, seq, caps, status, columns);
    for row in rows {
        frame_with(out, seq, |buf| {
            for value in row {
                match value {
                    Some(value) => buf.put_lenenc_bytes(value),
                    None => buf.put_u8(NULL),
                }
            }
        });
    }
    encode_end(out, seq, caps, status);
}

/// Appends a whole answer to COM_STMT_EXECUTE. Values are given as text here too; those of
/// LONGLONG columns become eight bytes, all others go as they are (so a column must be LONGLONG,
/// VAR_STRING or another type that is sent as text).
///
/// # Errors
/// When a value of a LONGLONG column is not a whole number of 64 bits; `out` is then as it was.
pub fn encode_binary_result(
    out: &mut Vec<u8>,
    seq: &mut u8,
    caps: Capabilities,
    status: StatusFlags,
    columns: &[ColumnDefinition],
    rows: &[Row],
) -> Result<(), WireError> {
    let rows: Vec<Vec<u8>> =
        rows.iter().map(|row| binary_row(columns, row)).collect::<Result<_, _>>()?;
    encode_columns(out, seq, caps, status, columns);
    for row in rows {
        frame_with(out, seq, |buf| buf.extend_from_slice(&row));
    }
    encode_end(out, seq, caps, status);
    Ok(())
}

fn encode_columns(
    out: &mut Vec<u8>,
    seq: &mut u8,
    caps: Capabilities,
    status: StatusFlags,
    columns: &[ColumnDefinition],
) {
    frame_with(out, seq, |buf| {
        buf.put_lenenc_int(u64::try_from(columns.len()).unwrap_or(u64::MAX));
        // The protocol page puts the flag before the count; servers and clients do not.
        if caps.has(Capabilities::OPTIONAL_RESULTSET_METADATA) {
            buf.put_u8(METADATA_FULL);
        }
    });
    for column in columns {
        frame_with(out, seq, |buf| column.encode(buf));
    }
    if !caps.has(Capabilities::DEPRECATE_EOF) {
        frame_with(out, seq, |buf| EofPacket { warnings: 0, status }.encode(buf));
    }
}

fn encode_end(out: &mut Vec<u8>, seq: &mut u8, caps: Capabilities, status: StatusFlags) {
    // No session state comes with these answers.
    let status = status.without(StatusFlags::SESSION_STATE_CHANGED);
    frame_with(out, seq, |buf| {
        if caps.has(Capabilities::DEPRECATE_EOF) {
            let ok = OkPacket { status, ..OkPacket::default() };
            ok.encode(buf, OkPacket::HEADER_EOF, caps);
        } else {
            EofPacket { warnings: 0, status }.encode(buf);
        }
    });
}

fn binary_row(columns: &[ColumnDefinition], row: &Row) -> Result<Vec<u8>, WireError> {
    let mut bitmap = vec![0u8; (columns.len() + NULL_BITMAP_OFFSET).div_ceil(8)];
    let mut values = Vec::new();
    for (at, (column, value)) in columns.iter().zip(row).enumerate() {
        match value {
            None => set_bit(&mut bitmap, at + NULL_BITMAP_OFFSET),
            Some(digits) if column.kind == TYPE_LONGLONG => {
                values.extend_from_slice(&longlong(digits, column.flags & FLAG_UNSIGNED != 0)?);
            }
            Some(text) => values.put_lenenc_bytes(text),
        }
    }
    let mut payload = vec![0];
    payload.append(&mut bitmap);
    payload.append(&mut values);
    Ok(payload)
}

fn longlong(digits: &[u8], unsigned: bool) -> Result<[u8; 8], WireError> {
    let number = std::str::from_utf8(digits).ok().and_then(|text| {
        if unsigned {
            text.parse().ok().map(u64::to_le_bytes)
        } else {
            text.parse().ok().map(i64::to_le_bytes)
        }
    });
    number.ok_or_else(|| {
        let value = u64::from(digits.first().copied().unwrap_or_default());
        WireError::Invalid { what: "value of a number column", value }
    })
}

fn set_bit(bitmap: &mut [u8], at: usize) {
    if let Some(byte) = bitmap.get_mut(at / 8) {
        *byte |= 1 << (at % 8);
    }
}

/// NULL in a row of text.
const NULL: u8 = 0xFB;
/// Column definitions follow.
const METADATA_FULL: u8 = 1;
/// Rows of the binary protocol leave the first two bits of their NULL bitmap unused.
const NULL_BITMAP_OFFSET: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Header;

    fn columns() -> Vec<ColumnDefinition> {
        vec![ColumnDefinition::bigint("id"), ColumnDefinition::text("name")]
    }

    fn rows() -> Vec<Row> {
        vec![vec![Some(b"258".to_vec()), Some(b"hi".to_vec())], vec![Some(b"7".to_vec()), None]]
    }

    /// Payloads, checking that sequence numbers count up from 1.
    fn payloads(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut payloads = Vec::new();
        let mut seq = 1;
        while let Some(header) = Header::parse(bytes) {
            assert_eq!(header.seq, seq);
            payloads.push(&bytes[4..4 + header.len]);
            bytes = &bytes[4 + header.len..];
            seq += 1;
        }
        payloads
    }

    fn text(caps: Capabilities) -> Vec<u8> {
        let mut out = Vec::new();
        let mut seq = 1;
        let status = StatusFlags::AUTOCOMMIT | StatusFlags::SESSION_STATE_CHANGED;
        encode_text_result(&mut out, &mut seq, caps, status, &columns(), &rows());
        assert_eq!(usize::from(seq), payloads(&out).len() + 1);
        out
    }

    #[test]
    fn old_style() {
        let out = text(Capabilities::NONE);
        let payloads = payloads(&out);
        assert_eq!(payloads[0], [2]);
        assert_eq!(ColumnDefinition::decode(payloads[1]).as_ref(), Ok(&columns()[0]));
        assert_eq!(ColumnDefinition::decode(payloads[2]).as_ref(), Ok(&columns()[1]));
        assert!(EofPacket::is(payloads[3]));
        assert_eq!(payloads[4], b"\x03258\x02hi");
        assert_eq!(payloads[5], b"\x017\xFB");
        assert_eq!(payloads[6], [0xFE, 0, 0, 2, 0], "no session state is announced");
        assert_eq!(payloads.len(), 7);
    }

    #[test]
    fn new_style() {
        let caps = Capabilities::DEPRECATE_EOF
            | Capabilities::OPTIONAL_RESULTSET_METADATA
            | Capabilities::SESSION_TRACK;
        let out = text(caps);
        let payloads = payloads(&out);
        assert_eq!(payloads[0], [2, 1], "the count, then the metadata flag");
        assert_eq!(payloads[5], [0xFE, 0, 0, 2, 0, 0, 0]);
        assert_eq!(payloads.len(), 6);
    }

    #[test]
    fn binary() {
        let mut out = Vec::new();
        let mut seq = 1;
        let caps = Capabilities::DEPRECATE_EOF;
        let status = StatusFlags::AUTOCOMMIT;
        encode_binary_result(&mut out, &mut seq, caps, status, &columns(), &rows()).unwrap();
        let payloads = payloads(&out);
        assert_eq!(payloads[3], b"\0\0\x02\x01\0\0\0\0\0\0\x02hi");
        assert_eq!(payloads[4], b"\0\x08\x07\0\0\0\0\0\0\0");
        assert_eq!(payloads.len(), 6);
    }

    #[test]
    fn binary_needs_numbers() {
        let mut out = vec![9];
        let mut seq = 1;
        let rows = [vec![Some(b"x".to_vec()), None]];
        let caps = Capabilities::NONE;
        let result =
            encode_binary_result(&mut out, &mut seq, caps, StatusFlags::NONE, &columns(), &rows);
        assert!(result.is_err());
        assert_eq!((out, seq), (vec![9], 1));
    }

    #[test]
    fn signed_numbers() {
        assert_eq!(longlong(b"-1", false), Ok([0xFF; 8]));
        assert!(longlong(b"-1", true).is_err());
        assert_eq!(longlong(b"18446744073709551615", true), Ok([0xFF; 8]));
    }
}
