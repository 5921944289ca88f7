//! What a session knows of the statement it is to run, and the plan for it.

use std::time::Instant;

use crate::route::{Facts, Plan, Policy, Retry, Target, choose, plan};
use crate::session::Session;
use crate::sql::Statement;
use crate::topology::ServerId;
use crate::wire::StatusFlags;

/// Where a statement runs: the plan with the server picked.
#[derive(Debug)]
pub(super) enum Choice {
    /// On the connection that the session holds.
    Held,
    /// On a connection to this server. `retry`: elsewhere too, while the client has seen nothing.
    Server {
        id: ServerId,
        retry: bool,
        previous: bool,
    },
    /// Weir answers by itself.
    Connection,
    Kill,
    /// Refused, with the reason.
    Denied(&'static str),
    /// No server for it, with the reason.
    Nowhere(String),
}

impl Session {
    /// Decides where the statement runs now; servers in `excluded` have failed it already.
    pub(super) fn choose(
        &mut self,
        statement: &Statement,
        excluded: &[ServerId],
    ) -> (Plan, Choice) {
        let topology = self.worker.shared.topology.load();
        if !self.token.set().is_empty() {
            self.token.seen_by_all(&topology);
        }
        let facts = self.facts();
        let policy = Policy::default();
        let decided = plan(&facts, statement, &topology, &policy);
        let pick = |id: Option<ServerId>, retry: bool, previous: bool| {
            let state = id.and_then(|id| topology.get(id))?;
            Some(Choice::Server { id: state.id, retry, previous })
        };
        let primary = topology.primary().map(|server| server.id);
        let mut drawn = None;
        let choice = match &decided.target {
            Target::Held(_) => Some(Choice::Held),
            Target::Previous(server) => {
                pick(Some(*server), false, true).or_else(|| pick(primary, false, false))
            }
            Target::Replicas => {
                let load = |id| self.worker.pools.active(id);
                let seed = self.worker.chance();
                let last = self.last_replica;
                let replica = choose(&topology, self.token.set(), excluded, last, &load, seed);
                let replica = replica.map(|server| server.id);
                drawn = replica;
                let retry = replica.is_some() && decided.retry == Retry::Elsewhere;
                pick(replica.or(primary), retry, false)
            }
            Target::Primary => pick(primary.filter(|id| !excluded.contains(id)), false, false),
            Target::Proxy(answer) => Some(match answer {
                crate::route::ProxyAnswer::ConnectionId => Choice::Connection,
                crate::route::ProxyAnswer::Kill => Choice::Kill,
            }),
            Target::Denied(why) => Some(Choice::Denied(why)),
            Target::NoPrimary(why) => Some(Choice::Nowhere(why.clone())),
        };
        self.last_replica = drawn.or(self.last_replica);
        let choice = choice.unwrap_or_else(|| Choice::Nowhere(topology.why_no_primary()));
        if decided.commit_held {
            // A read-only transaction on a replica: nothing of it can be lost.
            self.abandon_lease();
        }
        (decided, choice)
    }

    fn facts(&self) -> Facts<'_> {
        let window = self.worker.shared.config.causal.window;
        Facts {
            in_transaction: self.in_transaction(),
            transaction_read_only: self.status.has(StatusFlags::IN_TRANS_READONLY),
            autocommit: self.status.has(StatusFlags::AUTOCOMMIT),
            pins: self.pins,
            held: self.lease.as_ref().map(crate::backend::pool::Lease::server),
            previous: self.previous.map(|(server, _)| server),
            token: self.token.set(),
            wrote_blind: self
                .wrote_blind_at
                .is_some_and(|at| Instant::now().saturating_duration_since(at) < window),
            isolation: self.isolation,
            multi_statements: self.wanted.multi_statements,
        }
    }
}
