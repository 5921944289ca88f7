//! From text to a GTID set.
//!
//! ```text
//! mysql   = [source] *("," [source])
//! source  = uuid 1*(":" (interval | tag ":" interval))      a tag holds until the next one
//! uuid    = 32 hexadecimal digits, with or without the usual four dashes
//! tag     = (letter | "_") *31(letter | digit | "_")
//! interval = number ["-" number]                            1 to 2^63-1
//! mariadb = [gtid] *("," [gtid])
//! gtid    = domain "-" server "-" sequence                  32, 32 and 64 bits
//! ```

use std::collections::BTreeMap;

use super::intervals::{Interval, Intervals, MAX_NUMBER};
use super::{GtidError, GtidSet, MAX_INTERVALS, Position, Source};

/// The longest tag, in bytes.
const MAX_TAG: usize = 32;

/// Reads a whole set.
pub(super) fn set(text: &[u8]) -> Result<GtidSet, GtidError> {
    let mut parser = Parser { text, at: 0, intervals: 0 };
    let mut sources: BTreeMap<Source, Vec<Interval>> = BTreeMap::new();
    let mut domains: BTreeMap<u32, Position> = BTreeMap::new();
    loop {
        while parser.take(b',') {}
        let Some(first) = parser.peek() else { break };
        let at = parser.at;
        if !first.is_ascii_hexdigit() {
            return Err(GtidError::Unexpected { at, wanted: "a GTID" });
        }
        if parser.at_uuid() {
            parser.source(&mut sources)?;
        } else {
            parser.position(&mut domains)?;
        }
        if !sources.is_empty() && !domains.is_empty() {
            return Err(GtidError::Mixed { at });
        }
        if parser.peek().is_some() && !parser.take(b',') {
            return Err(parser.wrong("a comma or the end"));
        }
    }
    let sources = sources
        .into_iter()
        .map(|(source, intervals)| (source, Intervals::from_unsorted(intervals)))
        .collect();
    Ok(GtidSet { sources, domains })
}

/// The only place that knows offsets.
struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    /// Intervals and positions read so far.
    intervals: usize,
}

impl Parser<'_> {
    /// `uuid:1-3:tag:5-6`
    fn source(&mut self, sources: &mut BTreeMap<Source, Vec<Interval>>) -> Result<(), GtidError> {
        let uuid = self.uuid()?;
        let mut source = Source { uuid, tag: Box::default() };
        let mut intervals = Vec::new();
        let mut needs_interval = true;
        while self.take(b':') {
            if self.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
                if needs_interval && !source.tag.is_empty() {
                    return Err(self.wrong("an interval of the tag before"));
                }
                Self::keep(sources, &source, &mut intervals);
                source.tag = self.tag()?;
                needs_interval = true;
            } else {
                intervals.push(self.interval()?);
                needs_interval = false;
            }
        }
        if needs_interval {
            return Err(self.wrong("a colon and an interval"));
        }
        Self::keep(sources, &source, &mut intervals);
        Ok(())
    }

    fn keep(
        sources: &mut BTreeMap<Source, Vec<Interval>>,
        source: &Source,
        intervals: &mut Vec<Interval>,
    ) {
        if !intervals.is_empty() {
            sources.entry(source.clone()).or_default().append(intervals);
        }
    }

    /// `0-1-5`
    fn position(&mut self, domains: &mut BTreeMap<u32, Position>) -> Result<(), GtidError> {
        self.count_interval()?;
        let domain = self.number32()?;
        self.dash()?;
        let server = self.number32()?;
        self.dash()?;
        let sequence = self.number(0, u64::MAX)?;
        let position = domains.entry(domain).or_insert(Position { server, sequence });
        if position.sequence < sequence {
            *position = Position { server, sequence };
        }
        Ok(())
    }

    fn interval(&mut self) -> Result<Interval, GtidError> {
        self.count_interval()?;
        self.skip_space();
        let at = self.at;
        let first = self.number(1, MAX_NUMBER)?;
        let last = if self.take(b'-') { self.number(1, MAX_NUMBER)? } else { first };
        if last < first {
            return Err(GtidError::Backwards { at });
        }
        Ok(Interval { first, last })
    }

    fn count_interval(&mut self) -> Result<(), GtidError> {
        self.intervals += 1;
        if self.intervals > MAX_INTERVALS { Err(GtidError::TooMany) } else { Ok(()) }
    }

    /// Whether a UUID comes rather than MariaDB's numbers, which have two dashes and neither a
    /// colon nor a letter before the next comma.
    fn at_uuid(&self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let element = rest.split(|byte| *byte == b',').next().unwrap_or_default();
        let mut dashes = 0;
        for byte in element {
            match byte {
                b':' => return true,
                b'-' => dashes += 1,
                b'a'..=b'f' | b'A'..=b'F' => return true,
                _ => {}
            }
        }
        dashes > 2
    }

    fn uuid(&mut self) -> Result<[u8; 16], GtidError> {
        let wanted = "a UUID";
        let mut uuid = [0; 16];
        let dashed = self.text.get(self.at + 8) == Some(&b'-');
        for (n, byte) in uuid.iter_mut().enumerate() {
            if dashed && matches!(n, 4 | 6 | 8 | 10) {
                if self.text.get(self.at) != Some(&b'-') {
                    return Err(self.wrong_here(wanted));
                }
                self.at += 1;
            }
            *byte = self.hex(wanted)? << 4 | self.hex(wanted)?;
        }
        Ok(uuid)
    }

    /// One hexadecimal digit.
    fn hex(&mut self, wanted: &'static str) -> Result<u8, GtidError> {
        let digit = match self.text.get(self.at) {
            Some(byte @ b'0'..=b'9') => byte - b'0',
            Some(byte @ b'a'..=b'f') => byte - b'a' + 10,
            Some(byte @ b'A'..=b'F') => byte - b'A' + 10,
            _ => return Err(self.wrong_here(wanted)),
        };
        self.at += 1;
        Ok(digit)
    }

    fn tag(&mut self) -> Result<Box<str>, GtidError> {
        let mut tag = String::new();
        while let Some(byte) = self.text.get(self.at) {
            if !byte.is_ascii_alphanumeric() && *byte != b'_' {
                break;
            }
            if tag.len() == MAX_TAG {
                return Err(self.wrong_here("the end of the tag (at most 32 characters)"));
            }
            tag.push(char::from(byte.to_ascii_lowercase()));
            self.at += 1;
        }
        Ok(tag.into_boxed_str())
    }

    fn dash(&mut self) -> Result<(), GtidError> {
        if self.take(b'-') { Ok(()) } else { Err(self.wrong("a dash")) }
    }

    fn number32(&mut self) -> Result<u32, GtidError> {
        let at = self.at;
        let max = u64::from(u32::MAX);
        let number = self.number(0, max)?;
        u32::try_from(number).map_err(|_too_big| GtidError::OutOfRange { at, min: 0, max })
    }

    /// A decimal number between the bounds.
    fn number(&mut self, min: u64, max: u64) -> Result<u64, GtidError> {
        self.skip_space();
        let at = self.at;
        let mut number = Some(0_u64);
        while let Some(byte @ b'0'..=b'9') = self.text.get(self.at) {
            let digit = u64::from(byte - b'0');
            number = number.and_then(|n| n.checked_mul(10)?.checked_add(digit));
            self.at += 1;
        }
        if self.at == at {
            return Err(self.wrong_here("a number"));
        }
        number.filter(|number| (min..=max).contains(number)).ok_or(GtidError::OutOfRange {
            at,
            min,
            max,
        })
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.get(self.at).copied()
    }

    /// Takes that byte, with the white space before it, when it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// The error at the next byte that is no white space.
    fn wrong(&mut self, wanted: &'static str) -> GtidError {
        self.skip_space();
        self.wrong_here(wanted)
    }

    fn wrong_here(&self, wanted: &'static str) -> GtidError {
        let at = self.at;
        if at < self.text.len() {
            GtidError::Unexpected { at, wanted }
        } else {
            GtidError::Truncated { at, wanted }
        }
    }
}
