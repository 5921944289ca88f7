//! The server's request for a file of the client.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_local_infile_request.html>

use crate::wire::{Reader, WireError};

/// The name of the file, as LOAD DATA LOCAL gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalInfileRequest<'a>(pub &'a [u8]);

impl<'a> LocalInfileRequest<'a> {
    /// Its first byte.
    pub const HEADER: u8 = 0xFB;

    /// Reads the payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        match r.u8("request for a file")? {
            Self::HEADER => Ok(Self(r.rest())),
            other => {
                Err(WireError::Invalid { what: "request for a file", value: u64::from(other) })
            }
        }
    }

    /// Appends the payload.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(Self::HEADER);
        out.extend_from_slice(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal() {
        let bytes = b"\xfb/tmp/x";
        let mut out = Vec::new();
        LocalInfileRequest(b"/tmp/x").encode(&mut out);
        assert_eq!(out, bytes);
        assert!(LocalInfileRequest::decode(b"").is_err());
        assert!(LocalInfileRequest::decode(b"\0/tmp/x").is_err());
        for len in 1..=bytes.len() {
            let decoded = LocalInfileRequest::decode(&bytes[..len]);
            assert_eq!(decoded, Ok(LocalInfileRequest(&bytes[1..len])), "any name is one, {len}");
        }
    }
}
