//! COM_FIELD_LIST. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_field_list.html>

use crate::wire::{Command, PutExt, Reader, WireError};

/// Asks for the columns of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldList<'a> {
    pub table: &'a [u8],
    /// Pattern of the columns' names, as of LIKE; empty for all.
    pub wildcard: &'a [u8],
}

impl<'a> FieldList<'a> {
    /// Reads the payload after its command byte.
    pub fn decode(after_command: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(after_command);
        Ok(Self { table: r.null_str("name of a table")?, wildcard: r.rest() })
    }

    /// Appends the payload, command byte and all.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(Command::FieldList.byte());
        out.put_null_str(self.table);
        out.extend_from_slice(self.wildcard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal() {
        let bytes = b"\x04people\0na%";
        let list = FieldList { table: b"people", wildcard: b"na%" };
        let mut out = Vec::new();
        list.encode(&mut out);
        assert_eq!(out, bytes);
        assert_eq!(FieldList::decode(&bytes[1..]), Ok(list));
        for len in 0..bytes.len() - 1 {
            let decoded = FieldList::decode(&bytes[1..1 + len]);
            let expected = len.checked_sub(b"people\0".len());
            let expected = expected.map(|len| FieldList { wildcard: &b"na%"[..len], ..list });
            assert_eq!(decoded.ok(), expected, "{len}");
        }
    }
}
