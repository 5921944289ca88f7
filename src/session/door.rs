//! The door to the primary: while the role moves, statements that need the primary wait outside, and whoever
//! moves it waits until nobody is inside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::backend::pool::LeaseError;
use crate::route::{Plan, Target};
use crate::session::Session;
use crate::session::statement::Choice;
use crate::sql::{Needs, Statement};
use crate::topology::ServerId;
use crate::wire::{ErrPacket, codes};

/// A statement that waits looks again this often, should it have missed the news.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Shared by all sessions and by whoever moves the primary.
#[derive(Debug)]
pub struct Door {
    /// How many want it closed: whoever moves the role in this process, and who heard of another's move.
    closed: AtomicUsize,
    /// Statements and transactions that are under way on the primary.
    inside: AtomicUsize,
    /// Told whenever waiting may have become pointless.
    news: watch::Sender<()>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            closed: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            news: watch::Sender::new(()),
        }
    }
}

impl Door {
    /// Statements and transactions that begin from now on wait; those inside go on.
    pub fn close(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes one [`Door::close`] back; lets everybody in when it was the last.
    pub fn open(&self) {
        self.closed.fetch_sub(1, Ordering::SeqCst);
        self.tell();
    }

    /// How many statements and transactions are under way on the primary.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// Told of every change of the topology.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// The topology has changed: whoever waits for a primary looks again.
    pub fn tell(&self) {
        self.news.send_replace(());
    }

    /// `None` while the door is closed. First counted, then asked: whoever closes the door and then sees
    /// nobody inside knows that nobody comes.
    fn enter(self: &Arc<Self>) -> Option<Inside> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(Arc::clone(self));
        (self.closed.load(Ordering::SeqCst) == 0).then_some(inside)
    }
}

/// A statement or transaction under way on the primary.
#[derive(Debug)]
pub(super) struct Inside(Arc<Door>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a statement may run now.
pub(super) enum Admission {
    Go,
    /// Something may have changed: the plan is to be made anew.
    Again,
    Refused(ErrPacket),
}

impl Session {
    /// Lets the statement through, or has it wait for a primary or for the door.
    pub(super) async fn admit(
        &mut self,
        plan: &Plan,
        choice: &Choice,
        since: &mut Option<Instant>,
    ) -> Admission {
        let may_enter = self.may_enter(plan, choice);
        if (!may_enter || self.lacks_primary(plan, choice)) && self.hold(since).await {
            return Admission::Again;
        }
        if may_enter {
            return Admission::Go;
        }
        let words = "the primary is being moved, and that takes longer than [proxy] hold_seconds";
        Admission::Refused(codes::OPTION_PREVENTS_STATEMENT.packet(words))
    }

    /// Whether the statement was not sent because the primary could not be reached, and has now waited a
    /// while for it or for another.
    pub(super) async fn waits_for(
        &mut self,
        id: ServerId,
        error: &LeaseError,
        since: &mut Option<Instant>,
    ) -> bool {
        if !self.primary_was_not_reached(id, error) {
            return false;
        }
        self.gave_up(id, &error.to_string());
        self.hold(since).await
    }

    /// Gives up a connection to a server that turned out to be read-only.
    pub(super) fn leave_read_only(&mut self, id: Option<ServerId>) {
        self.lease = None;
        if let Some(id) = id {
            self.gave_up(id, "it is read-only");
        }
    }

    /// Whether the statement may run now: it does not concern the primary, or the door is open.
    fn may_enter(&mut self, plan: &Plan, choice: &Choice) -> bool {
        let concerns = match choice {
            Choice::Server { .. } => plan.target == Target::Primary,
            // An open transaction has entered, or runs on a replica.
            Choice::Held => !self.in_transaction(),
            _ => false,
        };
        if !concerns || self.inside.is_some() {
            return true;
        }
        self.inside = self.worker.shared.door.enter();
        self.inside.is_some()
    }

    /// Waits for another primary, or for the door to open, until the statement has waited for
    /// `[proxy] hold_seconds` in all; `false` when that time is over. `since`: when it began to wait.
    pub(super) async fn hold(&mut self, since: &mut Option<Instant>) -> bool {
        self.inside = None;
        let limit = self.worker.shared.config.proxy.hold;
        let since = *since.get_or_insert_with(Instant::now);
        let left = limit.saturating_sub(since.elapsed());
        if left.is_zero() {
            return false;
        }
        let mut news = self.worker.shared.door.news.subscribe();
        let _ = tokio::time::timeout(left.min(LOOK_AGAIN), news.changed()).await;
        true
    }

    /// Whether the statement may be kept until there is a primary.
    fn lacks_primary(&self, plan: &Plan, choice: &Choice) -> bool {
        let wants =
            matches!(plan.target, Target::NoPrimary(_) | Target::Primary | Target::Replicas);
        matches!(choice, Choice::Nowhere(_))
            && wants
            && self.worker.shared.topology.load().awaits_primary
    }

    /// Whether nothing was sent and the primary may be back, or be another one, in a moment.
    fn primary_was_not_reached(&self, id: ServerId, error: &LeaseError) -> bool {
        let unreachable = matches!(error, LeaseError::Connect(error) if error.may_pass());
        let topology = self.worker.shared.topology.load();
        let is_primary = topology.primary().is_none_or(|primary| primary.id == id);
        unreachable && is_primary && topology.awaits_primary
    }

    /// Whether the server's word that it is read-only may be answered by waiting: nothing was done, and
    /// nothing binds the session to that server. A procedure may have committed something before.
    pub(super) fn may_wait_for_writable(&self, statement: &Statement) -> bool {
        let whole = statement.count == 1 && !statement.needs.any(Needs::UNKNOWN_FUNCTION);
        !self.in_transaction() && self.pins.is_empty() && whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_door_lets_nobody_in_and_everybody_out() {
        let door = Arc::new(Door::default());
        let first = door.enter().unwrap();
        door.close();
        door.close();
        assert!(door.enter().is_none());
        assert_eq!(door.inside(), 1);
        drop(first);
        assert_eq!(door.inside(), 0);
        door.open();
        assert!(door.enter().is_none());
        door.open();
        assert!(door.enter().is_some());
        assert_eq!(door.inside(), 0);
    }
}
