//! What a server says of its group. Pure.

/// MEMBER_STATE (<https://dev.mysql.com/doc/refman/9.7/en/group-replication-server-states.html>).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Member {
    Online,
    /// It fetches what it lacks.
    Recovering,
    #[default]
    Offline,
    /// It left by a failure, and is read-only.
    Error,
    /// As others see a member that they do not hear.
    Unreachable,
}

/// One server, as far as planning needs it; nothing installed by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupSeen {
    /// The plugin is installed, and nothing is left of a founding that was cut off.
    pub ready: bool,
    /// Its own.
    pub state: Member,
    /// It says that it is the primary.
    pub is_primary: bool,
    /// It hears most members of its view.
    pub majority: bool,
    /// It has everything that any node has, executed or received.
    pub complete: bool,
}

/// One line of a server's view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub host: String,
    pub state: Member,
    pub is_primary: bool,
    /// The server that was asked.
    pub is_self: bool,
}

/// All members that a server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View(pub Vec<Row>);

impl Member {
    /// From the server's word; an unknown one is an error of the member.
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "ONLINE" => Self::Online,
            "RECOVERING" => Self::Recovering,
            "OFFLINE" | "" => Self::Offline,
            "UNREACHABLE" => Self::Unreachable,
            _ => Self::Error,
        }
    }

    /// The server's word.
    pub(in crate::cluster) fn word(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Recovering => "RECOVERING",
            Self::Offline => "OFFLINE",
            Self::Error => "ERROR",
            Self::Unreachable => "UNREACHABLE",
        }
    }

    /// It is in a group, or believes so.
    pub(in crate::cluster) fn belongs(self) -> bool {
        matches!(self, Self::Online | Self::Recovering)
    }
}

impl View {
    fn own(&self) -> Option<&Row> {
        self.0.iter().find(|row| row.is_self)
    }

    pub(super) fn state(&self) -> Member {
        self.own().map_or(Member::Offline, |row| row.state)
    }

    pub(super) fn is_primary(&self) -> bool {
        self.own().is_some_and(|row| row.is_primary && row.state == Member::Online)
    }

    /// More than half of the members are heard.
    pub(super) fn majority(&self) -> bool {
        let heard = self.0.iter().filter(|row| row.state.belongs()).count();
        self.state().belongs() && heard * 2 > self.0.len()
    }

    /// Whether that host is a member in this view, whatever its state.
    pub(super) fn names(&self, host: &str) -> bool {
        self.0.iter().any(|row| row.host == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(states: &str) -> View {
        let row = |(at, letter): (usize, char)| Row {
            host: format!("t-{}", at + 1),
            state: match letter {
                'O' => Member::Online,
                'R' => Member::Recovering,
                'U' => Member::Unreachable,
                'E' => Member::Error,
                _ => Member::Offline,
            },
            is_primary: at == 0,
            is_self: at == 0,
        };
        View(states.chars().enumerate().map(row).collect())
    }

    #[test]
    fn a_majority_is_more_than_half() {
        for (states, majority) in [
            ("O", true),
            ("OO", true),
            ("OU", false),
            ("OUU", false),
            ("ORU", true),
            ("OOUU", false),
            ("OOOUU", true),
            ("E", false),
            ("-", false),
            ("", false),
        ] {
            assert_eq!(view(states).majority(), majority, "{states}");
        }
        assert!(view("OUU").is_primary() && !view("EOO").is_primary());
        assert!(view("OU").names("t-2") && !view("OU").names("t-3"));
    }

    #[test]
    fn words_come_back() {
        for word in ["ONLINE", "RECOVERING", "OFFLINE", "ERROR", "UNREACHABLE"] {
            assert_eq!(Member::parse(word).word(), word);
        }
        assert_eq!(Member::parse("NEWS"), Member::Error);
    }
}
