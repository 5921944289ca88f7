//! The judgement on one statement while it is being made.

use super::statement::{Kind, Needs, Pins};

/// What will be a [`super::Statement`], without its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub kind: Kind,
    pub pins: Pins,
    pub unpins: Pins,
    pub needs: Needs,
    pub reason: &'static str,
    /// False when the parser was asked and did not answer.
    pub settled: bool,
}

impl Class {
    pub(super) fn new(kind: Kind, reason: &'static str) -> Self {
        Self {
            kind,
            pins: Pins::NONE,
            unpins: Pins::NONE,
            needs: Needs::NONE,
            reason,
            settled: true,
        }
    }

    pub(super) fn write(reason: &'static str) -> Self {
        Self::new(Kind::Write, reason)
    }

    pub(super) fn primary(reason: &'static str) -> Self {
        Self::new(Kind::PrimaryRead, reason)
    }

    pub(super) fn pin(mut self, pins: Pins) -> Self {
        self.pins = self.pins.with(pins);
        self
    }

    pub(super) fn unpin(mut self, pins: Pins) -> Self {
        self.unpins = self.unpins.with(pins);
        self
    }

    pub(super) fn need(mut self, needs: Needs) -> Self {
        self.needs = self.needs.with(needs);
        self
    }

    /// A write for this reason, unless it was refused or a write already. What it pins stays; what
    /// it would release does not, for the text may not mean what it seems to.
    pub(super) fn at_least_write(mut self, reason: &'static str) -> Self {
        self.unpins = Pins::NONE;
        if !matches!(self.kind, Kind::Write | Kind::Denied) {
            self.kind = Kind::Write;
            self.reason = reason;
        }
        self
    }
}
