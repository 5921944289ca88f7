//! Roles where servers are members of a group (MySQL Group Replication). Pure.
//!
//! The primary is the member that most of those who hear a majority name, if it says so itself, is ONLINE and takes
//! writes already. A member that is not ONLINE, or hears no majority, is used for nothing: what it holds may be old,
//! and what it is told goes nowhere.

use std::sync::Arc;

use super::roles::{Member, Ruling};
use super::seen::{Group, Probe, Replication};
use crate::topology::Role;

/// Decides the role of every server; `None` where no server that answers is in a group.
pub(super) fn assign(members: &[Member<'_>]) -> Option<Vec<Ruling>> {
    if !members.iter().any(|member| answer(member).and_then(group).is_some_and(Group::belongs)) {
        return None;
    }
    let winner = winner(members);
    let ruled = members.iter().enumerate().map(|(place, member)| match answer(member) {
        _ if winner == Some(place) => Ruling { role: Role::Primary, trouble: None, rival: None },
        Some(probe) => rule(probe),
        None => {
            // Another has taken its place, or it may come back.
            let deposed = winner.is_some() && member.role == Role::Primary;
            let role = if deposed { Role::Unknown } else { member.role };
            Ruling { role, trouble: None, rival: None }
        }
    });
    Some(ruled.collect())
}

fn answer<'a>(member: &Member<'a>) -> Option<&'a Probe> {
    member.probe.filter(|_| member.up)
}

fn group(probe: &Probe) -> Option<&Group> {
    probe.group.as_ref()
}

/// A member whose word about the primary counts.
fn votes(probe: &Probe) -> Option<&str> {
    let group = group(probe).filter(|group| group.is_online() && group.has_majority())?;
    group.primary.as_deref()
}

fn winner(members: &[Member<'_>]) -> Option<usize> {
    let votes: Vec<&str> = members.iter().filter_map(answer).filter_map(votes).collect();
    let count = |uuid: &str| votes.iter().filter(|vote| **vote == uuid).count();
    let best = votes.iter().copied().max_by_key(|uuid| count(uuid))?;
    if votes.iter().any(|uuid| *uuid != best && count(uuid) == count(best)) {
        return None;
    }
    members.iter().position(|member| {
        answer(member).is_some_and(|probe| {
            let says = self::votes(probe) == Some(best);
            says && probe.identity.uuid.as_deref() == Some(best) && probe.read_only == Some(false)
        })
    })
}

/// A server that answers and is not the primary.
fn rule(probe: &Probe) -> Ruling {
    let ruling = |role, trouble: Option<String>| Ruling {
        role,
        trouble: trouble.map(Arc::from),
        rival: None,
    };
    let Some(group) = group(probe) else {
        // Outside the group, but it may replicate from it.
        let follows = match &probe.replication {
            Replication::Channels(channels) => channels.iter().any(super::seen::Channel::is_active),
            Replication::Refused(_) | Replication::Unsupported => false,
        };
        if probe.read_only == Some(true) || follows {
            return ruling(Role::Replica, None);
        }
        let words = "writable, but in no group, which the other servers are: set read_only = ON";
        return ruling(Role::Unknown, Some(words.to_owned()));
    };
    let trouble = if !group.is_online() {
        Some(format!("{} in its group", group.state))
    } else if !group.has_majority() {
        Some(format!(
            "hears {} of {} members of its group, itself included",
            group.heard, group.members
        ))
    } else {
        None
    };
    ruling(Role::Replica, trouble)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::{following, identity, writable};

    const P: Role = Role::Primary;
    const R: Role = Role::Replica;
    const N: Role = Role::Unknown;

    /// A member that names `primary`; takes writes when that is itself.
    fn member(name: char, primary: char, state: &str, heard: usize) -> Probe {
        Probe {
            read_only: Some(name != primary),
            group: Some(Group {
                state: state.to_owned(),
                heard,
                members: 3,
                primary: identity(primary).uuid,
                queue: Some(0),
            }),
            ..writable(name, "1-9")
        }
    }

    fn online(name: char, primary: char) -> Probe {
        member(name, primary, "ONLINE", 3)
    }

    fn rule_all(servers: &[Option<Probe>], before: &[Role]) -> Option<Vec<Ruling>> {
        let down = online('x', 'x');
        let members: Vec<Member<'_>> = servers
            .iter()
            .zip(["a", "b", "c", "d"])
            .enumerate()
            .map(|(place, (probe, name))| Member {
                name,
                address: name,
                up: probe.is_some(),
                probe: Some(probe.as_ref().unwrap_or(&down)),
                role: before.get(place).copied().unwrap_or(N),
                incumbent: before.get(place) == Some(&P),
                rival: None,
            })
            .collect();
        assign(&members)
    }

    fn check(servers: &[Option<Probe>], before: &[Role], want: &[(Role, &str)]) {
        let rulings = rule_all(servers, before).unwrap();
        let got: Vec<(Role, &str)> = rulings
            .iter()
            .map(|ruling| (ruling.role, ruling.trouble.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn whom_they_elected() {
        let mut all = [online('a', 'b'), online('b', 'b'), online('c', 'b')].map(Some);
        check(&all, &[P, R, R], &[(R, ""), (P, ""), (R, "")]);
        // Elected, but it applies the old one's last transactions before it takes writes.
        all[1].as_mut().unwrap().read_only = Some(true);
        check(&all, &[N, R, R], &[(R, ""), (R, ""), (R, "")]);
        // Most name one that Weir does not reach.
        check(
            &[Some(online('a', 'b')), None, Some(online('c', 'b'))],
            &[],
            &[(R, ""), (N, ""), (R, "")],
        );
    }

    #[test]
    fn a_dead_primary_keeps_its_role_until_another_has_it() {
        let waiting = [None, Some(online('b', 'a')), Some(online('c', 'a'))];
        check(&waiting, &[P, R, R], &[(P, ""), (R, ""), (R, "")]);
        let elected = [None, Some(online('b', 'b')), Some(online('c', 'b'))];
        check(&elected, &[P, R, R], &[(N, ""), (P, ""), (R, "")]);
    }

    #[test]
    fn who_is_not_in_the_majority_is_used_for_nothing() {
        let alone = member('a', 'a', "ONLINE", 1);
        let words = "hears 1 of 3 members of its group, itself included";
        check(
            &[Some(alone.clone()), Some(online('b', 'b')), Some(online('c', 'b'))],
            &[P, R, R],
            &[(R, words), (P, ""), (R, "")],
        );
        check(&[Some(alone), None, None], &[P, R, R], &[(R, words), (R, ""), (R, "")]);
        for state in ["RECOVERING", "ERROR", "OFFLINE"] {
            let trouble = format!("{state} in its group");
            let servers =
                [online('a', 'a'), member('b', 'a', state, 3), online('c', 'a')].map(Some);
            check(&servers, &[], &[(P, ""), (R, &trouble), (R, "")]);
        }
    }

    #[test]
    fn one_that_slept_through_an_election_is_outvoted() {
        // It believes in its majority until it notices.
        let slept = [online('a', 'a'), online('b', 'b'), online('c', 'b')].map(Some);
        check(&slept, &[N, P, R], &[(R, ""), (P, ""), (R, "")]);
        let even = [Some(online('a', 'a')), Some(online('b', 'b'))];
        check(&even, &[P, R], &[(R, ""), (R, "")]);
    }

    #[test]
    fn servers_beside_the_group() {
        let servers = [online('a', 'a'), following('b', 'a', "1-9"), writable('c', "1")].map(Some);
        let words = "writable, but in no group, which the other servers are: set read_only = ON";
        check(&servers, &[], &[(P, ""), (R, ""), (N, words)]);
        // The plugin alone makes no group: other rules decide.
        let offline = member('a', 'a', "OFFLINE", 0);
        assert_eq!(rule_all(&[Some(offline), Some(following('b', 'a', "1-9"))], &[]), None);
    }
}
