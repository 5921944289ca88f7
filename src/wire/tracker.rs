//! Session state in OK packets.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html#sect_protocol_basic_ok_packet_sessinfo>

use crate::wire::{Reader, WireError};

/// One thing that changed in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// A variable of `session_track_system_variables` was assigned.
    Variable { name: &'a [u8], value: &'a [u8] },
    /// The default database; empty for none.
    Schema(&'a [u8]),
    /// Something of the session changed (`session_track_state_change`), as "1" or "0" says.
    StateChanged(bool),
    /// GTIDs of the transaction (`session_track_gtids`), as text.
    Gtids(&'a [u8]),
    /// Statements that start the transaction again elsewhere (`session_track_transaction_info`).
    TransactionCharacteristics(&'a [u8]),
    /// Eight letters on the transaction, "T_______".
    TransactionState(&'a [u8]),
    /// A kind that this code does not know, with its data.
    Unknown { kind: u8, data: &'a [u8] },
}

/// Walks a session-state block, as [`OkPacket::session_state`](crate::wire::OkPacket) has it.
///
/// Every item comes with the raw bytes of its entry (kind, length, data), so that a block with
/// some entries left out can be put together again. An entry may hold several variables: its raw
/// bytes come with the first of them, and the others have none. After an error the walk ends.
#[derive(Debug, Clone)]
pub struct Changes<'a> {
    block: Reader<'a>,
    /// More variables of the entry last read.
    variables: Reader<'a>,
}

impl<'a> Changes<'a> {
    /// Starts at the front of the block.
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        Self { block: Reader::new(block), variables: Reader::new(&[]) }
    }

    fn entry(&mut self) -> Result<(Change<'a>, &'a [u8]), WireError> {
        let start = self.block.position();
        let kind = self.block.u8("kind of session state")?;
        let data = self.block.lenenc_bytes("session state entry")?;
        let raw = self.block.since(start);
        let mut r = Reader::new(data);
        let change = match kind {
            KIND_VARIABLE => {
                self.variables = r;
                self.variable()?
            }
            KIND_SCHEMA => Change::Schema(r.lenenc_bytes("schema")?),
            // One character without a length of its own, whatever the protocol page says.
            KIND_STATE => Change::StateChanged(r.rest().last() == Some(&b'1')),
            KIND_GTIDS => {
                // The way in which the GTIDs are written; 0, text, is the only one.
                match r.u8("encoding of GTIDs")? {
                    0 => Change::Gtids(r.lenenc_bytes("GTIDs")?),
                    _ => Change::Unknown { kind, data },
                }
            }
            KIND_CHARACTERISTICS => {
                Change::TransactionCharacteristics(r.lenenc_bytes("transaction characteristics")?)
            }
            KIND_TRANSACTION => Change::TransactionState(r.lenenc_bytes("transaction state")?),
            _ => Change::Unknown { kind, data },
        };
        Ok((change, raw))
    }

    fn variable(&mut self) -> Result<Change<'a>, WireError> {
        let name = self.variables.lenenc_bytes("name of a variable")?;
        let value = self.variables.lenenc_bytes("value of a variable")?;
        Ok(Change::Variable { name, value })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<(Change<'a>, &'a [u8]), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = if !self.variables.is_empty() {
            let no_bytes: &'a [u8] = &[];
            self.variable().map(|change| (change, no_bytes))
        } else if !self.block.is_empty() {
            self.entry()
        } else {
            return None;
        };
        if item.is_err() {
            *self = Self::new(&[]);
        }
        Some(item)
    }
}

const KIND_VARIABLE: u8 = 0;
const KIND_SCHEMA: u8 = 1;
const KIND_STATE: u8 = 2;
const KIND_GTIDS: u8 = 3;
const KIND_CHARACTERISTICS: u8 = 4;
const KIND_TRANSACTION: u8 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes(block: &[u8]) -> Vec<Change<'_>> {
        Changes::new(block).map(|item| item.unwrap().0).collect()
    }

    #[test]
    fn every_kind() {
        let block = b"\x00\x0f\x0aautocommit\x03OFF\
            \x01\x05\x04test\
            \x02\x011\
            \x03\x05\x00\x03u:1\
            \x04\x13\x12START TRANSACTION;\
            \x05\x09\x08T_______\
            \x63\x02hi";
        assert_eq!(
            changes(block),
            [
                Change::Variable { name: b"autocommit", value: b"OFF" },
                Change::Schema(b"test"),
                Change::StateChanged(true),
                Change::Gtids(b"u:1"),
                Change::TransactionCharacteristics(b"START TRANSACTION;"),
                Change::TransactionState(b"T_______"),
                Change::Unknown { kind: 0x63, data: b"hi" },
            ]
        );
        let raw: Vec<u8> = Changes::new(block).flat_map(|item| item.unwrap().1.to_vec()).collect();
        assert_eq!(raw, block, "the raw entries together are the block");
    }

    /// SET NAMES latin1 on MySQL 9.7.4: an entry for each variable.
    #[test]
    fn captured_from_mysql_9() {
        let block = b"\0\x1c\x14character_set_client\x06latin1\
            \0\x20\x18character_set_connection\x06latin1\
            \0\x1d\x15character_set_results\x06latin1\x02\x011";
        let got = changes(&block[..block.len() - 3]);
        assert_eq!(got.len(), 3);
        assert_eq!(got[0], Change::Variable { name: b"character_set_client", value: b"latin1" });
        assert_eq!(got[2], Change::Variable { name: b"character_set_results", value: b"latin1" });
    }

    #[test]
    fn several_variables_in_one_entry() {
        let block = b"\x00\x08\x01a\x011\x01b\x012\x01\x01\x00";
        let items: Vec<_> = Changes::new(block).map(Result::unwrap).collect();
        assert_eq!(
            items,
            [
                (Change::Variable { name: b"a", value: b"1" }, &block[..10]),
                (Change::Variable { name: b"b", value: b"2" }, &b""[..]),
                (Change::Schema(b""), &block[10..]),
            ]
        );
    }

    #[test]
    fn an_unknown_way_to_write_gtids_is_kept() {
        assert_eq!(changes(b"\x03\x02\x01\x07"), [Change::Unknown { kind: 3, data: b"\x01\x07" }]);
    }

    #[test]
    fn cut_short() {
        let block = b"\x00\x08\x01a\x011\x01b\x012";
        for len in 1..block.len() {
            let items: Vec<_> = Changes::new(&block[..len]).collect();
            assert_eq!(items.len(), 1);
            assert!(items[0].is_err(), "{len}");
        }
        let half_a_pair: Vec<_> = Changes::new(b"\x00\x06\x01a\x011\x01b").collect();
        assert!(half_a_pair[0].is_ok() && half_a_pair[1].is_err());
        assert_eq!(half_a_pair.len(), 2);
    }

    /// Each kind of entry, cut at every length: of the block, and of the entry with a length that fits.
    #[test]
    fn every_kind_cut_short() {
        for (entry, least) in [
            (&b"\x00\x0f\x0aautocommit\x03OFF"[..], 15),
            (b"\x01\x05\x04test", 5),
            (b"\x02\x011", 0),
            (b"\x03\x05\x00\x03u:1", 5),
            (b"\x04\x13\x12START TRANSACTION;", 19),
            (b"\x05\x09\x08T_______", 9),
            (b"\x63\x02hi", 0),
        ] {
            for len in 1..entry.len() {
                let items: Vec<_> = Changes::new(&entry[..len]).collect();
                assert!(matches!(items[..], [Err(_)]), "{len} of {entry:?}: {items:?}");
            }
            for len in 0..entry.len() - 2 {
                let short = [&[entry[0], u8::try_from(len).unwrap()], &entry[2..2 + len]].concat();
                let items: Vec<_> = Changes::new(&short).collect();
                assert_eq!(items.len(), 1, "{len} of {entry:?}: {items:?}");
                assert_eq!(items[0].is_ok(), len >= least, "{len} of {entry:?}: {items:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(0u8..12, 0..60)) {
            prop_assert!(Changes::new(&bytes).count() <= bytes.len());
        }
    }
}
