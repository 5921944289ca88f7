//! Payloads into packets. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>

use crate::wire::{HEADER_LEN, Header, MAX_PAYLOAD};

/// Appends `payload` to `out` as one or more packets and leaves the next sequence number in `seq`.
///
/// A payload that is an exact multiple of [`MAX_PAYLOAD`] ends with an empty packet, since only a
/// shorter packet tells the reader that the payload is over.
pub fn frame(out: &mut Vec<u8>, seq: &mut u8, payload: &[u8]) {
    let packets = payload.len() / MAX_PAYLOAD + 1;
    out.reserve(payload.len() + packets * HEADER_LEN);
    let mut rest = payload;
    for _ in 0..packets {
        let (now, later) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        out.extend_from_slice(&Header { len: now.len(), seq: *seq }.to_bytes());
        out.extend_from_slice(now);
        *seq = seq.wrapping_add(1);
        rest = later;
    }
}

/// Appends what `encode` appends to its argument as a payload, in place, without a second buffer.
///
/// `encode` gets `out` itself and must only append. A payload of [`MAX_PAYLOAD`] or more is split
/// afterwards, at the cost of a copy.
pub fn frame_with(out: &mut Vec<u8>, seq: &mut u8, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    let body = out.len();
    encode(out);
    let len = out.len().saturating_sub(body);
    if len >= MAX_PAYLOAD {
        let payload = out.split_off(body);
        out.truncate(start);
        frame(out, seq, &payload);
        return;
    }
    if let Some(header) = out.get_mut(start..body) {
        header.copy_from_slice(&Header { len, seq: *seq }.to_bytes());
    }
    *seq = seq.wrapping_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (payload bytes, lengths of the packets)
    fn check(len: usize, packets: &[usize]) {
        let payload = vec![0xAB; len];
        let mut out = vec![0x77];
        let mut seq = 254;
        frame(&mut out, &mut seq, &payload);
        let mut in_place = vec![0x77];
        let mut seq_in_place = 254;
        frame_with(&mut in_place, &mut seq_in_place, |buf| buf.extend_from_slice(&payload));
        assert!(out == in_place, "both ways give the same bytes");
        assert_eq!(seq, seq_in_place);

        let mut at = 1;
        let mut want_seq = 254u8;
        for want in packets {
            let header = Header::parse(&out[at..]).unwrap();
            assert_eq!(header, Header { len: *want, seq: want_seq });
            at += HEADER_LEN + want;
            want_seq = want_seq.wrapping_add(1);
        }
        assert_eq!(at, out.len());
        assert_eq!(seq, want_seq);
    }

    #[test]
    fn small_and_empty() {
        check(0, &[0]);
        check(5, &[5]);
    }

    #[test]
    fn around_sixteen_mebibytes() {
        check(MAX_PAYLOAD - 1, &[MAX_PAYLOAD - 1]);
        check(MAX_PAYLOAD, &[MAX_PAYLOAD, 0]);
        check(MAX_PAYLOAD + 1, &[MAX_PAYLOAD, 1]);
        check(2 * MAX_PAYLOAD, &[MAX_PAYLOAD, MAX_PAYLOAD, 0]);
    }
}
