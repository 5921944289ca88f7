//! Probes for the tests of this module.

use std::sync::Arc;
use std::time::Duration;

use super::seen::{Channel, Identity, Probe, Receiver, Replication};
use crate::config::{Monitor, Secret, Server, ServerTls, ServerTlsMode};
use crate::gtid::GtidSet;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Ranges of one source; empty for "".
pub(crate) fn set(ranges: &str) -> Arc<GtidSet> {
    let text = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{ranges}");
    let text = if ranges.is_empty() { "" } else { &text };
    Arc::new(GtidSet::parse(text.as_bytes()).unwrap())
}

pub(crate) fn config(name: char) -> Arc<Server> {
    let port = 13301 + u32::from(name) - u32::from('a');
    Arc::new(Server {
        name: name.to_string(),
        address: format!("127.0.0.1:{port}"),
        tls: ServerTls { mode: ServerTlsMode::Off, ca: None },
        weight: 100,
    })
}

/// A probe every 20 ms, of at most 100 ms.
pub(crate) fn monitor_settings() -> Monitor {
    Monitor {
        user: "mon".to_owned(),
        password: Secret::new("mon".to_owned()),
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(100),
        managed: true,
        failures: 2,
    }
}

pub(crate) fn identity(name: char) -> Identity {
    Identity { uuid: Some(format!("uuid-of-{name}")), server_id: Some(u64::from(u32::from(name))) }
}

/// A writable server that replicates from nobody.
pub(crate) fn writable(name: char, executed: &str) -> Probe {
    Probe {
        version: "9.7.4".into(),
        read_only: Some(false),
        autocommit: true,
        sql_mode: "".into(),
        identity: identity(name),
        executed: Some(set(executed)),
        replication: Replication::Channels(Vec::new()),
        group: None,
        max_packet: Some(64 << 20),
        moves: None,
        leaves: None,
        super_read_only: None,
    }
}

/// A read-only server that replicates from `source` without delay.
pub(crate) fn following(name: char, source: char, executed: &str) -> Probe {
    Probe {
        read_only: Some(true),
        replication: Replication::Channels(vec![channel(source)]),
        ..writable(name, executed)
    }
}

pub(crate) fn channel(source: char) -> Channel {
    Channel {
        name: String::new(),
        source_address: format!("host-of-{source}:3306"),
        source: identity(source),
        receiver: Receiver::Running,
        receiver_error: String::new(),
        applier_runs: true,
        applier_error: String::new(),
        seconds_behind: Some(0),
    }
}

/// The same probe with its channels changed.
pub(crate) fn with_channel(mut probe: Probe, change: impl Fn(&mut Channel)) -> Probe {
    if let Replication::Channels(channels) = &mut probe.replication {
        channels.iter_mut().for_each(change);
    }
    probe
}

pub(crate) fn stopped(channel: &mut Channel) {
    channel.receiver = Receiver::Stopped;
    channel.applier_runs = false;
    channel.seconds_behind = None;
}
