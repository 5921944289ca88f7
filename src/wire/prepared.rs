//! Prepared statements: the answer to COM_STMT_PREPARE, and the other COM_STMT commands.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase_ps.html>

use crate::wire::params::{MAX_PARAMS, null_bitmap_len, take_types};
use crate::wire::{Capabilities, Command, PutExt, Reader, WireError};

/// First packet of the answer to COM_STMT_PREPARE; parameter and column definitions follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareOk {
    pub statement_id: u32,
    pub columns: u16,
    pub params: u16,
    pub warnings: u16,
    /// 0 or 1 with OPTIONAL_RESULTSET_METADATA: whether the definitions follow; else `None`.
    pub metadata_follows: Option<u8>,
}

impl PrepareOk {
    /// Its first byte.
    pub const HEADER: u8 = 0x00;

    /// Reads the payload.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        let header = r.u8("PREPARE header")?;
        if header != Self::HEADER {
            return Err(WireError::Invalid { what: "PREPARE header", value: u64::from(header) });
        }
        let statement_id = r.u32("statement id")?;
        let columns = r.u16("number of columns")?;
        let params = r.u16("number of parameters")?;
        r.u8("filler")?;
        // Servers before 5.0 end here.
        let warnings = if r.is_empty() { 0 } else { r.u16("warning count")? };
        let metadata_follows = if r.is_empty() { None } else { Some(r.u8("metadata flag")?) };
        Ok(Self { statement_id, columns, params, warnings, metadata_follows })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(Self::HEADER);
        out.put_u32(self.statement_id);
        out.put_u16(self.columns);
        out.put_u16(self.params);
        out.put_u8(0);
        out.put_u16(self.warnings);
        if let Some(flag) = self.metadata_follows {
            out.put_u8(flag);
        }
    }
}

/// COM_STMT_EXECUTE up to the values.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecuteHeader<'a> {
    pub statement_id: u32,
    /// Cursor type, and [`ExecuteHeader::PARAMETER_COUNT_AVAILABLE`].
    pub flags: u8,
    /// Always 1.
    pub iterations: u32,
    pub params: ExecuteParams<'a>,
}

/// The parameters of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecuteParams<'a> {
    /// How many, query attributes included.
    pub count: usize,
    /// Whether the count stands in the packet (QUERY_ATTRIBUTES).
    pub counted: bool,
    pub null_bitmap: &'a [u8],
    /// Whether `types` were sent; if not, those of the previous execution hold.
    pub new_types: bool,
    /// Types as sent, with names when QUERY_ATTRIBUTES was agreed.
    pub types: &'a [u8],
    /// Values as sent; NULLs and long data have none.
    pub values: &'a [u8],
}

impl<'a> ExecuteHeader<'a> {
    /// Flag: a read-only cursor is to be opened.
    pub const CURSOR_TYPE_READ_ONLY: u8 = 1;
    /// Flag: the packet says how many parameters it has, even when the statement has none.
    pub const PARAMETER_COUNT_AVAILABLE: u8 = 8;

    /// Whether the execution wants a cursor.
    #[must_use]
    pub const fn wants_cursor(&self) -> bool {
        // The cursor types are the three low bits; none of them means no cursor.
        self.flags & 0b111 != 0
    }

    /// Reads the payload after its command byte; `num_params` is what PREPARE said.
    pub fn decode(
        after_command: &'a [u8],
        caps: Capabilities,
        num_params: u16,
    ) -> Result<Self, WireError> {
        let mut r = Reader::new(after_command);
        let statement_id = r.u32("statement id")?;
        let flags = r.u8("execute flags")?;
        let iterations = r.u32("iteration count")?;
        let attributes = caps.has(Capabilities::QUERY_ATTRIBUTES);
        let counted =
            attributes && (num_params > 0 || flags & Self::PARAMETER_COUNT_AVAILABLE != 0);
        let count =
            if counted { r.lenenc_usize("number of parameters")? } else { usize::from(num_params) };
        if count > MAX_PARAMS {
            let value = u64::try_from(count).unwrap_or(u64::MAX);
            return Err(WireError::Invalid { what: "number of parameters", value });
        }
        let mut params = ExecuteParams { count, counted, ..ExecuteParams::default() };
        if count > 0 {
            params.null_bitmap = r.take(null_bitmap_len(count), "NULL bitmap")?;
            params.new_types = r.u8("new-types flag")? != 0;
            if params.new_types {
                params.types = take_types(&mut r, count, attributes)?;
            }
            params.values = r.rest();
        }
        Ok(Self { statement_id, flags, iterations, params })
    }

    /// The statement id alone, of any COM_STMT command (all begin with it).
    pub fn statement_id(after_command: &[u8]) -> Result<u32, WireError> {
        Reader::new(after_command).u32("statement id")
    }
}

/// Appends a COM_STMT_EXECUTE payload, command byte and all, for another statement id, with
/// `types` sent anew.
///
/// A server remembers the types of a statement's last execution; on another connection they are
/// not known, so they must go along. `types` has the form of [`ExecuteParams::types`] and must be
/// of the same count and the same capabilities; it is not used when there are no parameters.
pub fn rebuild_execute(
    out: &mut Vec<u8>,
    statement_id: u32,
    parts: &ExecuteHeader<'_>,
    types: &[u8],
) {
    let ExecuteHeader { flags, iterations, params, .. } = parts;
    out.put_u8(Command::StmtExecute.byte());
    out.put_u32(statement_id);
    out.put_u8(*flags);
    out.put_u32(*iterations);
    if params.counted {
        out.put_lenenc_int(u64::try_from(params.count).unwrap_or(u64::MAX));
    }
    if params.count > 0 {
        out.extend_from_slice(params.null_bitmap);
        out.put_u8(1);
        out.extend_from_slice(types);
        out.extend_from_slice(params.values);
    }
}

/// COM_STMT_SEND_LONG_DATA: a piece of one parameter. It has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLongData<'a> {
    pub statement_id: u32,
    /// Counted from 0.
    pub parameter: u16,
    pub data: &'a [u8],
}

impl<'a> SendLongData<'a> {
    /// Reads the payload after its command byte.
    pub fn decode(after_command: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(after_command);
        let statement_id = r.u32("statement id")?;
        let parameter = r.u16("parameter number")?;
        Ok(Self { statement_id, parameter, data: r.rest() })
    }

    /// Appends the payload, command byte and all.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(Command::StmtSendLongData.byte());
        out.put_u32(self.statement_id);
        out.put_u16(self.parameter);
        out.extend_from_slice(self.data);
    }
}

/// COM_STMT_FETCH: more rows of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    pub statement_id: u32,
    pub rows: u32,
}

impl Fetch {
    /// Reads the payload after its command byte.
    pub fn decode(after_command: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(after_command);
        Ok(Self { statement_id: r.u32("statement id")?, rows: r.u32("number of rows")? })
    }

    /// Appends the payload, command byte and all.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(Command::StmtFetch.byte());
        out.put_u32(self.statement_id);
        out.put_u32(self.rows);
    }
}

/// Appends the payload of COM_STMT_CLOSE, which has no answer.
pub fn encode_close(out: &mut Vec<u8>, statement_id: u32) {
    out.put_u8(Command::StmtClose.byte());
    out.put_u32(statement_id);
}

/// Appends the payload of COM_STMT_RESET, which is answered by OK.
pub fn encode_reset(out: &mut Vec<u8>, statement_id: u32) {
    out.put_u8(Command::StmtReset.byte());
    out.put_u32(statement_id);
}

/// The statement id of a COM_STMT_CLOSE payload after its command byte.
pub fn decode_close(after_command: &[u8]) -> Result<u32, WireError> {
    ExecuteHeader::statement_id(after_command)
}

/// The statement id of a COM_STMT_RESET payload after its command byte.
pub fn decode_reset(after_command: &[u8]) -> Result<u32, WireError> {
    ExecuteHeader::statement_id(after_command)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;

    #[test]
    fn prepare_ok() {
        let bytes = [0, 1, 0, 0, 0, 1, 0, 2, 0, 0, 3, 0];
        let ok = PrepareOk {
            statement_id: 1,
            columns: 1,
            params: 2,
            warnings: 3,
            metadata_follows: None,
        };
        assert_eq!(PrepareOk::decode(&bytes), Ok(ok));
        let mut out = Vec::new();
        ok.encode(&mut out);
        assert_eq!(out, bytes);

        let with_flag = [&bytes[..], &[1]].concat();
        let ok = PrepareOk { metadata_follows: Some(1), ..ok };
        assert_eq!(PrepareOk::decode(&with_flag), Ok(ok));
        out.clear();
        ok.encode(&mut out);
        assert_eq!(out, with_flag);
        for len in 0..bytes.len() {
            assert_eq!(PrepareOk::decode(&bytes[..len]).is_ok(), len == 10, "{len}");
        }
        assert!(PrepareOk::decode(&[0xFF; 12]).is_err());
    }

    /// Statement 5, one parameter of the text "hi", types sent.
    const PLAIN: &[u8] = b"\x05\0\0\0\0\x01\0\0\0\0\x01\xfd\0\x02hi";
    /// The same with QUERY_ATTRIBUTES: a count, and the parameter's (empty) name.
    const COUNTED: &[u8] = b"\x05\0\0\0\x08\x01\0\0\0\x01\0\x01\xfd\0\0\x02hi";

    #[test]
    fn execute() {
        let execute = ExecuteHeader::decode(PLAIN, Capabilities::NONE, 1).unwrap();
        assert_eq!((execute.statement_id, execute.flags, execute.iterations), (5, 0, 1));
        let params = execute.params;
        assert_eq!((params.count, params.counted, params.new_types), (1, false, true));
        assert_eq!((params.types, params.values), (&b"\xfd\0"[..], &b"\x02hi"[..]));

        let execute = ExecuteHeader::decode(COUNTED, ATTRIBUTES, 1).unwrap();
        let params = execute.params;
        assert_eq!((params.count, params.counted, params.new_types), (1, true, true));
        assert_eq!((params.types, params.values), (&b"\xfd\0\0"[..], &b"\x02hi"[..]));
        assert!(!execute.wants_cursor());
        for len in 0..COUNTED.len() - 3 {
            assert!(ExecuteHeader::decode(&COUNTED[..len], ATTRIBUTES, 1).is_err(), "{len}");
        }
    }

    #[test]
    fn execute_without_parameters() {
        let bytes = b"\x05\0\0\0\x01\x01\0\0\0";
        for caps in [Capabilities::NONE, ATTRIBUTES] {
            let execute = ExecuteHeader::decode(bytes, caps, 0).unwrap();
            assert!(execute.wants_cursor());
            assert_eq!(execute.params, ExecuteParams::default());
        }
        let execute = ExecuteHeader::decode(b"\x05\0\0\0\x08\x01\0\0\0\0", ATTRIBUTES, 0).unwrap();
        assert_eq!(execute.params, ExecuteParams { counted: true, ..ExecuteParams::default() });
    }

    #[test]
    fn rebuilt_with_types() {
        for (bytes, caps) in [(PLAIN, Capabilities::NONE), (COUNTED, ATTRIBUTES)] {
            let whole = ExecuteHeader::decode(bytes, caps, 1).unwrap();
            // The second execution of a client: the same without types.
            let mut without = bytes.to_vec();
            let flag_at = bytes.len() - whole.params.values.len() - whole.params.types.len() - 1;
            without[flag_at] = 0;
            without.drain(flag_at + 1..flag_at + 1 + whole.params.types.len());
            let parts = ExecuteHeader::decode(&without, caps, 1).unwrap();
            assert!(!parts.params.new_types);
            assert_eq!(parts.params.values, whole.params.values);

            let mut out = Vec::new();
            rebuild_execute(&mut out, 5, &parts, whole.params.types);
            assert_eq!(out[0], 0x17);
            assert_eq!(&out[1..], bytes);
            out.clear();
            rebuild_execute(&mut out, 6, &whole, whole.params.types);
            assert_eq!(out[1], 6);
            assert_eq!(&out[2..], &bytes[1..]);
        }
    }

    /// Statement 5; an INT of 7, a NULL text, a BIGINT UNSIGNED of 9: the second bit of the bitmap is set.
    const THREE: &[u8] = b"\x05\0\0\0\0\x01\0\0\0\x02\x01\x03\0\xfd\0\x08\x80\
        \x07\0\0\0\x09\0\0\0\0\0\0\0";
    /// The same with QUERY_ATTRIBUTES and the names "", "b" and "cc".
    const THREE_NAMED: &[u8] = b"\x05\0\0\0\x08\x01\0\0\0\x03\x02\x01\
        \x03\0\0\xfd\0\x01b\x08\x80\x02cc\x07\0\0\0\x09\0\0\0\0\0\0\0";

    #[test]
    fn execute_with_several_parameters() {
        let values = b"\x07\0\0\0\x09\0\0\0\0\0\0\0";
        for (bytes, caps, types) in [
            (THREE, Capabilities::NONE, &b"\x03\0\xfd\0\x08\x80"[..]),
            (THREE_NAMED, ATTRIBUTES, b"\x03\0\0\xfd\0\x01b\x08\x80\x02cc"),
        ] {
            let execute = ExecuteHeader::decode(bytes, caps, 3).unwrap();
            let params = ExecuteParams {
                count: 3,
                counted: caps == ATTRIBUTES,
                null_bitmap: &[0b010],
                new_types: true,
                types,
                values,
            };
            assert_eq!(execute.params, params);
            let mut out = Vec::new();
            rebuild_execute(&mut out, 5, &execute, types);
            assert_eq!(out, [&[0x17], bytes].concat());
        }
    }

    /// Values have lengths that depend on their types: how many bytes are due there only the server can tell.
    #[test]
    fn executions_cut_at_every_length() {
        for (bytes, caps, params, values) in [
            (PLAIN, Capabilities::NONE, 1, 3),
            (COUNTED, ATTRIBUTES, 1, 3),
            (THREE, Capabilities::NONE, 3, 12),
            (THREE_NAMED, ATTRIBUTES, 3, 12),
            (b"\x05\0\0\0\0\x01\0\0\0", Capabilities::NONE, 0, 0),
        ] {
            for len in 0..=bytes.len() {
                let decoded = ExecuteHeader::decode(&bytes[..len], caps, params);
                assert_eq!(decoded.is_ok(), len >= bytes.len() - values, "{len} of {bytes:?}");
            }
        }
    }

    /// Nine parameters have a bitmap of two bytes.
    #[test]
    fn the_bitmap_has_a_bit_for_each_parameter() {
        let mut bytes = b"\x05\0\0\0\0\x01\0\0\0\xff\x01\x01".to_vec();
        bytes.extend(b"\x06\0".repeat(9));
        let execute = ExecuteHeader::decode(&bytes, Capabilities::NONE, 9).unwrap();
        assert_eq!(execute.params.null_bitmap, [0xFF, 0x01]);
        assert_eq!((execute.params.types.len(), execute.params.values), (18, &b""[..]));
        let eight = ExecuteHeader::decode(&bytes, Capabilities::NONE, 8).unwrap();
        assert_eq!(eight.params.null_bitmap, [0xFF]);
    }

    #[test]
    fn small_commands() {
        let mut out = Vec::new();
        let long = SendLongData { statement_id: 5, parameter: 1, data: b"abc" };
        long.encode(&mut out);
        assert_eq!(out, b"\x18\x05\0\0\0\x01\0abc");
        for len in 0..out.len() {
            let decoded = SendLongData::decode(&out[1..=len]);
            let data = (6..).zip([&b""[..], b"a", b"ab", b"abc"]).find(|(at, _)| *at == len);
            let expected = data.map(|(_, data)| SendLongData { data, ..long });
            assert_eq!(decoded.ok(), expected, "{len}");
        }

        out.clear();
        let fetch = Fetch { statement_id: 5, rows: 100 };
        fetch.encode(&mut out);
        assert_eq!(out, b"\x1c\x05\0\0\0\x64\0\0\0");
        assert_eq!(Fetch::decode(&out[1..]), Ok(fetch));
        for len in 1..out.len() {
            assert!(Fetch::decode(&out[1..len]).is_err(), "{len}");
        }

        out.clear();
        encode_close(&mut out, 5);
        encode_reset(&mut out, 6);
        assert_eq!(out, b"\x19\x05\0\0\0\x1a\x06\0\0\0");
        assert_eq!(decode_close(&out[1..5]), Ok(5));
        assert_eq!(decode_reset(&out[6..]), Ok(6));
        for len in 0..4 {
            assert!(decode_close(&out[1..1 + len]).is_err(), "{len}");
            assert!(decode_reset(&out[6..6 + len]).is_err(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            attributes: bool,
            num_params in 0u16..20,
        ) {
            let caps = if attributes { ATTRIBUTES } else { Capabilities::NONE };
            let _ = ExecuteHeader::decode(&bytes, caps, num_params);
        }

        #[test]
        fn rebuilding_changes_nothing_else(
            id: u32,
            flags: u8,
            nulls: [u8; 2],
            types in prop::collection::vec(any::<u8>(), 20),
            values in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let params = ExecuteParams {
                count: 10,
                counted: false,
                null_bitmap: &nulls,
                new_types: true,
                types: &types,
                values: &values,
            };
            let parts = ExecuteHeader { statement_id: id, flags, iterations: 1, params };
            let mut out = Vec::new();
            rebuild_execute(&mut out, id, &parts, &types);
            prop_assert_eq!(ExecuteHeader::decode(&out[1..], Capabilities::NONE, 10), Ok(parts));
        }
    }
}
