//! Column definition.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_column_definition.html>

use crate::wire::{PutExt, Reader, WireError};

/// `MYSQL_TYPE_LONGLONG`
pub const TYPE_LONGLONG: u8 = 8;
/// `MYSQL_TYPE_VAR_STRING`
pub const TYPE_VAR_STRING: u8 = 253;
/// `NOT_NULL_FLAG`
pub const FLAG_NOT_NULL: u16 = 1;
/// `UNSIGNED_FLAG`
pub const FLAG_UNSIGNED: u16 = 32;
/// `BINARY_FLAG`
pub const FLAG_BINARY: u16 = 128;
/// Collation id of numbers and bytes.
pub const COLLATION_BINARY: u16 = 63;
/// Collation id of `utf8mb4_general_ci`, the one that every server with utf8mb4 has.
pub const COLLATION_UTF8MB4: u16 = 45;

/// Name and type of one column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    pub schema: Vec<u8>,
    /// Alias of the table.
    pub table: Vec<u8>,
    pub org_table: Vec<u8>,
    /// Alias of the column.
    pub name: Vec<u8>,
    pub org_name: Vec<u8>,
    /// Collation id of the column's text.
    pub collation: u16,
    /// Largest width, bytes for text and digits for numbers.
    pub length: u32,
    /// `MYSQL_TYPE_…`
    pub kind: u8,
    /// `NOT_NULL_FLAG` and so on.
    pub flags: u16,
    /// Digits behind the point; 31 for those that float.
    pub decimals: u8,
}

impl ColumnDefinition {
    /// A nullable VARCHAR column of utf8mb4, up to 65,535 bytes, that belongs to no table.
    pub fn text(name: impl Into<Vec<u8>>) -> Self {
        Self {
            collation: COLLATION_UTF8MB4,
            length: 65_535,
            kind: TYPE_VAR_STRING,
            decimals: 31,
            ..Self::bigint(name)
        }
        .with_flags(0)
    }

    /// A BIGINT UNSIGNED NOT NULL column that belongs to no table.
    pub fn bigint(name: impl Into<Vec<u8>>) -> Self {
        Self {
            schema: Vec::new(),
            table: Vec::new(),
            org_table: Vec::new(),
            name: name.into(),
            org_name: Vec::new(),
            collation: COLLATION_BINARY,
            length: 21,
            kind: TYPE_LONGLONG,
            flags: FLAG_NOT_NULL | FLAG_UNSIGNED | FLAG_BINARY,
            decimals: 0,
        }
    }

    /// The same column with other flags.
    #[must_use]
    pub fn with_flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    /// Reads the payload. What may follow the known fields (the default value that
    /// COM_FIELD_LIST gives) is not kept.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        r.lenenc_bytes("catalog")?;
        let schema = r.lenenc_bytes("schema")?.to_vec();
        let table = r.lenenc_bytes("table")?.to_vec();
        let org_table = r.lenenc_bytes("original table")?.to_vec();
        let name = r.lenenc_bytes("column name")?.to_vec();
        let org_name = r.lenenc_bytes("original column name")?.to_vec();
        let mut fixed = Reader::new(r.lenenc_bytes("column fields")?);
        Ok(Self {
            schema,
            table,
            org_table,
            name,
            org_name,
            collation: fixed.u16("collation")?,
            length: fixed.u32("column length")?,
            kind: fixed.u8("column type")?,
            flags: fixed.u16("column flags")?,
            decimals: fixed.u8("decimals")?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_lenenc_bytes(b"def");
        out.put_lenenc_bytes(&self.schema);
        out.put_lenenc_bytes(&self.table);
        out.put_lenenc_bytes(&self.org_table);
        out.put_lenenc_bytes(&self.name);
        out.put_lenenc_bytes(&self.org_name);
        // Bytes of the fields that follow.
        out.put_u8(12);
        out.put_u16(self.collation);
        out.put_u32(self.length);
        out.put_u8(self.kind);
        out.put_u16(self.flags);
        out.put_u8(self.decimals);
        out.put_zeros(2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `SELECT 1` on MySQL 8: a column of `def`, no table, LONGLONG.
    const ONE: &[u8] = b"\x03def\0\0\0\x011\0\x0c\x3f\0\x02\0\0\0\x08\x81\0\0\0\0";

    #[test]
    fn literal() {
        let column = ColumnDefinition::decode(ONE).unwrap();
        assert_eq!(
            column,
            ColumnDefinition { length: 2, ..ColumnDefinition::bigint("1") }
                .with_flags(FLAG_NOT_NULL | FLAG_BINARY)
        );
        let mut out = Vec::new();
        column.encode(&mut out);
        assert_eq!(out, ONE);
        for len in 0..ONE.len() - 2 {
            assert!(ColumnDefinition::decode(&ONE[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn constructors() {
        let text = ColumnDefinition::text("t");
        assert_eq!((text.kind, text.collation, text.flags), (253, 45, 0));
        let number = ColumnDefinition::bigint("n");
        assert_eq!((number.kind, number.collation, number.flags), (8, 63, 161));
    }

    proptest! {
        #[test]
        fn comes_back(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 5),
            collation: u16,
            length: u32,
            kind: u8,
            flags: u16,
            decimals: u8,
        ) {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().unwrap();
            let column = ColumnDefinition {
                schema: next(),
                table: next(),
                org_table: next(),
                name: next(),
                org_name: next(),
                collation,
                length,
                kind,
                flags,
                decimals,
            };
            let mut out = Vec::new();
            column.encode(&mut out);
            prop_assert_eq!(ColumnDefinition::decode(&out), Ok(column));
        }
    }
}
