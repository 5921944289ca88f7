//! What this Weir says of itself to the servers that it watches, by signs of the probes' connections.

use crate::topology::{Move, ServerId, signs};

/// What is said to all servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Clients are served.
    pub(super) serves: bool,
    /// None of them will write to that server until that move is over.
    pub(super) waits: Option<(ServerId, Move)>,
}

/// What is said to one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Says {
    serves: bool,
    waits: Option<Move>,
}

impl Said {
    pub(super) fn to(self, server: ServerId) -> Says {
        let waits = self.waits.filter(|(whose, _)| *whose == server);
        Says { serves: self.serves, waits: waits.map(|(_, which)| which) }
    }
}

impl Says {
    /// The same to a replica that is about to be stopped, by its own last word: the sessions of this process have known
    /// it since then, and begin nothing there.
    pub(super) fn heeding(self, leaves: Option<Move>) -> Self {
        Self { waits: self.waits.or(leaves), ..self }
    }

    /// The statements after which the server knows this, where it knew `before` from the same connection.
    pub(super) fn statements(self, before: Self, connection: u32) -> Vec<String> {
        let waits = |Move(which): Move| format!("'{}{which}.{connection}'", signs::WAITS);
        let mut statements = Vec::new();
        if self.serves && !before.serves {
            statements.push(format!("DO GET_LOCK('{}{connection}', 0)", signs::SERVES));
        }
        if self.waits != before.waits {
            statements.extend(before.waits.map(|it| format!("DO RELEASE_LOCK({})", waits(it))));
            statements.extend(self.waits.map(|it| format!("DO GET_LOCK({}, 0)", waits(it))));
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_said() {
        let silent = Said::default();
        let serves = Said { serves: true, waits: None };
        let waits = |which| Said { serves: true, waits: Some((ServerId(1), Move(which))) };
        for (before, now, want) in [
            (silent, silent, ""),
            (silent, serves, "DO GET_LOCK('weir.serves.7', 0)"),
            (serves, serves, ""),
            (serves, waits(5), "DO GET_LOCK('weir.waits.5.7', 0)"),
            (waits(5), waits(5), ""),
            (
                waits(5),
                waits(6),
                "DO RELEASE_LOCK('weir.waits.5.7');DO GET_LOCK('weir.waits.6.7', 0)",
            ),
            (waits(6), serves, "DO RELEASE_LOCK('weir.waits.6.7')"),
            (silent, waits(5), "DO GET_LOCK('weir.serves.7', 0);DO GET_LOCK('weir.waits.5.7', 0)"),
        ] {
            let said = now.to(ServerId(1)).statements(before.to(ServerId(1)), 7);
            assert_eq!(said.join(";"), want, "{before:?} {now:?}");
        }
        assert_eq!(waits(5).to(ServerId(2)), serves.to(ServerId(2)));
        let leaves = serves.to(ServerId(2)).heeding(Some(Move(5)));
        assert_eq!(leaves, waits(5).to(ServerId(1)));
        assert_eq!(leaves.heeding(None), leaves);
    }
}
