//! From what servers answered to what sessions may use. Pure: the board is told what was seen and
//! when, and tells roles, health and lag.

use std::sync::Arc;
use std::time::Duration;

use super::lag::{Estimate, Samples};
use super::roles::{self, Member, Ruling};
use super::seen::{Channel, Failure, Group, Probe, Receiver, Replication};
use crate::config::Server;
use crate::gtid::GtidSet;
use crate::topology::{Health, Role, ServerId, ServerState, Topology};

/// What counts, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Failed probes in a row that make a server unusable.
    pub failures: u32,
    /// A replica behind by more gets no reads.
    pub max_lag: Duration,
    /// How long the primary's last answer says something about now.
    pub fresh: Duration,
    /// How long a replica may have executed what the primary has not, before it gets no more reads. A commit that
    /// waits for a receipt is on the replica first. `None` where servers are not Weir's own: there, local
    /// transactions of a replica may be meant.
    pub own_for: Option<Duration>,
}

/// Everything seen so far.
#[derive(Debug)]
pub struct Board {
    rules: Rules,
    tracks: Vec<Track>,
    samples: Samples,
    /// The last primary; the samples are its sets.
    sampled: Option<ServerId>,
    shown: Topology,
}

/// One server's past.
#[derive(Debug)]
struct Track {
    id: ServerId,
    config: Arc<Server>,
    /// The last good answer, and when it came (since the monitor's start).
    last: Option<(Duration, Probe)>,
    /// Failed probes since the last good one.
    failures: u32,
    failure: Option<Failure>,
    role: Role,
    rival: Option<usize>,
    trouble: Trouble,
    /// What it had executed when it was first seen to have more than the primary, and since when; gone once
    /// the primary has that.
    own: Option<(Duration, Arc<GtidSet>)>,
}

/// What the board says after an observation.
#[derive(Debug)]
pub struct Verdict {
    pub topology: Topology,
    /// What changed in role or health; to be logged.
    pub changes: Vec<Change>,
    /// Whether the topology differs at all from the one before (also in lag or executed sets).
    pub differs: bool,
}

/// A change of one server's role or health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The server's name.
    pub server: String,
    pub role: Role,
    /// Why it is unusable; `None` when it is usable.
    pub trouble: Option<Arc<str>>,
}

/// What stands against using a server. Two troubles are the same for log and epoch when their kind is:
/// seconds of lag or an error's wording may change without news.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    None,
    NotAsked,
    Unreachable(Arc<str>),
    Role(Arc<str>),
    Replication(Arc<str>),
    Lagging(Arc<str>),
    Leaving,
}

impl Trouble {
    fn words(&self) -> Option<Arc<str>> {
        match self {
            Self::None => None,
            Self::NotAsked => Some("not asked yet".into()),
            Self::Leaving => Some("about to be stopped on purpose".into()),
            Self::Unreachable(words)
            | Self::Role(words)
            | Self::Replication(words)
            | Self::Lagging(words) => Some(Arc::clone(words)),
        }
    }

    fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Board {
    /// A board on which nothing was seen. Server n gets `ServerId(n)`.
    pub fn new(servers: Vec<Arc<Server>>, rules: Rules) -> Self {
        let tracks = (0..).map(ServerId).zip(servers).map(|(id, config)| Track::new(id, config));
        Self {
            rules,
            tracks: tracks.collect(),
            samples: Samples::default(),
            sampled: None,
            shown: Topology::default(),
        }
    }

    /// Another server to judge, by an id that no server had before.
    pub fn add(&mut self, id: ServerId, config: Arc<Server>) {
        self.tracks.push(Track::new(id, config));
    }

    /// A server that is no longer there.
    pub fn remove(&mut self, id: ServerId) {
        self.tracks.retain(|track| track.id != id);
        for track in &mut self.tracks {
            // It names a place in the list.
            track.rival = None;
        }
    }

    /// Notes one probe's outcome; `at` is when its answer came, since the monitor's start.
    pub fn observe(&mut self, id: ServerId, at: Duration, outcome: Result<Probe, Failure>) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.id == id) else { return };
        match outcome {
            Ok(probe) => {
                track.failures = 0;
                track.failure = None;
                if self.sampled == Some(id)
                    && let Some(executed) = &probe.executed
                {
                    self.samples.note(at, executed, self.rules.max_lag);
                }
                track.last = Some((at, probe));
                self.note_own(at);
            }
            Err(failure) => {
                track.failures = track.failures.saturating_add(1);
                track.failure = Some(failure);
            }
        }
    }

    /// Notes since when replicas have what the primary has not.
    fn note_own(&mut self, now: Duration) {
        let primary = self.tracks.iter().find(|track| Some(track.id) == self.sampled);
        let Some(all) = primary.and_then(Track::executed).cloned() else { return };
        for track in self.tracks.iter_mut().filter(|track| Some(track.id) != self.sampled) {
            let Some(executed) = track.executed().cloned() else { continue };
            let dispelled = track.own.as_ref().is_none_or(|(_, own)| all.contains(own));
            if all.contains(&executed) {
                track.own = None;
            } else if dispelled {
                track.own = Some((now, executed));
            }
        }
    }

    /// Whether every server has answered or failed at least once.
    pub fn all_asked(&self) -> bool {
        self.tracks.iter().all(|track| track.last.is_some() || track.failure.is_some())
    }

    /// Judges all servers by what was observed. Before every server was asked, none has a role: one
    /// that looks like the primary may have a better one beside it.
    pub fn judge(&mut self) -> Verdict {
        if !self.all_asked() {
            let servers = self.tracks.iter().map(|track| track.state(None)).collect();
            self.shown = Topology { servers, ..self.shown };
            return Verdict { topology: self.shown.clone(), changes: Vec::new(), differs: false };
        }
        let rulings = self.rule();
        self.sample_primary(&rulings);
        let mut changes = Vec::new();
        let mut servers = Vec::with_capacity(self.tracks.len());
        for (place, ruling) in rulings.into_iter().enumerate() {
            let (trouble, lag) = self.trouble(place, &ruling);
            let Some(track) = self.tracks.get_mut(place) else { continue };
            if track.role != ruling.role || !track.trouble.same_kind(&trouble) {
                changes.push(track.change(ruling.role, &trouble));
            }
            track.role = ruling.role;
            track.rival = ruling.rival;
            track.trouble = trouble;
            servers.push(track.state(lag));
        }
        let differs = !same(&servers, &self.shown.servers);
        let epoch = self.shown.epoch + u64::from(!changes.is_empty());
        // A Weir that was started while the role of its own cluster moved has to make a primary itself.
        let awaits_primary = self.sampled.is_some() || self.rules.own_for.is_some();
        self.shown = Topology { servers, epoch, awaits_primary };
        Verdict { topology: self.shown.clone(), changes, differs }
    }

    fn rule(&self) -> Vec<Ruling> {
        let members: Vec<Member<'_>> = self
            .tracks
            .iter()
            .map(|track| Member {
                name: &track.config.name,
                address: &track.config.address,
                up: track.last.is_some() && !track.is_down(self.rules.failures),
                probe: track.last.as_ref().map(|(_, probe)| probe),
                role: track.role,
                incumbent: self.sampled == Some(track.id),
                rival: track.rival,
            })
            .collect();
        roles::assign(&members)
    }

    /// Starts the samples anew when another server became the primary.
    fn sample_primary(&mut self, rulings: &[Ruling]) {
        let ruled = self.tracks.iter().zip(rulings);
        let primary =
            ruled.filter(|(_, ruling)| ruling.role == Role::Primary).map(|(t, _)| t).next();
        let Some(primary) = primary else { return };
        if self.sampled == Some(primary.id) {
            return;
        }
        self.sampled = Some(primary.id);
        self.samples.clear();
        if let Some((at, probe)) = &primary.last
            && let Some(executed) = &probe.executed
        {
            self.samples.note(*at, executed, self.rules.max_lag);
        }
    }

    /// What stands against server `place`, and how far behind it is.
    fn trouble(&self, place: usize, ruling: &Ruling) -> (Trouble, Option<Duration>) {
        let Some(track) = self.tracks.get(place) else { return (Trouble::NotAsked, None) };
        if track.is_down(self.rules.failures) {
            let failure = track.failure.as_ref();
            let words = failure.map_or_else(|| "no answer".into(), |f| Arc::clone(&f.words));
            return (Trouble::Unreachable(words), None);
        }
        let Some((at, probe)) = &track.last else { return (Trouble::NotAsked, None) };
        if let Some(words) = &ruling.trouble {
            return (Trouble::Role(Arc::clone(words)), None);
        }
        match ruling.role {
            Role::Primary | Role::Unknown => (Trouble::None, None),
            Role::Replica => self.replica_trouble(track, *at, probe),
        }
    }

    fn replica_trouble(
        &self,
        track: &Track,
        at: Duration,
        probe: &Probe,
    ) -> (Trouble, Option<Duration>) {
        if probe.leaves.is_some() {
            return (Trouble::Leaving, None);
        }
        let since = track.own.as_ref().map(|(since, _)| *since);
        // What a primary that fell silent had at the end is not known: only its word counts.
        let until = self.source().and_then(|source| source.last.as_ref()).map(|(at, _)| *at);
        if let (Some(limit), Some(since)) = (self.rules.own_for, since)
            && until.unwrap_or(at).min(at).saturating_sub(since) >= limit
        {
            let words = "has transactions that the primary does not have";
            return (Trouble::Replication(words.into()), None);
        }
        let estimate = match &probe.executed {
            Some(executed) => self.samples.estimate(at, executed, self.rules.fresh),
            None => Estimate::None,
        };
        let member = probe.group.as_ref().filter(|group| group.is_online());
        let lag = match &probe.replication {
            // It has no channel that SHOW REPLICA STATUS would tell of, and leaves when its applier stops.
            _ if member.is_some() => {
                estimate.with_word_of_replica(member.and_then(Group::seconds_behind))
            }
            Replication::Channels(channels) if channels.is_empty() => {
                let alone = self.tracks.len() == 1;
                return if alone { (Trouble::None, None) } else { (follows_nobody(), None) };
            }
            Replication::Channels(channels) => {
                if let Some(trouble) = self.channels_trouble(channels, probe) {
                    return (trouble, estimate.with_word_of_replica(None));
                }
                let words = channels.iter().filter(|c| !c.is_group()).map(|c| c.seconds_behind);
                // One channel that does not know makes the whole unknown.
                let word = words.reduce(|a, b| Some(a?.max(b?))).flatten();
                estimate.with_word_of_replica(word)
            }
            Replication::Refused(_) | Replication::Unsupported => {
                estimate.with_word_of_replica(None)
            }
        };
        let Some(lag) = lag else {
            if self.source_is_gone() && self.has_all_that_was_seen(probe) {
                return (Trouble::None, None);
            }
            return (lag_unknown(&probe.replication), None);
        };
        (self.lag_trouble(track, lag), Some(lag))
    }

    /// What stands against a replica because of its threads.
    fn channels_trouble(&self, channels: &[Channel], probe: &Probe) -> Option<Trouble> {
        let words = channels.iter().find_map(|channel| match channel.receiver {
            _ if !channel.applier_runs => {
                Some(with_error("replication applier stopped", &channel.applier_error))
            }
            _ if channel.is_group() => None,
            Receiver::Running => None,
            Receiver::Stopped => {
                Some(with_error("replication receiver stopped", &channel.receiver_error))
            }
            // The primary does not answer Weir either: a replica that has all that was seen of
            // it is as good as can be, and better than no reads at all.
            Receiver::Connecting if self.source_is_gone() && self.has_all_that_was_seen(probe) => {
                None
            }
            Receiver::Connecting => {
                let words = "replication receiver cannot reach its source";
                Some(with_error(words, &channel.receiver_error))
            }
        })?;
        Some(Trouble::Replication(words.into()))
    }

    /// The server that was sampled as the primary.
    fn source(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| Some(track.id) == self.sampled)
    }

    /// Whether it is down.
    fn source_is_gone(&self) -> bool {
        self.source().is_some_and(|track| track.is_down(self.rules.failures))
    }

    fn has_all_that_was_seen(&self, probe: &Probe) -> bool {
        match (&probe.executed, self.samples.newest()) {
            (Some(executed), Some(newest)) => executed.contains(newest),
            _ => false,
        }
    }

    /// A replica that lagged must come well under the limit before it serves again, so that one near
    /// the limit does not come and go.
    fn lag_trouble(&self, track: &Track, lag: Duration) -> Trouble {
        let max = self.rules.max_lag;
        let lagged = matches!(track.trouble, Trouble::Lagging(_));
        let limit = if lagged { max * 3 / 4 } else { max };
        if lag <= limit {
            return Trouble::None;
        }
        let words = format!("{} s behind (limit {} s)", lag.as_secs(), max.as_secs());
        Trouble::Lagging(words.into())
    }
}

impl Track {
    fn new(id: ServerId, config: Arc<Server>) -> Self {
        Self {
            id,
            config,
            last: None,
            failures: 0,
            failure: None,
            role: Role::Unknown,
            rival: None,
            trouble: Trouble::NotAsked,
            own: None,
        }
    }

    /// What it had executed at its last answer.
    fn executed(&self) -> Option<&Arc<GtidSet>> {
        self.last.as_ref().and_then(|(_, probe)| probe.executed.as_ref())
    }

    /// Whether its failures are enough to give it up. One that never answered has no credit.
    fn is_down(&self, failures: u32) -> bool {
        self.failure.as_ref().is_some_and(|failure| {
            failure.certain || self.failures >= failures || self.last.is_none()
        })
    }

    fn change(&self, role: Role, trouble: &Trouble) -> Change {
        Change { server: self.config.name.clone(), role, trouble: trouble.words() }
    }

    fn state(&self, lag: Option<Duration>) -> ServerState {
        let probe = self.last.as_ref().map(|(_, probe)| probe);
        ServerState {
            id: self.id,
            config: Arc::clone(&self.config),
            role: self.role,
            health: self.trouble.words().map_or(Health::Usable, Health::Unusable),
            silent: matches!(self.trouble, Trouble::Unreachable(_)),
            executed: probe.and_then(|probe| probe.executed.clone()),
            lag,
            version: probe.map_or_else(|| "".into(), |probe| Arc::clone(&probe.version)),
            autocommit: probe.is_none_or(|probe| probe.autocommit),
            sql_mode: probe.map_or_else(|| "".into(), |probe| Arc::clone(&probe.sql_mode)),
            max_packet: probe.and_then(|probe| probe.max_packet),
            moves: probe.and_then(|probe| probe.moves),
            open: self.role == Role::Replica
                && probe.is_some_and(|probe| probe.super_read_only == Some(false)),
        }
    }
}

/// Whether sessions would see no difference.
fn same(a: &[ServerState], b: &[ServerState]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            (a.id, a.role, &a.health, &a.executed, a.lag)
                == (b.id, b.role, &b.health, &b.executed, b.lag)
                && (&a.version, a.autocommit, &a.sql_mode, a.max_packet, a.moves, a.open)
                    == (&b.version, b.autocommit, &b.sql_mode, b.max_packet, b.moves, b.open)
        })
}

fn follows_nobody() -> Trouble {
    Trouble::Replication("read-only and replicates from nobody".into())
}

fn lag_unknown(replication: &Replication) -> Trouble {
    let words = match replication {
        Replication::Channels(_) => "how far it is behind is unknown (NULL)".to_owned(),
        Replication::Refused(words) => format!(
            "how far it is behind is unknown ({words}): GRANT REPLICATION CLIENT ON *.* to the \
             monitor's account (MariaDB: SLAVE MONITOR)"
        ),
        Replication::Unsupported => {
            "how far it is behind is unknown: it has no replication status".to_owned()
        }
    };
    Trouble::Replication(words.into())
}

fn with_error(words: &str, error: &str) -> String {
    if error.is_empty() { words.to_owned() } else { format!("{words}: {error}") }
}

#[cfg(test)]
mod tests;
