//! COM_PROCESS_KILL. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_process_kill.html>

use crate::wire::{Command, PutExt, Reader, WireError};

/// The connection that is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessKill {
    pub connection_id: u32,
}

impl ProcessKill {
    /// Reads the payload after its command byte.
    pub fn decode(after_command: &[u8]) -> Result<Self, WireError> {
        Ok(Self { connection_id: Reader::new(after_command).u32("connection id")? })
    }

    /// Appends the payload, command byte and all.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put_u8(Command::ProcessKill.byte());
        out.put_u32(self.connection_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal() {
        let bytes = b"\x0c\x2a\x01\0\x80";
        let kill = ProcessKill { connection_id: 0x8000_012A };
        let mut out = Vec::new();
        kill.encode(&mut out);
        assert_eq!(out, bytes);
        assert_eq!(ProcessKill::decode(&bytes[1..]), Ok(kill));
        for len in 0..4 {
            assert!(ProcessKill::decode(&bytes[1..1 + len]).is_err(), "{len}");
        }
    }
}
