//! Topologies and statements for the tests of this module.

use std::sync::Arc;

use crate::config::{Server, ServerTls, ServerTlsMode};
use crate::gtid::GtidSet;
use crate::sql::{Kind, Needs, Pins, Statement};
use crate::topology::{Health, Role, ServerId, ServerState, Topology};

/// The source of every GTID in these tests.
pub(crate) const U: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// A GTID set of ranges of `U`; empty for "".
pub(crate) fn set(ranges: &str) -> GtidSet {
    if ranges.is_empty() {
        return GtidSet::default();
    }
    GtidSet::parse(format!("{U}:{ranges}").as_bytes()).unwrap()
}

/// Server 0, "a", usable, primary.
pub(crate) fn primary(executed: &str) -> ServerState {
    server(0, Role::Primary, executed)
}

/// Server `id`, usable, replica.
pub(crate) fn replica(id: u32, executed: &str) -> ServerState {
    server(id, Role::Replica, executed)
}

/// A server named by the letter of its id.
pub(crate) fn server(id: u32, role: Role, executed: &str) -> ServerState {
    let letter = char::from(b'a' + u8::try_from(id).unwrap());
    ServerState {
        id: ServerId(id),
        config: Arc::new(Server {
            name: letter.to_string(),
            address: format!("127.0.0.1:{}", 13301 + id),
            tls: ServerTls { mode: ServerTlsMode::Off, ca: None },
            weight: 100,
        }),
        role,
        health: Health::Usable,
        silent: false,
        executed: Some(Arc::new(set(executed))),
        lag: None,
        version: "9.7.4".into(),
        autocommit: true,
        sql_mode: "".into(),
        max_packet: Some(64 << 20),
        moves: None,
        open: false,
    }
}

/// The same server, unusable because of `words`.
pub(crate) fn unusable(mut server: ServerState, words: &str) -> ServerState {
    server.health = Health::Unusable(words.into());
    server
}

/// The same server with that weight.
pub(crate) fn weighing(mut server: ServerState, weight: u32) -> ServerState {
    let mut config = (*server.config).clone();
    config.weight = weight;
    server.config = Arc::new(config);
    server
}

pub(crate) fn topology<const N: usize>(servers: [ServerState; N]) -> Topology {
    Topology { servers: servers.into(), epoch: 1, awaits_primary: true }
}

/// A statement of that kind and nothing more.
pub(crate) fn statement(kind: Kind) -> Statement {
    Statement {
        kind,
        pins: Pins::NONE,
        unpins: Pins::NONE,
        needs: Needs::NONE,
        count: 1,
        reason: "its own reason",
    }
}
