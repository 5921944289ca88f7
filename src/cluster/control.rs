//! The control task of a Weir that serves: mends what is safe to mend, and replaces a primary that is dead.
//!
//! It wakes when the topology says that something is wrong, and looks for itself. While the servers are as they
//! should be it asks nothing. One thing is done at a time; a primary that falls silent interrupts mending.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::gtid::GtidSet;
use crate::topology::{Health, ServerState, Topology};

use super::error::ClusterError;
use super::failover::{self, Cause, LastSeen};
use super::group;
use super::keep;
use super::lease::{self, Leader, Right};
use super::node;
use super::plan::{self, Step};
use super::progress::Logged;
use super::provision;
use super::renew;
use super::repair;
use super::replication;
use super::state::State;
use super::stuck::{self, Commits};
use super::traffic::Traffic;
use super::view;
use super::wanted::Wanted;
use super::world::{LOOK_LIMIT, World};

/// How often the topology is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Something must have been wrong for so long before it is mended: restarts and moves by hand look wrong for
/// a moment.
const WRONG_FOR: Duration = Duration::from_secs(1);
/// How often the engine is asked which nodes there are, and the primary whether it commits.
const MEMBERS_EVERY: Duration = Duration::from_secs(3);
/// How often copies of snapshots are looked for whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);
/// After a failed attempt the next waits, twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long one attempt waits for a server to answer; the next goes on waiting.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A primary gets at least so long to come back after a time in which no server answered. When replicas go first, as
/// they may when an engine or a host is restarted, what waits for their receipt is told that it is done as the primary
/// ends (MySQL lets go of semi-sync's waits then): nobody else has it, and nobody else was there to serve meanwhile.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(30);

/// What the task works on.
#[derive(Debug)]
pub struct Control {
    pub wanted: Arc<Wanted>,
    pub state_dir: PathBuf,
    pub topology: Arc<ArcSwap<Topology>>,
    pub traffic: Arc<dyn Traffic>,
}

/// How the servers look to the probes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Looks {
    Right,
    /// The primary that was there does not answer, and no other is there. Its name.
    Headless(String),
    /// The primary answers and cannot commit. Its name.
    Stuck(String),
    Wrong,
}

/// What the task remembers between two looks.
#[derive(Debug)]
struct Memory {
    spell: Option<Spell>,
    next_attempt: Instant,
    pause: Duration,
    last_words: String,
    /// Whether everything was right once: a Weir that was killed may have left something that no probe shows.
    looked_over: bool,
    /// Servers that were not usable at the last look, by name, and whether they were silent.
    troubled: Vec<(String, bool)>,
    /// The last primary by name, with what it had executed when it last answered.
    primary: Option<(String, Option<Arc<GtidSet>>)>,
    commits: LastCommits,
}

/// What the primary last said of its commits, when it was asked.
type LastCommits = Arc<ArcSwap<Option<Commits>>>;

/// A time in which the servers look wrong in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spell {
    looks: Looks,
    since: Instant,
    /// Whether there was a moment in which no server answered.
    outage: bool,
}

impl Spell {
    /// The spell that goes on, or a new one: a replica that has been wrong for days takes no patience from the
    /// primary's silence. That counts from when somebody answers who could take its place.
    fn next(last: Option<Self>, looks: &Looks, nobody_answers: bool, now: Instant) -> Self {
        let last = last.filter(|last| last.looks == *looks);
        let outage = nobody_answers && matches!(looks, Looks::Headless(_));
        let since = last.as_ref().map(|last| last.since).filter(|_| !outage);
        Self {
            looks: looks.clone(),
            since: since.unwrap_or(now),
            outage: outage || last.is_some_and(|last| last.outage),
        }
    }
}

impl Control {
    /// Works until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let (commits, cluster) = (LastCommits::default(), self.wanted.now());
        let all = async {
            tokio::join!(
                Box::pin(self.watch(Arc::clone(&commits))),
                Box::pin(self.expire()),
                Box::pin(self.follow_nodes(&commits)),
                Box::pin(lease::lead(&cluster, &self.state_dir)),
            )
        };
        let _ended = cancel.run_until_cancelled(all).await;
        if let Err(error) = lease::resign(&cluster, &self.state_dir).await {
            tracing::debug!(%error, "the lead was not given to another");
        }
    }

    /// Tells the proxy of nodes that came or went by a command, and notes whether the primary commits.
    async fn follow_nodes(&self, commits: &LastCommits) {
        loop {
            tokio::time::sleep(MEMBERS_EVERY).await;
            match lease::follow(&self.wanted.now(), &self.state_dir).await {
                Ok(()) | Err(ClusterError::Busy { .. } | ClusterError::NotLeader { .. }) => {}
                Err(error) => tracing::debug!(%error, "what another Weir wrote down is not known"),
            }
            match self.members(commits).await {
                Ok(Some(servers)) => self.traffic.set_servers(servers),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the nodes could not be looked for"),
            }
        }
    }

    /// `None` while the cluster is down, which changes nothing about what it is.
    async fn members(
        &self,
        commits: &LastCommits,
    ) -> Result<Option<Vec<config::Server>>, ClusterError> {
        let state = State::load(&self.state_dir, &self.wanted.now().name)?;
        let Some(state) = state.filter(|state| !state.down) else { return Ok(None) };
        let world = World::open(&self.wanted(&state), &self.state_dir, state).await?;
        let members = world.members().await?;
        if let Some(primary) = self.seen_primary() {
            let asked = Box::pin(stuck::look(&world, primary));
            match tokio::time::timeout(LOOK_LIMIT, asked).await {
                Ok(Ok(Some(seen))) => commits.store(Arc::new(Some(seen))),
                // One that does not answer is none that answers and is stuck; what it said last of receipts stands.
                _ => unstuck(commits),
            }
        }
        Ok(Some(members.into_iter().map(|number| view::server_of(&world, number)).collect()))
    }

    /// The node that the probes see as the primary.
    fn seen_primary(&self) -> Option<u32> {
        let topology = self.topology.load();
        node::number(&self.wanted.now().name, &topology.primary()?.config.name)
    }

    /// The cluster as the last command wanted it.
    fn wanted(&self, state: &State) -> config::Cluster {
        let mut cluster = config::Cluster::clone(&self.wanted.now());
        cluster.replicas = state.replicas.unwrap_or(cluster.replicas);
        cluster
    }

    /// Removes copies of snapshots whose time is over.
    async fn expire(&self) {
        loop {
            tokio::time::sleep(EXPIRE_EVERY).await;
            if !matches!(lease::leader(&self.wanted.now(), &self.state_dir).await, Leader::Ours(_))
            {
                continue;
            }
            let now = std::time::SystemTime::now();
            match super::snapshot::remove_expired(&self.wanted.now(), &self.state_dir, now).await {
                Ok(removed) => {
                    for copy in removed {
                        tracing::info!(copy, "its time is over: removed");
                    }
                }
                Err(error) => tracing::debug!(%error, "expired copies could not be looked for"),
            }
        }
    }

    async fn watch(&self, commits: LastCommits) {
        let now = Instant::now();
        let mut memory = Memory {
            spell: None,
            next_attempt: now,
            pause: FIRST_PAUSE,
            last_words: String::new(),
            looked_over: false,
            troubled: Vec::new(),
            primary: self.recorded(),
            commits,
        };
        loop {
            tokio::time::sleep(TICK).await;
            let looks = self.look(&mut memory);
            let now = Instant::now();
            if looks == Looks::Right && memory.looked_over {
                (memory.spell, memory.pause) = (None, FIRST_PAUSE);
                memory.last_words.clear();
                memory.troubled.clear();
                continue;
            }
            let spell = Spell::next(memory.spell.take(), &looks, self.nobody_answers(), now);
            let since = memory.spell.insert(spell).since;
            if self.other_is_wrong(&mut memory) {
                (memory.pause, memory.next_attempt) = (FIRST_PAUSE, now);
            }
            let patience = match &looks {
                Looks::Headless(_) => Duration::ZERO,
                Looks::Stuck(_) => self.wanted.now().patience,
                _ => WRONG_FOR,
            };
            if now < since + patience || now < memory.next_attempt {
                continue;
            }
            memory.looked_over = false;
            let done = match looks {
                Looks::Headless(name) => self.behead(&mut memory, &name, since).await,
                Looks::Stuck(name) => self.unstick(&memory, &name).await,
                _ => self.mend(&mut memory).await,
            };
            self.note(&mut memory, done);
        }
    }

    /// The primary that was written down: it may be dead before it was ever seen.
    fn recorded(&self) -> Option<(String, Option<Arc<GtidSet>>)> {
        let state = State::load(&self.state_dir, &self.wanted.now().name).ok()??;
        Some((node::name(&self.wanted.now().name, state.primary?), None))
    }

    /// Success begins anew; a failure is said once, and the next attempt waits longer.
    fn note(&self, memory: &mut Memory, done: Result<(), ClusterError>) {
        match done {
            Ok(()) => {
                memory.looked_over = true;
                memory.pause = FIRST_PAUSE;
                memory.next_attempt = Instant::now() + FIRST_PAUSE;
            }
            // Somebody works on it: `weir cluster up`, say. Who leads, and why nobody can, is told by `lease::lead`.
            Err(
                ClusterError::Busy { .. }
                | ClusterError::NotLeader { .. }
                | ClusterError::Lead { .. },
            ) => memory.next_attempt = Instant::now() + FIRST_PAUSE,
            Err(error) => {
                let words = error.to_string();
                if words != memory.last_words {
                    tracing::warn!(
                        cluster = self.wanted.now().name,
                        why = words,
                        "the cluster is not right"
                    );
                    memory.last_words = words;
                }
                // Nothing was tried: an engine that is back finds Weir ready, for clients wait.
                if matches!(error, ClusterError::EngineUnreachable { .. }) {
                    memory.pause = FIRST_PAUSE;
                }
                memory.next_attempt = Instant::now() + memory.pause;
                memory.pause = (memory.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn look(&self, memory: &mut Memory) -> Looks {
        let topology = self.topology.load();
        if let Some(primary) = topology.primary() {
            let known = memory.primary.as_mut().filter(|(name, _)| *name == primary.config.name);
            match known {
                Some((_, executed)) => executed.clone_from(&primary.executed),
                None => {
                    memory.primary = Some((primary.config.name.clone(), primary.executed.clone()));
                }
            }
            if memory.commits.load().is_some_and(|seen| seen.disk.is_some()) {
                return Looks::Stuck(primary.config.name.clone());
            }
            let all = topology.servers.iter().all(|server| !self.is_wrong(server));
            return if all { Looks::Right } else { Looks::Wrong };
        }
        let silent = memory.primary.as_ref().filter(|(name, _)| {
            let server = topology.servers.iter().find(|server| server.config.name == *name);
            server.is_some_and(|server| server.silent)
        });
        match silent {
            // A group elects by itself; what fell over is started, and joins again.
            Some(_) if self.wanted.now().is_group() => Looks::Wrong,
            Some((name, _)) => Looks::Headless(name.clone()),
            None => Looks::Wrong,
        }
    }

    /// Not usable, or a replica that takes writes. A member of a group opens and closes itself, and may have been elected
    /// since it was asked.
    fn is_wrong(&self, server: &ServerState) -> bool {
        server.health != Health::Usable || (server.open && !self.wanted.now().is_group())
    }

    fn nobody_answers(&self) -> bool {
        self.topology.load().servers.iter().all(|server| server.silent)
    }

    /// Whether a server is not usable now that was before, or begins to answer: neither waits for what another's
    /// trouble waits for.
    fn other_is_wrong(&self, memory: &mut Memory) -> bool {
        let topology = self.topology.load();
        let wrong = topology.servers.iter().filter(|server| self.is_wrong(server));
        let wrong: Vec<(String, bool)> =
            wrong.map(|server| (server.config.name.clone(), server.silent)).collect();
        let other = wrong.iter().any(|one| !memory.troubled.contains(one));
        memory.troubled = wrong;
        other
    }

    /// Takes the steps that `up` would take, but stops at once when the primary falls silent or is stuck.
    async fn mend(&self, memory: &mut Memory) -> Result<(), ClusterError> {
        let Some(mut world) = self.begin().await? else { return Ok(()) };
        // A group elects by itself.
        let headless = !self.wanted.now().is_group() && self.topology.load().primary().is_none();
        let silent = async {
            loop {
                tokio::time::sleep(TICK).await;
                if matches!(self.look(memory), Looks::Headless(_) | Looks::Stuck(_)) {
                    return;
                }
            }
        };
        tokio::select! {
            done = Box::pin(mend_all(&mut world, headless)) => done,
            () = silent => Ok(()),
        }
    }

    /// The primary does not answer: it gets a while to come back, then another takes its place.
    async fn behead(
        &self,
        memory: &mut Memory,
        name: &str,
        since: Instant,
    ) -> Result<(), ClusterError> {
        let Some(mut world) = self.begin().await? else { return Ok(()) };
        let Some(old) = world.state.primary.filter(|number| world.name(*number) == name) else {
            drop(world);
            return self.mend(memory).await;
        };
        tracing::warn!(primary = name, "the primary does not answer");
        let stopped =
            world.engine.container(name).await?.is_some_and(|seen| seen.status == "exited");
        if stopped {
            // The engine starts again what fell over by itself, but not what somebody killed.
            let started = provision::start_container(&mut world, old, &Logged).await;
            if let Err(error) = started {
                tracing::warn!(%error, "it could not be started again");
            }
        }
        let outage = memory.spell.as_ref().is_some_and(|spell| spell.outage);
        let least = if outage { OUTAGE_PATIENCE } else { Duration::ZERO };
        let patience = self.wanted.now().patience.max(least);
        // It may have come back while the engine was asked.
        while matches!(self.look(memory), Looks::Headless(_)) {
            if since.elapsed() >= patience {
                return self.replace(&mut world, memory, Cause::Silent).await;
            }
            self.traffic.look();
            tokio::time::sleep(TICK).await;
        }
        if self.topology.load().primary().is_some_and(|primary| primary.config.name != name) {
            // Somebody has moved the role by hand meanwhile.
            return Ok(());
        }
        self.come_back(&world, old).await
    }

    /// The primary commits nothing until a person makes room on its disk: another takes its place.
    async fn unstick(&self, memory: &Memory, name: &str) -> Result<(), ClusterError> {
        let Some(mut world) = self.begin().await? else { return Ok(()) };
        // A group moves the role without being told to, and Weir writes it down when it next changes something.
        let is_group = self.wanted.now().is_group();
        let primary = if is_group { self.seen_primary() } else { world.state.primary };
        let primary = primary.filter(|number| world.name(*number) == name);
        let disk = match primary {
            Some(primary) => stuck::look(&world, primary).await?.and_then(|seen| seen.disk),
            None => None,
        };
        if disk.is_none() {
            unstuck(&memory.commits);
        }
        let (Some(primary), Some(disk)) = (primary, disk) else { return Ok(()) };
        tracing::warn!(primary = name, free = disk.free, size = disk.size, "its disk is full");
        if is_group {
            group::oust(&world, primary).await?;
            tracing::warn!(primary = name, "it was ended, for the group to elect another");
        } else {
            self.replace(&mut world, memory, Cause::Stuck).await?;
        }
        unstuck(&memory.commits);
        Ok(())
    }

    /// Another node takes the primary's place.
    async fn replace(
        &self,
        world: &mut World,
        memory: &Memory,
        cause: Cause,
    ) -> Result<(), ClusterError> {
        if !self.wanted.now().failover || world.members().await?.len() < 2 {
            let cause = "failover is switched off, or there is no replica".to_owned();
            return Err(ClusterError::NotMoved { cause });
        }
        let last_seen = LastSeen {
            executed: memory.primary.as_ref().and_then(|(_, executed)| executed.clone()),
            semi_sync: memory
                .commits
                .load()
                .filter(|seen| Some(seen.node) == world.state.primary)
                .map(|seen| seen.semi_sync),
        };
        let traffic = &*self.traffic;
        let moved = failover::fail_over(world, cause, &last_seen, traffic, &Logged);
        let moved = Box::pin(moved).await?;
        tracing::warn!(%moved, "failed over");
        Ok(())
    }

    /// The primary answers again, read-only as every server starts.
    async fn come_back(&self, world: &World, primary: u32) -> Result<(), ClusterError> {
        replication::make_writable(world, primary).await?;
        self.traffic.look();
        tracing::info!(primary = world.name(primary), "the primary is back");
        Ok(())
    }

    /// The world, and the right to change it; `None` when nothing is to be changed: the cluster was never
    /// made, or it was stopped by `weir cluster down`.
    async fn begin(&self) -> Result<Option<World>, ClusterError> {
        let right = Right::take(&self.wanted.now(), &self.state_dir).await?;
        let Some(state) = right.load().await?.filter(|state| !state.down) else { return Ok(None) };
        let cluster = self.wanted(&state);
        let mut world = World::open_with(&cluster, state, &right, &self.state_dir).await?;
        world.answer_limit = ANSWER_LIMIT;
        Ok(Some(world))
    }
}

/// Makes the cluster right. A primary that was replaced because it was dead may have transactions that
/// reached no replica, so that no client heard of their success; it gets a new copy of the data.
async fn mend_all(world: &mut World, headless: bool) -> Result<(), ClusterError> {
    if headless {
        lead_first(world).await?;
    }
    let mut done = provision::reconcile(world, &Logged).await;
    for _ in 0..world.state.deposed.len() {
        let Err(ClusterError::Diverged { node, from, count, set }) = &done else { break };
        let mut deposed = world.state.deposed.iter().copied();
        let Some(number) = deposed.find(|number| world.name(*number) == *node) else { break };
        tracing::warn!(node, from, count, set, "the old primary gets a new copy of the data");
        if let Some(primary) = world.state.primary {
            for path in keep::keep_own(world, number, primary).await? {
                tracing::warn!(file = %path.display(), "what only it had is kept there");
            }
        }
        provision::take(world, Step::GiveUpData(number), &Logged).await?;
        done = provision::reconcile(world, &Logged).await;
    }
    // Threads that do not run although they were started, or stand where a start would not help: by what is wrong.
    if matches!(done, Err(ClusterError::Replication { .. })) {
        let found = repair::mend_found(world, None, &Logged).await?;
        renew::begin(world, &found, &Logged).await?;
        done = provision::reconcile(world, &Logged).await;
    }
    done?;
    if !world.state.deposed.is_empty() {
        world.state.deposed.clear();
        world.save().await?;
    }
    Ok(())
}

/// Nothing is known of a disk that commits wait for.
fn unstuck(commits: &LastCommits) {
    commits.rcu(|seen| seen.map(|seen| Commits { disk: None, ..seen }));
}

/// Lets the node that is written down take writes, where no server does and it answers: the others may take
/// minutes to come, or never do. It was written down only after the one before it was closed.
async fn lead_first(world: &mut World) -> Result<(), ClusterError> {
    let Some(primary) = world.state.primary else { return Ok(()) };
    let facts = Box::pin(world.look()).await?;
    if plan::apparent_primary(&facts.seen(), Some(primary)) != Some(primary) {
        return Ok(());
    }
    let node = facts.nodes.iter().find(|node| node.number == primary);
    let Some(server) = node.and_then(|node| node.server.as_ref()) else { return Ok(()) };
    if server.seen.source.is_some() {
        provision::take(world, Step::Promote(primary), &Logged).await
    } else if server.seen.read_only {
        provision::take(world, Step::MakeWritable(primary), &Logged).await
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_for_the_primary_alone_and_begins_when_somebody_answers() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let headless = Looks::Headless("weir-1".to_owned());
        let mut spell = None;
        for (looks, nobody_answers, now, since, outage) in [
            (&Looks::Wrong, false, 0, 0, false),
            (&Looks::Wrong, true, 1, 0, false),
            // Something else has been wrong for long.
            (&headless, false, 100, 100, false),
            (&headless, false, 103, 100, false),
            (&headless, true, 104, 104, true),
            (&headless, true, 110, 110, true),
            (&headless, false, 111, 110, true),
            // It is back: its next death is another.
            (&Looks::Wrong, false, 112, 112, false),
            (&headless, false, 120, 120, false),
        ] {
            let next = Spell::next(spell.take(), looks, nobody_answers, at(now));
            assert_eq!((next.since, next.outage), (at(since), outage), "at {now}");
            spell = Some(next);
        }
    }
}
