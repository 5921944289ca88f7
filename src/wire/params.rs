//! Parameters of the binary protocol, in COM_QUERY and COM_STMT_EXECUTE.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html#sect_protocol_binary_resultset_row_value>

use crate::wire::{Reader, WireError};

/// Parameters and query attributes of one command; a server refuses more as malformed.
pub const MAX_PARAMS: usize = 65_535;

/// Whether parameter `at` is NULL.
#[must_use]
pub fn is_null(null_bitmap: &[u8], at: usize) -> bool {
    null_bitmap.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

/// Bytes of the NULL bitmap of `count` parameters.
#[must_use]
pub const fn null_bitmap_len(count: usize) -> usize {
    count.div_ceil(8)
}

/// Reads the type section of `count` parameters: two bytes each (type, and a flag for unsigned),
/// followed by the name when `named`.
pub fn take_types<'a>(
    r: &mut Reader<'a>,
    count: usize,
    named: bool,
) -> Result<&'a [u8], WireError> {
    let start = r.position();
    for _ in 0..count {
        r.take(2, "type of a parameter")?;
        if named {
            r.lenenc_bytes("name of a parameter")?;
        }
    }
    Ok(r.since(start))
}

/// Reads one value of that type (`MYSQL_TYPE_…`).
///
/// # Errors
/// [`WireError::Invalid`] for a type of which clients and servers disagree how long its values
/// are (YEAR, INT24, NULL without its bit, BOOL), and for unknown ones: drivers do not send them,
/// and a wrong guess would misplace all that follows.
pub fn take_value<'a>(r: &mut Reader<'a>, kind: u8) -> Result<&'a [u8], WireError> {
    const WHAT: &str = "value of a parameter";
    match kind {
        // TINY
        1 => r.take(1, WHAT),
        // SHORT
        2 => r.take(2, WHAT),
        // LONG, FLOAT
        3 | 4 => r.take(4, WHAT),
        // DOUBLE, LONGLONG
        5 | 8 => r.take(8, WHAT),
        // TIMESTAMP, DATE, TIME, DATETIME
        7 | 10 | 11 | 12 => r.lenenc_bytes(WHAT),
        // DECIMAL, VARCHAR, BIT, VECTOR, JSON, NEWDECIMAL, ENUM, SET, blobs, strings, GEOMETRY
        0 | 15 | 16 | 242 | 245..=255 => r.lenenc_bytes(WHAT),
        other => Err(WireError::Invalid { what: "type of a parameter", value: u64::from(other) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let check = |kind: u8, bytes: &[u8], taken: usize| {
            let mut r = Reader::new(bytes);
            take_value(&mut r, kind).unwrap();
            assert_eq!(r.position(), taken, "type {kind}");
            for len in 0..taken {
                assert!(take_value(&mut Reader::new(&bytes[..len]), kind).is_err());
            }
        };
        check(1, &[0; 9], 1);
        check(2, &[0; 9], 2);
        check(3, &[0; 9], 4);
        check(4, &[0; 9], 4);
        check(5, &[0; 9], 8);
        check(8, &[0; 9], 8);
        check(12, b"\x07\xda\x07\x0a\x11\x13\x1b\x1e", 8);
        check(11, b"\x00", 1);
        check(253, b"\xFC\x02\x00hi", 5);
        check(246, b"\x031.5", 4);
        for unknown in [6, 9, 13, 20, 241, 243, 244] {
            assert!(take_value(&mut Reader::new(&[0; 9]), unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn null_bits() {
        assert!(is_null(&[0b10], 1) && !is_null(&[0b10], 0));
        assert!(is_null(&[0, 1], 8) && !is_null(&[0, 1], 80));
        assert_eq!((null_bitmap_len(0), null_bitmap_len(8), null_bitmap_len(9)), (0, 1, 2));
    }
}
