//! What the server's session trackers told, and which of it the client is to see.
//!
//! Source: MySQL manual, "Server Tracking of Client Session State"; protocol page "OK_Packet".

use crate::wire::{Capabilities, Change, Changes, OkPacket, StatusFlags};

/// The variables that a server reports to a client that asked for nothing
/// (`session_track_system_variables`, default value).
const REPORTED_BY_DEFAULT: [&[u8]; 5] = [
    b"time_zone",
    b"autocommit",
    b"character_set_client",
    b"character_set_results",
    b"character_set_connection",
];

/// In the place of a tracker for GTIDs MariaDB has this variable, which it reports after every transaction that got one
/// (<https://mariadb.com/kb/en/gtid/#last_gtid>).
const MARIADB_GTID: &[u8] = b"last_gtid";

/// Changes of session state that one response reported.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) schema: Option<Vec<u8>>,
    pub(super) variables: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) gtids: Vec<u8>,
    /// The server says that something changed, which may be none of the above.
    pub(super) state_changed: bool,
}

impl Told {
    fn add_gtids(&mut self, gtids: &[u8]) {
        if !self.gtids.is_empty() && !gtids.is_empty() {
            self.gtids.push(b',');
        }
        self.gtids.extend_from_slice(gtids);
    }
}

/// Which trackers a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// It cannot read any.
    Nothing,
    /// The server's defaults: schema and five variables.
    Defaults,
    /// It set trackers itself.
    All,
}

impl Wants {
    /// As a client of these capabilities wants it.
    pub(super) fn of(capabilities: Capabilities, raw: bool) -> Self {
        match (capabilities.has(Capabilities::SESSION_TRACK), raw) {
            (false, _) => Self::Nothing,
            (true, false) => Self::Defaults,
            (true, true) => Self::All,
        }
    }
}

/// Reads the block of an OK packet into `told`; the block that the client is to see, `None` when it
/// sees it as it is. A block that cannot be read is reported by `Err` with what was wrong.
pub(super) fn read(
    packet: &OkPacket<'_>,
    wants: Wants,
    told: &mut Told,
) -> Result<Option<Vec<u8>>, String> {
    if !packet.status.has(StatusFlags::SESSION_STATE_CHANGED) {
        return Ok(None);
    }
    let mut kept = Vec::new();
    let mut dropped = false;
    for entry in Changes::new(packet.session_state) {
        let (change, raw) = entry.map_err(|error| error.to_string())?;
        let keep = match wants {
            Wants::All => true,
            Wants::Nothing => false,
            Wants::Defaults => match &change {
                Change::Variable { name, .. } => REPORTED_BY_DEFAULT.contains(name),
                Change::Schema(_) => true,
                _ => false,
            },
        };
        note(&change, told);
        if keep {
            kept.extend_from_slice(raw);
        } else {
            dropped = true;
        }
    }
    Ok((dropped || wants == Wants::Nothing).then_some(kept))
}

fn note(change: &Change<'_>, told: &mut Told) {
    match change {
        Change::Variable { name, value } if *name == MARIADB_GTID => told.add_gtids(value),
        Change::Variable { name, value } => told.variables.push((name.to_vec(), value.to_vec())),
        Change::Schema(schema) => told.schema = Some(schema.to_vec()),
        Change::StateChanged(changed) => told.state_changed |= *changed,
        Change::Gtids(gtids) => told.add_gtids(gtids),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// INSERT on MariaDB 10.11: what the client did not ask for is taken out, and is no variable of the session.
    #[test]
    fn the_gtid_of_mariadb() {
        let packet = OkPacket {
            status: StatusFlags::SESSION_STATE_CHANGED,
            session_state: b"\0\x11\x09last_gtid\x060-1-23",
            ..OkPacket::default()
        };
        let mut told = Told::default();
        let kept = read(&packet, Wants::Defaults, &mut told).unwrap();
        assert_eq!(kept, Some(Vec::new()));
        assert_eq!((told.gtids.as_slice(), told.variables.len()), (b"0-1-23".as_slice(), 0));
        read(&packet, Wants::Defaults, &mut told).unwrap();
        assert_eq!(told.gtids, b"0-1-23,0-1-23");
    }
}
