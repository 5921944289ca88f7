//! COM_SET_OPTION. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_set_option.html>

use crate::wire::{Command, PutExt, Reader, WireError};

/// What the option turns on or off: several statements in one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetOption {
    pub multi_statements: bool,
}

impl SetOption {
    /// Reads the payload after its command byte.
    ///
    /// # Errors
    /// [`WireError::Invalid`] for an option that MySQL does not have either.
    pub fn decode(after_command: &[u8]) -> Result<Self, WireError> {
        match Reader::new(after_command).u16("option")? {
            MULTI_STATEMENTS_ON => Ok(Self { multi_statements: true }),
            MULTI_STATEMENTS_OFF => Ok(Self { multi_statements: false }),
            other => Err(WireError::Invalid { what: "option", value: u64::from(other) }),
        }
    }

    /// Appends the payload, command byte and all.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put_u8(Command::SetOption.byte());
        out.put_u16(if self.multi_statements { MULTI_STATEMENTS_ON } else { MULTI_STATEMENTS_OFF });
    }
}

const MULTI_STATEMENTS_ON: u16 = 0;
const MULTI_STATEMENTS_OFF: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal() {
        for (multi_statements, bytes) in [(true, b"\x1b\0\0"), (false, b"\x1b\x01\0")] {
            let option = SetOption { multi_statements };
            let mut out = Vec::new();
            option.encode(&mut out);
            assert_eq!(out, bytes);
            assert_eq!(SetOption::decode(&bytes[1..]), Ok(option));
            for len in 0..2 {
                let cut = SetOption::decode(&bytes[1..1 + len]);
                assert!(matches!(cut, Err(WireError::Missing(_))), "{len}: {cut:?}");
            }
        }
        let unknown = WireError::Invalid { what: "option", value: 0x0201 };
        assert_eq!(SetOption::decode(b"\x01\x02"), Err(unknown));
    }
}
