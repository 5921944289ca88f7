//! Where a server's response ends. A pure walk over packet headers and first bytes: rows are never decoded.
//!
//! Source: MySQL Client/Server Protocol, "Command Phase", "COM_QUERY Response", "COM_STMT_PREPARE Response".

use crate::wire::{Capabilities, HEADER_LEN, Header, MAX_PAYLOAD, StatusFlags};

/// What kind of response a command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// COM_QUERY, COM_STMT_EXECUTE: OK, ERR, LOCAL INFILE or result sets.
    Query,
    /// COM_STMT_PREPARE: its OK with the definitions that follow, or ERR.
    Prepare,
    /// COM_STMT_FETCH: rows until EOF.
    Fetch,
    /// COM_FIELD_LIST: definitions until EOF.
    Fields,
    /// One packet of any kind: OK, EOF or ERR.
    Single,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    First,
    Columns(u64),
    ColumnsEnd,
    Rows,
    Params(u16, u16),
    ParamsEnd(u16),
    Definitions(u16),
    DefinitionsEnd,
    LocalInfile,
    Done,
}

/// A packet that the caller must look at, whole at the front of what was not passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Everything that is here may be passed; read more.
    More,
    /// An OK packet (header 0x00, or 0xFE at the end of a result where EOF is deprecated).
    Ok,
    /// An EOF packet that ends rows or definitions.
    Eof,
    /// An EOF packet between definitions and rows; it ends the response where a cursor was opened.
    MiddleEof,
    /// An ERR packet; it ends the response.
    Err,
    /// COM_STMT_PREPARE's OK.
    PrepareOk,
    /// The server asks for a local file; `resume_after_file` goes on when the client has sent it.
    LocalInfile,
    /// The server broke the protocol; the connection is of no use any more.
    Broken(&'static str),
    /// The response ended with a packet that needs no look.
    End,
}

/// One step of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes at the front that may be passed on as they are.
    pub pass: usize,
    /// What follows them.
    pub event: Event,
    /// Bytes of the event's packet with its header; 0 for `More`, `End` and `Broken`.
    pub packet: usize,
}

/// The state of the walk through one response.
#[derive(Debug)]
pub struct Walker {
    shape: Shape,
    phase: Phase,
    deprecate_eof: bool,
    seq: u8,
    /// Bytes of the current packet that have yet to be passed.
    skip: usize,
    /// The packet being skipped is continued in the next (its payload has 16 MiB - 1).
    continued: bool,
    rows: u64,
}

impl Walker {
    /// A walk from the first packet, whose number is `first_seq` (1 after an ordinary command).
    pub fn new(shape: Shape, capabilities: Capabilities, first_seq: u8) -> Self {
        let phase = match shape {
            Shape::Fetch => Phase::Rows,
            Shape::Fields => Phase::Columns(u64::MAX),
            _ => Phase::First,
        };
        let deprecate_eof = capabilities.has(Capabilities::DEPRECATE_EOF);
        Self { shape, phase, deprecate_eof, seq: first_seq, skip: 0, continued: false, rows: 0 }
    }

    /// Whether the whole response was seen.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Whether no packet is half passed.
    pub fn is_at_boundary(&self) -> bool {
        self.skip == 0 && !self.continued
    }

    /// Rows seen so far, over all result sets.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The number that the next packet must have.
    pub fn next_seq(&self) -> u8 {
        self.seq
    }

    /// Goes as far as `bytes` reach. After an event the caller consumes `pass + packet` bytes, and
    /// for `Ok`, `Eof`, `MiddleEof` and `PrepareOk` tells what the packet said before the next step.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        loop {
            let here = bytes.len() - at;
            if self.skip > here {
                self.skip -= here;
                return Step { pass: bytes.len(), event: Event::More, packet: 0 };
            }
            at += self.skip;
            self.skip = 0;
            if self.phase == Phase::Done {
                return Step { pass: at, event: Event::End, packet: 0 };
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(header) = Header::parse(rest) else {
                return Step { pass: at, event: Event::More, packet: 0 };
            };
            if header.seq != self.seq {
                return broken(at, "packets out of order");
            }
            let first = rest.get(HEADER_LEN).copied();
            if first.is_none() && header.len > 0 {
                return Step { pass: at, event: Event::More, packet: 0 };
            }
            let event = if self.continued { None } else { self.judge(first, header.len) };
            let packet = HEADER_LEN + header.len;
            let Some(event) = event else {
                self.pass_packet(header.len);
                continue;
            };
            if let Event::Broken(why) = event {
                return broken(at, why);
            }
            if rest.len() < packet {
                return Step { pass: at, event: Event::More, packet: 0 };
            }
            if event == Event::More {
                // The column count: short, wanted whole, passed as it is.
                if !self.begin_result(rest.get(HEADER_LEN..packet).unwrap_or_default()) {
                    return broken(at, "an impossible column count");
                }
                self.pass_packet(header.len);
                continue;
            }
            self.seq = self.seq.wrapping_add(1);
            match event {
                Event::Err => self.phase = Phase::Done,
                Event::LocalInfile => self.phase = Phase::LocalInfile,
                _ => {}
            }
            return Step { pass: at, event, packet };
        }
    }

    fn pass_packet(&mut self, len: usize) {
        self.seq = self.seq.wrapping_add(1);
        self.skip = HEADER_LEN + len;
        let was_continued = self.continued;
        self.continued = len == MAX_PAYLOAD;
        if !was_continued && self.phase == Phase::Rows {
            self.rows += 1;
        }
        if self.continued {
            return;
        }
        self.phase = match self.phase {
            Phase::Columns(1) if self.deprecate_eof => Phase::Rows,
            Phase::Columns(1) => Phase::ColumnsEnd,
            Phase::Columns(u64::MAX) => Phase::Columns(u64::MAX),
            Phase::Columns(left) => Phase::Columns(left - 1),
            Phase::Params(1, columns) if self.deprecate_eof => definitions(columns),
            Phase::Params(1, columns) => Phase::ParamsEnd(columns),
            Phase::Params(left, columns) => Phase::Params(left - 1, columns),
            Phase::ParamsEnd(columns) => definitions(columns),
            Phase::Definitions(1) if self.deprecate_eof => Phase::Done,
            Phase::Definitions(1) => Phase::DefinitionsEnd,
            Phase::Definitions(left) => Phase::Definitions(left - 1),
            Phase::DefinitionsEnd => Phase::Done,
            other => other,
        };
    }

    /// What the packet is; `None` when it is passed unseen, `More` when it is a column count.
    fn judge(&self, first: Option<u8>, len: usize) -> Option<Event> {
        let Some(first) = first else {
            return match self.phase {
                Phase::Rows => None,
                _ => Some(Event::Broken("an empty packet where a response was due")),
            };
        };
        match (self.phase, first) {
            (_, 0xFF) => Some(Event::Err),
            (Phase::First, _) => Some(self.judge_first(first, len)),
            (Phase::Rows, 0xFE) if self.is_end(len) => Some(self.end_event()),
            (Phase::ColumnsEnd, 0xFE) if len < 9 => Some(Event::MiddleEof),
            (Phase::ColumnsEnd, _) => Some(Event::Broken("no EOF after the column definitions")),
            (Phase::ParamsEnd(_) | Phase::DefinitionsEnd, 0xFE) if len < 9 => None,
            (Phase::ParamsEnd(_) | Phase::DefinitionsEnd, _) => {
                Some(Event::Broken("no EOF after the definitions of COM_STMT_PREPARE"))
            }
            (Phase::Columns(u64::MAX), 0xFE) if self.is_end(len) => Some(self.end_event()),
            (Phase::LocalInfile, 0x00) => Some(Event::Ok),
            (Phase::LocalInfile, _) => Some(Event::Broken("no OK after a local file")),
            _ => None,
        }
    }

    fn judge_first(&self, first: u8, len: usize) -> Event {
        match (self.shape, first) {
            (Shape::Prepare, 0x00) if len >= 12 => Event::PrepareOk,
            (Shape::Prepare, _) => {
                Event::Broken("COM_STMT_PREPARE answered with neither OK nor ERR")
            }
            (Shape::Single, 0xFE) if !self.deprecate_eof => Event::Eof,
            (_, 0x00) => Event::Ok,
            (Shape::Single, 0xFE) => Event::Ok,
            (Shape::Single, _) => Event::Broken("neither OK nor ERR"),
            (_, 0xFB) => Event::LocalInfile,
            _ => Event::More,
        }
    }

    fn is_end(&self, len: usize) -> bool {
        if self.deprecate_eof { len < MAX_PAYLOAD } else { len < 9 }
    }

    fn end_event(&self) -> Event {
        if self.deprecate_eof { Event::Ok } else { Event::Eof }
    }

    fn begin_result(&mut self, payload: &[u8]) -> bool {
        match crate::wire::Reader::new(payload).lenenc_int("column count") {
            Ok(count @ 1..=65_535) => {
                self.phase = Phase::Columns(count + 1);
                true
            }
            _ => false,
        }
    }

    /// After `Ok` or `Eof`: goes on with the next result set when the packet said so.
    pub fn ended(&mut self, status: StatusFlags) {
        self.phase = if status.has(StatusFlags::MORE_RESULTS) { Phase::First } else { Phase::Done };
        self.shape = if self.phase == Phase::First { Shape::Query } else { self.shape };
    }

    /// After `MiddleEof`: rows follow, unless a cursor was opened (they are fetched then).
    pub fn middle(&mut self, status: StatusFlags) {
        self.phase = if status.has(StatusFlags::CURSOR_EXISTS) { Phase::Done } else { Phase::Rows };
    }

    /// After `PrepareOk`: the definitions that follow.
    pub fn prepared(&mut self, params: u16, columns: u16) {
        self.phase = if params > 0 { Phase::Params(params, columns) } else { definitions(columns) };
    }

    /// After the client's file: the number of the server's next packet.
    pub fn resume_after_file(&mut self, next_seq: u8) {
        self.seq = next_seq;
    }
}

fn definitions(columns: u16) -> Phase {
    if columns > 0 { Phase::Definitions(columns) } else { Phase::Done }
}

fn broken(at: usize, why: &'static str) -> Step {
    Step { pass: at, event: Event::Broken(why), packet: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSIC: Capabilities = Capabilities(0);

    fn packets(first_seq: u8, payloads: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut seq = first_seq;
        for payload in payloads {
            crate::wire::frame(&mut out, &mut seq, payload);
        }
        out
    }

    /// Feeds the response in pieces of `piece` bytes; the events and what was passed or seen, in order.
    fn walk(mut walker: Walker, bytes: &[u8], piece: usize) -> (Vec<Event>, Vec<u8>) {
        let mut events = Vec::new();
        let mut seen = Vec::new();
        let mut buffer: Vec<u8> = Vec::new();
        let mut pieces = bytes.chunks(piece);
        loop {
            let step = walker.step(&buffer);
            let packet = buffer[step.pass..step.pass + step.packet].to_vec();
            seen.extend_from_slice(&buffer[..step.pass + step.packet]);
            buffer.drain(..step.pass + step.packet);
            match step.event {
                Event::More => match pieces.next() {
                    Some(next) => buffer.extend_from_slice(next),
                    None => break,
                },
                Event::End | Event::Broken(_) => {
                    events.push(step.event);
                    break;
                }
                event => {
                    events.push(event);
                    let flags = packet.get(7..9).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
                    match event {
                        Event::Ok | Event::Eof => walker.ended(StatusFlags(flags)),
                        Event::MiddleEof => walker.middle(StatusFlags(flags)),
                        // The client's file: one packet, and the empty one.
                        Event::LocalInfile => {
                            walker.resume_after_file(walker.next_seq().wrapping_add(2));
                        }
                        Event::PrepareOk => {
                            let columns = u16::from_le_bytes([packet[9], packet[10]]);
                            let params = u16::from_le_bytes([packet[11], packet[12]]);
                            walker.prepared(params, columns);
                        }
                        _ => {}
                    }
                    if walker.is_done() {
                        break;
                    }
                }
            }
        }
        (events, seen)
    }

    fn check(shape: Shape, caps: Capabilities, payloads: &[&[u8]], expected: &[Event]) {
        let bytes = packets(1, payloads);
        for piece in [1, 2, 3, 5, 7, 1000] {
            let (events, seen) = walk(Walker::new(shape, caps, 1), &bytes, piece);
            assert_eq!(events, expected, "pieces of {piece}");
            assert_eq!(seen, bytes, "pieces of {piece}");
        }
    }

    const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
    const OK_MORE: &[u8] = &[0, 0, 0, 8, 0, 0, 0];
    const END_OK: &[u8] = &[0xFE, 0, 0, 2, 0, 0, 0];
    const ERR: &[u8] = b"\xFF\x48\x04#HY000No tables used";
    const EOF: &[u8] = &[0xFE, 0, 0, 2, 0];
    // Flags stand at offset 7 of the packet in OK and at 7 in EOF (4 header, 0xFE, warnings).
    const EOF_CURSOR: &[u8] = &[0xFE, 0, 0, 0x42, 0];

    #[test]
    fn single_packets() {
        check(Shape::Query, CLASSIC, &[OK], &[Event::Ok]);
        check(Shape::Query, CLASSIC, &[ERR], &[Event::Err]);
        check(Shape::Query, CLASSIC, &[OK_MORE, OK], &[Event::Ok, Event::Ok]);
        check(Shape::Single, CLASSIC, &[EOF], &[Event::Eof]);
        check(Shape::Single, Capabilities::DEPRECATE_EOF, &[END_OK], &[Event::Ok]);
    }

    #[test]
    fn result_sets() {
        let eof = [Event::MiddleEof, Event::Eof];
        check(
            Shape::Query,
            CLASSIC,
            &[b"\x02", b"\x03def1", b"\x03def2", EOF, b"\x01a\xFB", EOF],
            &eof,
        );
        check(
            Shape::Query,
            Capabilities::DEPRECATE_EOF,
            &[b"\x01", b"\x03def1", b"\x01a", b"", b"\xFB", END_OK],
            &[Event::Ok],
        );
        check(Shape::Query, Capabilities::DEPRECATE_EOF, &[b"\x01", b"\x03d", ERR], &[Event::Err]);
        check(Shape::Query, CLASSIC, &[b"\x01", b"\x03d", EOF_CURSOR], &[Event::MiddleEof]);
        check(Shape::Fetch, CLASSIC, &[b"\x00\x00a", EOF], &[Event::Eof]);
        check(Shape::Fields, CLASSIC, &[b"\x03def", b"\x03def", EOF], &[Event::Eof]);
    }

    #[test]
    fn prepare() {
        let with_both = b"\x00\x01\x00\x00\x00\x01\x00\x02\x00\x00\x00\x00";
        let none = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let params_only = b"\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00";
        check(Shape::Prepare, CLASSIC, &[none], &[Event::PrepareOk]);
        check(Shape::Prepare, CLASSIC, &[ERR], &[Event::Err]);
        let defs: [&[u8]; 6] = [with_both, b"\x03p1", b"\x03p2", EOF, b"\x03c1", EOF];
        check(Shape::Prepare, CLASSIC, &defs, &[Event::PrepareOk, Event::End]);
        let modern = Capabilities::DEPRECATE_EOF;
        check(Shape::Prepare, modern, &[params_only, b"\x03p"], &[Event::PrepareOk, Event::End]);
    }

    #[test]
    fn garbage_is_broken_not_followed() {
        let bytes = packets(5, &[OK]);
        let (events, _) = walk(Walker::new(Shape::Query, CLASSIC, 1), &bytes, 100);
        assert_eq!(events, [Event::Broken("packets out of order")]);
        check(Shape::Query, CLASSIC, &[b"\x00\x00"], &[Event::Ok]);
        let bytes = packets(1, &[b""]);
        let (events, _) = walk(Walker::new(Shape::Query, CLASSIC, 1), &bytes, 100);
        assert!(matches!(events[..], [Event::Broken(_)]));
    }

    const INFILE: &[u8] = b"\xFB/tmp/x";
    const PREPARED: &[u8] = b"\x00\x01\x00\x00\x00\x01\x00\x02\x00\x00\x00\x00";

    /// The request, which has number 1, and what the server says after a file of two packets.
    #[track_caller]
    fn check_file(after: &[&[u8]], expected: &[Event]) {
        let bytes = [packets(1, &[INFILE]), packets(4, after)].concat();
        for caps in [CLASSIC, Capabilities::DEPRECATE_EOF] {
            for piece in [1, 2, 5, 1000] {
                let (events, seen) = walk(Walker::new(Shape::Query, caps, 1), &bytes, piece);
                assert_eq!(events, expected, "pieces of {piece}");
                if !matches!(events.last(), Some(Event::Broken(_))) {
                    assert_eq!(seen, bytes, "pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn local_files() {
        check_file(&[OK], &[Event::LocalInfile, Event::Ok]);
        check_file(&[ERR], &[Event::LocalInfile, Event::Err]);
        check_file(&[OK_MORE, OK], &[Event::LocalInfile, Event::Ok, Event::Ok]);
        // Loads of two files in one text.
        let again = [Event::LocalInfile, Event::Ok, Event::LocalInfile];
        check_file(&[OK_MORE, INFILE], &again);
        for other in [&b"\x01"[..], END_OK, INFILE] {
            let broken = Event::Broken("no OK after a local file");
            check_file(&[other], &[Event::LocalInfile, broken]);
        }
        let empty = Event::Broken("an empty packet where a response was due");
        check_file(&[b""], &[Event::LocalInfile, empty]);
    }

    #[test]
    fn errors_end_whatever_they_are_in() {
        for at in 1..6 {
            let all: [&[u8]; 6] = [PREPARED, b"\x03p1", b"\x03p2", EOF, b"\x03c1", EOF];
            let mut cut = all[..at].to_vec();
            cut.push(ERR);
            check(Shape::Prepare, CLASSIC, &cut, &[Event::PrepareOk, Event::Err]);
        }
        let modern = Capabilities::DEPRECATE_EOF;
        check(Shape::Prepare, modern, &[PREPARED, b"\x03p1", ERR], &[Event::PrepareOk, Event::Err]);
        check(Shape::Fetch, CLASSIC, &[b"\0\0a", ERR], &[Event::Err]);
        check(Shape::Fields, CLASSIC, &[b"\x03def", ERR], &[Event::Err]);
        check(
            Shape::Query,
            CLASSIC,
            &[b"\x01", b"\x03d", EOF, b"\x01a", ERR],
            &[Event::MiddleEof, Event::Err],
        );
        check(Shape::Single, CLASSIC, &[ERR], &[Event::Err]);
    }

    #[test]
    fn rows_and_definitions_with_an_ok_at_the_end() {
        let modern = Capabilities::DEPRECATE_EOF;
        check(Shape::Fetch, modern, &[END_OK], &[Event::Ok]);
        check(Shape::Fetch, modern, &[b"\0\0a", b"\0\0b", END_OK], &[Event::Ok]);
        check(Shape::Fields, modern, &[END_OK], &[Event::Ok]);
        check(Shape::Fields, modern, &[b"\x03def", b"\x03def", END_OK], &[Event::Ok]);
        check(Shape::Fetch, CLASSIC, &[EOF], &[Event::Eof]);
        check(Shape::Fields, CLASSIC, &[EOF], &[Event::Eof]);
        // A cursor was opened: no rows follow.
        check(Shape::Query, modern, &[b"\x01", b"\x03def", END_OK], &[Event::Ok]);
        // A value of 16 MiB begins with 0xFE, too; nine bytes are no EOF.
        check(Shape::Fetch, CLASSIC, &[b"\xFE12345678", EOF], &[Event::Eof]);
    }

    /// Each sentence that a broken protocol is told by.
    #[test]
    fn what_is_broken() {
        let modern = Capabilities::DEPRECATE_EOF;
        let whole: &[u8] = b"\x02";
        for (shape, caps, payloads, why) in [
            (Shape::Query, CLASSIC, &[&b""[..]][..], "an empty packet where a response was due"),
            (Shape::Query, modern, &[whole, b""], "an empty packet where a response was due"),
            (Shape::Prepare, CLASSIC, &[b""], "an empty packet where a response was due"),
            (Shape::Single, CLASSIC, &[b""], "an empty packet where a response was due"),
            (Shape::Single, CLASSIC, &[b"\x01"], "neither OK nor ERR"),
            (Shape::Single, modern, &[INFILE], "neither OK nor ERR"),
            (
                Shape::Prepare,
                CLASSIC,
                &[b"\x01"],
                "COM_STMT_PREPARE answered with neither OK nor ERR",
            ),
            (Shape::Prepare, CLASSIC, &[OK], "COM_STMT_PREPARE answered with neither OK nor ERR"),
            (
                Shape::Prepare,
                CLASSIC,
                &[&PREPARED[..11]],
                "COM_STMT_PREPARE answered with neither OK nor ERR",
            ),
            (
                Shape::Query,
                CLASSIC,
                &[b"\x01", b"\x03d", b"\x01a"],
                "no EOF after the column definitions",
            ),
            (
                Shape::Query,
                CLASSIC,
                &[b"\x01", b"\x03d", b"\xFE12345678"],
                "no EOF after the column definitions",
            ),
            (
                Shape::Prepare,
                CLASSIC,
                &[PREPARED, b"\x03p", b"\x03p", b"\x03c"],
                "no EOF after the definitions of COM_STMT_PREPARE",
            ),
            (
                Shape::Prepare,
                CLASSIC,
                &[PREPARED, b"\x03p", b"\x03p", EOF, b"\x03c", b"\x03c"],
                "no EOF after the definitions of COM_STMT_PREPARE",
            ),
            (Shape::Query, modern, &[b"\xFC\x01"], "an impossible column count"),
            (Shape::Query, modern, &[b"\xFD\0\0\x01"], "an impossible column count"),
            (Shape::Query, modern, &[b"\xFE\0\0\0\0\0\0\0\x7F"], "an impossible column count"),
        ] {
            let bytes = packets(1, payloads);
            for piece in [1, 3, 1000] {
                let (events, _) = walk(Walker::new(shape, caps, 1), &bytes, piece);
                assert_eq!(
                    events.last(),
                    Some(&Event::Broken(why)),
                    "{payloads:?} in pieces of {piece}"
                );
            }
        }
        for seq in [0, 2, 255] {
            let bytes = packets(seq, &[OK]);
            let (events, _) = walk(Walker::new(Shape::Single, CLASSIC, 1), &bytes, 100);
            assert_eq!(events, [Event::Broken("packets out of order")], "{seq}");
        }
    }

    #[test]
    fn a_row_of_more_than_16_mib_is_one_row() {
        let row = vec![0xFE; MAX_PAYLOAD + 10];
        let bytes = packets(1, &[b"\x01", b"\x03def", &row, END_OK]);
        let mut walker = Walker::new(Shape::Query, Capabilities::DEPRECATE_EOF, 1);
        let step = walker.step(&bytes);
        assert_eq!(step.event, Event::Ok);
        assert_eq!(walker.rows(), 1);
    }
}
