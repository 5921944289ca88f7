//! The decision: where one statement of one session runs now.

use super::facts::{Facts, Isolation};
use super::reason::Reason;
use crate::sql::{Kind, Needs, Pins, Statement};
use crate::topology::{Role, ServerId, Topology};

/// Pins that bind only a question about the last statement; any other statement ends them.
const ABOUT_LAST_STATEMENT: Pins = Pins::FOUND_ROWS.with(Pins::WARNINGS);

/// What a refused statement is answered with.
const REFUSED: &str = "Weir refuses statements that administer one server, because it cannot know \
     which server is meant; connect to that server directly";

/// What a write is answered with whose session is bound to a replica.
const BOUND_TO_REPLICA: &str = "this session cannot write: it holds state (a user variable, a lock, \
     a temporary table) on a server that is a replica now; reset the connection and set the state \
     again";

/// Where a statement goes and why, and what its success means for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub target: Target,
    pub reason: Reason,
    /// To add to the session's pins when the statement succeeds.
    pub pins: Pins,
    /// To take from the session's pins when it succeeds (before `pins` are added).
    pub unpins: Pins,
    pub retry: Retry,
    /// The target is not the held connection although a transaction is open there: COMMIT on the
    /// held connection and give it back first, as this statement would do itself.
    pub commit_held: bool,
}

/// Where a statement runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The usable primary; there is one.
    Primary,
    /// Any eligible replica; there is at least one. `balance::choose` picks.
    Replicas,
    /// The connection that the session holds.
    Held(ServerId),
    /// The server of the last statement, on the same connection if it is still there.
    Previous(ServerId),
    /// No server: Weir answers.
    Proxy(ProxyAnswer),
    /// Refused with this message.
    Denied(&'static str),
    /// It needs the primary, and there is none; why, one clause a server.
    NoPrimary(String),
}

/// What Weir answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyAnswer {
    /// The id that the client was greeted with.
    ConnectionId,
    /// KILL: the id is one of Weir's own, to be mapped.
    Kill,
}

/// Whether the statement may be run again when its server fails before the first byte of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// On another replica, then on the primary.
    Elsewhere,
    Never,
}

/// What an operator decides about routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Refuse statements that administer one server (STOP REPLICA, SHUTDOWN, CLONE, ..). When
    /// false they go to the primary.
    pub refuse_administration: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { refuse_administration: true }
    }
}

/// Decides where `statement` runs. To be called when it is executed, not when it is prepared: the
/// facts may have changed between. Allocates only when there is no primary.
pub fn plan(
    facts: &Facts<'_>,
    statement: &Statement,
    topology: &Topology,
    policy: &Policy,
) -> Plan {
    if let Some(plan) = without_server(statement, policy) {
        return plan;
    }
    if let Some(plan) = on_held(facts, statement, topology) {
        return plan;
    }
    match statement.kind {
        Kind::Previous => match facts.previous {
            Some(server) => {
                Plan::of(Target::Previous(server), Reason::AboutLastStatement, facts, statement)
            }
            None => to_primary(Reason::NoLastStatement, facts, statement, topology),
        },
        Kind::Read | Kind::Begin { read_only: true } => spread(facts, statement, topology),
        _ => to_primary(why_not_free(facts, statement), facts, statement, topology),
    }
}

/// Statements that no server gets.
fn without_server(statement: &Statement, policy: &Policy) -> Option<Plan> {
    let target = match statement.kind {
        Kind::ConnectionId => Target::Proxy(ProxyAnswer::ConnectionId),
        Kind::Kill => Target::Proxy(ProxyAnswer::Kill),
        Kind::Denied if policy.refuse_administration => Target::Denied(REFUSED),
        _ => return None,
    };
    Some(Plan::bare(target, Reason::Statement(statement.reason)))
}

/// When the held connection must run it: an open transaction, or state that binds.
fn on_held(facts: &Facts<'_>, statement: &Statement, topology: &Topology) -> Option<Plan> {
    let held = facts.held?;
    let pins = facts.pins.without(ABOUT_LAST_STATEMENT);
    let on_replica = topology.get(held).is_some_and(|server| server.role == Role::Replica);
    let stay = |reason| Some(Plan::of(Target::Held(held), reason, facts, statement));

    let asks_about_last =
        statement.kind == Kind::Previous || (statement.needs.any(Needs::PREVIOUS) && !on_replica);
    if asks_about_last {
        return stay(Reason::AboutLastStatement);
    }
    if facts.in_transaction && !(on_replica && opens_read_write(statement.kind)) {
        return stay(if facts.transaction_read_only {
            Reason::InReadOnlyTransaction
        } else {
            Reason::InTransaction
        });
    }
    if pins.is_empty() {
        return None;
    }
    if on_replica && !harmless_on_replica(statement, pins) {
        let target = Target::Denied(BOUND_TO_REPLICA);
        return Some(Plan::bare(target, Reason::PinnedToReplica(pins)));
    }
    stay(Reason::Pinned(pins))
}

/// BEGIN ends the open transaction and opens one that may write, which a replica cannot serve.
fn opens_read_write(kind: Kind) -> bool {
    kind == Kind::Begin { read_only: false }
}

/// What a session that is bound to a replica by `pins` may still do there: read, and what concerns
/// the state that binds it.
fn harmless_on_replica(statement: &Statement, pins: Pins) -> bool {
    match statement.kind {
        Kind::Read | Kind::Begin { read_only: true } | Kind::Transaction | Kind::Session => true,
        Kind::PrimaryRead => {
            statement.unpins.any(pins)
                || statement.needs.any(Needs::USER_VARIABLE.with(Needs::LAST_INSERT_ID))
        }
        _ => statement.unpins.any(pins),
    }
}

/// A read, or the start of a READ ONLY transaction: to a replica, when everything allows it.
fn spread(facts: &Facts<'_>, statement: &Statement, topology: &Topology) -> Plan {
    if let Some(reason) = needs_primary(facts, statement) {
        return to_primary(reason, facts, statement, topology);
    }
    let mut readable = topology.servers.iter().filter(|server| server.readable()).peekable();
    if readable.peek().is_none() {
        return to_primary(Reason::NoUsableReplica, facts, statement, topology);
    }
    if !readable.any(|server| server.caught_up(facts.token)) {
        return to_primary(Reason::NotCaughtUp, facts, statement, topology);
    }
    let mut plan =
        Plan::of(Target::Replicas, Reason::Statement(statement.reason), facts, statement);
    plan.retry = Retry::Elsewhere;
    plan
}

/// Why a read must see or use the primary all the same.
fn needs_primary(facts: &Facts<'_>, statement: &Statement) -> Option<Reason> {
    if not_allowed(facts, statement) {
        return Some(Reason::SeveralNotAllowed);
    }
    if facts.in_transaction {
        return Some(Reason::InTransaction);
    }
    let pins = facts.pins.with(statement.pins).without(ABOUT_LAST_STATEMENT);
    if !pins.is_empty() {
        return Some(Reason::Pinned(pins));
    }
    if !facts.autocommit {
        return Some(Reason::AutocommitOff);
    }
    if matches!(facts.isolation, Isolation::Serializable | Isolation::ReadUncommitted) {
        return Some(Reason::Isolation(facts.isolation));
    }
    let needs = [
        (Needs::LAST_INSERT_ID, Reason::LastInsertId),
        (Needs::USER_VARIABLE, Reason::UserVariable),
        (Needs::UNKNOWN_FUNCTION, Reason::UnknownFunction),
    ];
    if let Some((_, reason)) = needs.into_iter().find(|(need, _)| statement.needs.any(*need)) {
        return Some(reason);
    }
    facts.wrote_blind.then_some(Reason::WroteBlind)
}

/// Why a statement that no replica may run goes to the primary.
fn why_not_free(facts: &Facts<'_>, statement: &Statement) -> Reason {
    if not_allowed(facts, statement) {
        return Reason::SeveralNotAllowed;
    }
    Reason::Statement(statement.reason)
}

fn not_allowed(facts: &Facts<'_>, statement: &Statement) -> bool {
    statement.needs.any(Needs::MULTI) && !facts.multi_statements
}

fn to_primary(
    reason: Reason,
    facts: &Facts<'_>,
    statement: &Statement,
    topology: &Topology,
) -> Plan {
    let Some(primary) = topology.primary() else {
        return Plan::bare(Target::NoPrimary(topology.why_no_primary()), reason);
    };
    let mut plan = Plan::of(Target::Primary, reason, facts, statement);
    plan.commit_held = facts.in_transaction && facts.held.is_some_and(|held| held != primary.id);
    plan
}

impl Plan {
    /// A plan for what reaches a server, retried nowhere.
    fn of(target: Target, reason: Reason, facts: &Facts<'_>, statement: &Statement) -> Self {
        let mut plan = Self::bare(target, reason);
        if not_allowed(facts, statement) {
            return plan;
        }
        plan.pins = statement.pins;
        plan.unpins = statement.unpins;
        if statement.kind != Kind::Previous {
            plan.unpins = plan.unpins.with(ABOUT_LAST_STATEMENT);
        }
        plan
    }

    /// A plan that changes nothing of the session.
    fn bare(target: Target, reason: Reason) -> Self {
        Self {
            target,
            reason,
            pins: Pins::NONE,
            unpins: Pins::NONE,
            retry: Retry::Never,
            commit_held: false,
        }
    }

    /// The reason in full, with what stands against each server. Allocates; for `explain` and logs.
    pub fn explain(&self, facts: &Facts<'_>, topology: &Topology) -> String {
        let reason = match self.reason {
            Reason::NotCaughtUp | Reason::NoUsableReplica => {
                format!("{} ({})", self.reason.words(), topology.why_no_replica(facts.token))
            }
            reason => reason.words().into_owned(),
        };
        match &self.target {
            Target::NoPrimary(why) => format!("{reason}; no primary ({why})"),
            Target::Denied(message) => format!("{reason}: {message}"),
            _ => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gtid::GtidSet;
    use crate::route::testing::{primary, replica, set, statement, topology, unusable};

    const A: ServerId = ServerId(0);
    const B: ServerId = ServerId(1);
    const READ_ONLY: Kind = Kind::Begin { read_only: true };
    const READ_WRITE: Kind = Kind::Begin { read_only: false };

    /// What `check` starts from: a fresh session, and a primary with one level replica.
    struct Case<'a> {
        facts: Facts<'a>,
        statement: Statement,
        topology: Topology,
        policy: Policy,
    }

    static EMPTY: std::sync::LazyLock<GtidSet> = std::sync::LazyLock::new(GtidSet::default);

    fn case(kind: Kind) -> Case<'static> {
        Case {
            facts: Facts::fresh(&EMPTY),
            statement: statement(kind),
            topology: topology([primary("1-9"), replica(1, "1-9")]),
            policy: Policy::default(),
        }
    }

    fn check(kind: Kind, change: impl FnOnce(&mut Case<'_>), want: Target, reason: &str) -> Plan {
        let mut case = case(kind);
        change(&mut case);
        let plan = plan(&case.facts, &case.statement, &case.topology, &case.policy);
        assert_eq!(plan.target, want, "{kind:?}: {plan:?}");
        let words = plan.explain(&case.facts, &case.topology);
        assert!(words.contains(reason), "{kind:?}: {words}");
        plan
    }

    #[test]
    fn a_fresh_session() {
        let own = "its own reason";
        let read = check(Kind::Read, |_| (), Target::Replicas, own);
        assert_eq!(read.retry, Retry::Elsewhere);
        check(READ_ONLY, |_| (), Target::Replicas, own);
        for kind in [Kind::PrimaryRead, Kind::Write, READ_WRITE, Kind::Transaction, Kind::Session] {
            assert_eq!(check(kind, |_| (), Target::Primary, own).retry, Retry::Never);
        }
        check(Kind::ConnectionId, |_| (), Target::Proxy(ProxyAnswer::ConnectionId), own);
        check(Kind::Kill, |_| (), Target::Proxy(ProxyAnswer::Kill), own);
        check(Kind::Denied, |_| (), Target::Denied(REFUSED), "connect to that server directly");
        let allow = |c: &mut Case<'_>| c.policy.refuse_administration = false;
        check(Kind::Denied, allow, Target::Primary, own);
    }

    #[test]
    fn reads_that_need_the_primary() {
        let check = |change: fn(&mut Case<'_>), reason| {
            for kind in [Kind::Read, READ_ONLY] {
                let plan = check(kind, change, Target::Primary, reason);
                assert_eq!(plan.retry, Retry::Never);
            }
        };
        check(|c| c.facts.autocommit = false, "autocommit is off");
        check(|c| c.facts.isolation = Isolation::Serializable, "SERIALIZABLE");
        check(|c| c.facts.isolation = Isolation::ReadUncommitted, "READ UNCOMMITTED");
        check(|c| c.facts.wrote_blind = true, "no GTID");
        check(|c| c.facts.in_transaction = true, "in a transaction");
        check(|c| c.facts.pins = Pins::TEMPORARY_TABLE, "temporary table");
        check(|c| c.statement.pins = Pins::USER_VARIABLE, "pinned: user variable");
        check(|c| c.statement.needs = Needs::LAST_INSERT_ID, "last insert id");
        check(|c| c.statement.needs = Needs::USER_VARIABLE, "user variable");
        check(|c| c.statement.needs = Needs::UNKNOWN_FUNCTION, "function");
    }

    #[test]
    fn levels_that_replicas_serve() {
        for level in [Isolation::ReadCommitted, Isolation::RepeatableRead] {
            check(Kind::Read, |c| c.facts.isolation = level, Target::Replicas, "");
        }
    }

    #[test]
    fn reads_after_own_writes() {
        let token = set("9");
        for (executed, want, reason) in [
            ("1-9", Target::Replicas, ""),
            ("1-8", Target::Primary, "b: has not applied this session's writes yet"),
        ] {
            let mut case = case(Kind::Read);
            case.facts.token = &token;
            case.topology = topology([primary("1-9"), replica(1, executed)]);
            let plan = plan(&case.facts, &case.statement, &case.topology, &case.policy);
            assert_eq!(plan.target, want, "{executed}");
            assert!(plan.explain(&case.facts, &case.topology).contains(reason));
        }
    }

    #[test]
    fn no_usable_replica() {
        let down = || unusable(replica(1, "1-9"), "connection refused");
        check(
            Kind::Read,
            |c| c.topology = topology([primary("1"), down()]),
            Target::Primary,
            "no usable replica (b: connection refused)",
        );
        check(
            Kind::Read,
            |c| c.topology = topology([primary("1")]),
            Target::Primary,
            "no replica is configured",
        );
    }

    #[test]
    fn no_primary() {
        let why = "a: connection refused; b: a replica";
        for kind in [Kind::Write, Kind::PrimaryRead, READ_WRITE, Kind::Session] {
            check(
                kind,
                |c| {
                    let down = unusable(primary("1-9"), "connection refused");
                    c.topology = topology([down, replica(1, "1-9")]);
                },
                Target::NoPrimary(why.to_owned()),
                why,
            );
        }
        // Reads go on without a primary, unless they must be fresher than the replicas.
        let down = |c: &mut Case<'_>| {
            c.topology = topology([unusable(primary("1-9"), "down"), replica(1, "1-9")]);
        };
        check(Kind::Read, down, Target::Replicas, "");
        let blind = |c: &mut Case<'_>| {
            down(c);
            c.facts.wrote_blind = true;
        };
        check(Kind::Read, blind, Target::NoPrimary("a: down; b: a replica".to_owned()), "no GTID");
        check(
            Kind::Read,
            |c| c.topology = Topology::default(),
            Target::NoPrimary("no server is configured".to_owned()),
            "",
        );
    }

    #[test]
    fn a_transaction_stays_where_it_is() {
        for kind in [
            Kind::Read,
            Kind::Write,
            Kind::PrimaryRead,
            Kind::Transaction,
            Kind::Session,
            Kind::Previous,
            READ_ONLY,
        ] {
            for held in [A, B] {
                let open = |c: &mut Case<'_>| {
                    c.facts.in_transaction = true;
                    c.facts.transaction_read_only = held == B;
                    c.facts.held = Some(held);
                };
                let plan = check(kind, open, Target::Held(held), "");
                assert_eq!(plan.retry, Retry::Never);
            }
        }
        let on_primary = |c: &mut Case<'_>| {
            c.facts.in_transaction = true;
            c.facts.held = Some(A);
        };
        check(READ_WRITE, on_primary, Target::Held(A), "in a transaction");
        check(Kind::ConnectionId, on_primary, Target::Proxy(ProxyAnswer::ConnectionId), "");
    }

    #[test]
    fn begin_leaves_a_replica() {
        let on_replica = |c: &mut Case<'_>| {
            c.facts.in_transaction = true;
            c.facts.transaction_read_only = true;
            c.facts.held = Some(B);
        };
        assert!(check(READ_WRITE, on_replica, Target::Primary, "").commit_held);
        assert!(!check(READ_WRITE, |_| (), Target::Primary, "").commit_held);
    }

    #[test]
    fn pins_hold() {
        let pinned = |c: &mut Case<'_>| {
            c.facts.pins = Pins::USER_VARIABLE.with(Pins::NAMED_LOCK);
            c.facts.held = Some(A);
        };
        for kind in [Kind::Read, Kind::Write, Kind::Session, READ_WRITE, READ_ONLY] {
            check(kind, pinned, Target::Held(A), "pinned: user variable, named lock");
        }
        // Held only for the sake of SHOW WARNINGS: free for everything else.
        for soft in [Pins::WARNINGS, Pins::FOUND_ROWS] {
            let pinned = |c: &mut Case<'_>| {
                c.facts.pins = soft;
                c.facts.held = Some(A);
            };
            let plan = check(Kind::Read, pinned, Target::Replicas, "");
            assert!(plan.unpins.any(soft));
            let plan = check(Kind::Previous, pinned, Target::Held(A), "previous");
            assert!(!plan.unpins.any(soft));
        }
    }

    #[test]
    fn pinned_to_a_replica() {
        let pinned = |c: &mut Case<'_>| {
            c.facts.pins = Pins::USER_VARIABLE;
            c.facts.held = Some(B);
        };
        check(Kind::Read, pinned, Target::Held(B), "pinned: user variable");
        for kind in [Kind::Write, READ_WRITE, Kind::PrimaryRead] {
            check(kind, pinned, Target::Denied(BOUND_TO_REPLICA), "pinned to a replica");
        }
        let asks = |c: &mut Case<'_>| {
            pinned(c);
            c.statement.needs = Needs::USER_VARIABLE;
        };
        check(Kind::PrimaryRead, asks, Target::Held(B), "");
        let frees = |c: &mut Case<'_>| {
            pinned(c);
            c.statement.unpins = Pins::USER_VARIABLE;
        };
        check(Kind::Write, frees, Target::Held(B), "");
    }

    #[test]
    fn about_the_previous_statement() {
        let after_b = |c: &mut Case<'_>| c.facts.previous = Some(B);
        check(Kind::Previous, after_b, Target::Previous(B), "previous statement");
        check(Kind::Previous, |_| (), Target::Primary, "there was none");
        // A write that uses ROW_COUNT(): on the same connection, if that may write.
        for (held, want) in [(A, Target::Held(A)), (B, Target::Primary)] {
            let uses = |c: &mut Case<'_>| {
                c.statement.needs = Needs::PREVIOUS;
                c.facts.held = Some(held);
                c.facts.pins = Pins::WARNINGS;
            };
            check(Kind::Write, uses, want, "");
        }
    }

    #[test]
    fn several_statements() {
        let several = |c: &mut Case<'_>| {
            c.statement.needs = Needs::MULTI;
            c.statement.pins = Pins::USER_VARIABLE;
            c.facts.multi_statements = false;
        };
        for kind in [Kind::Read, Kind::Write, READ_ONLY, Kind::Session] {
            let plan = check(kind, several, Target::Primary, "did not ask for multi-statements");
            assert_eq!(plan.pins, Pins::NONE, "the server refuses the text");
        }
        let allowed = |c: &mut Case<'_>| c.statement.needs = Needs::MULTI;
        check(Kind::Read, allowed, Target::Replicas, "");
    }

    #[test]
    fn pins_pass_through() {
        let locks = |c: &mut Case<'_>| {
            c.statement.pins = Pins::NAMED_LOCK;
            c.statement.unpins = Pins::TABLE_LOCK;
        };
        let plan = check(Kind::Write, locks, Target::Primary, "");
        assert_eq!(plan.pins, Pins::NAMED_LOCK);
        assert!(plan.unpins.any(Pins::TABLE_LOCK) && plan.unpins.any(Pins::WARNINGS));
        let found = |c: &mut Case<'_>| c.statement.pins = Pins::FOUND_ROWS;
        let plan = check(Kind::Read, found, Target::Replicas, "");
        assert_eq!(plan.pins, Pins::FOUND_ROWS);
    }
}
