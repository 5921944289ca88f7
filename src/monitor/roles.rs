//! Who is the primary. Pure: what each server last said in, one ruling a server out.
//!
//! The rules, in order:
//! 1. A server with `read_only` on is a replica.
//! 2. A writable server that actively replicates from another server of ours is a replica too, unless
//!    that other one replicates from it in turn (circular replication), or is read-only (the role is
//!    being moved by hand).
//! 3. A single writable server that is left is the primary.
//! 4. Of several, one whose replication from another of them was stopped, and which has executed
//!    nothing of its own since, is a replica; then the one that other servers replicate from is the
//!    primary; then the one that has executed everything that the others have, and more. The one that
//!    was the primary last need not have more, and no other takes its place by that.
//! 5. When that settles nothing, none is: two primaries would take writes that exclude each other.
//!
//! Members of a group (MySQL Group Replication) elect the primary themselves: `group` decides there.
//!
//! A server that does not answer keeps its role until another one is the primary.

use std::sync::Arc;

use super::group;
use super::seen::{Channel, Probe, Replication};
use crate::gtid::GtidSet;
use crate::topology::Role;

/// One server, as roles need it.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub name: &'a str,
    /// host:port from the configuration.
    pub address: &'a str,
    /// Whether it answers now.
    pub up: bool,
    /// Its last good answer, also when it is down.
    pub probe: Option<&'a Probe>,
    /// The role of the last ruling.
    pub role: Role,
    /// Whether it is the last one that was ruled the primary.
    pub incumbent: bool,
    /// The place of the server beside which it was seen writable, when that one was or might have
    /// been the primary.
    pub rival: Option<usize>,
}

/// What a server is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    pub role: Role,
    /// Why it must not be used, when its role alone forbids it.
    pub trouble: Option<Arc<str>>,
    /// To be given back as `Member::rival` next time.
    pub rival: Option<usize>,
}

/// Decides the role of every server; the answer has the order of `members`.
pub fn assign(members: &[Member<'_>]) -> Vec<Ruling> {
    if let Some(elected) = group::assign(members) {
        return elected;
    }
    let cluster = Cluster::new(members);
    let mut rulings: Vec<Ruling> = members.iter().map(Ruling::before_candidates).collect();
    let (candidates, locked_out) = cluster.candidates();
    for place in locked_out {
        rule(&mut rulings, place, cluster.lock_out(place));
    }
    match cluster.winner(&candidates) {
        Some((winner, losers_follow)) => {
            for (place, ruling) in rulings.iter_mut().enumerate() {
                if place == winner {
                    *ruling = Ruling { role: Role::Primary, trouble: None, rival: None };
                } else if candidates.contains(&place) && !losers_follow.contains(&place) {
                    *ruling = cluster.beside(winner);
                } else if ruling.role == Role::Primary {
                    // It does not answer, and another has taken its place.
                    ruling.role = Role::Unknown;
                }
            }
        }
        None => {
            for &place in &candidates {
                let other = candidates.iter().copied().find(|other| *other != place);
                rule(&mut rulings, place, cluster.undecided(&candidates, other));
            }
        }
    }
    rulings
}

fn rule(rulings: &mut [Ruling], place: usize, ruling: Ruling) {
    if let Some(slot) = rulings.get_mut(place) {
        *slot = ruling;
    }
}

impl Ruling {
    /// The role of a server that is no candidate.
    fn before_candidates(member: &Member<'_>) -> Self {
        let role = match (member.up, member.probe) {
            (_, None) => Role::Unknown,
            (true, Some(_)) => Role::Replica,
            (false, Some(_)) => member.role,
        };
        let rival = if member.up { None } else { member.rival };
        Self { role, trouble: None, rival }
    }
}

/// Where a channel comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Member(usize),
    /// A server that is none of ours.
    Outside,
    /// Perhaps one of ours that was never seen.
    Unknown,
}

/// The members with who follows whom.
struct Cluster<'a> {
    members: &'a [Member<'a>],
    /// For each member the sources of its active channels, as it last said.
    follows: Vec<Vec<Source>>,
}

impl<'a> Cluster<'a> {
    fn new(members: &'a [Member<'a>]) -> Self {
        let mut cluster = Self { members, follows: Vec::new() };
        cluster.follows =
            members.iter().map(|member| cluster.sources(member, Channel::is_active)).collect();
        cluster
    }

    fn sources(&self, member: &Member<'_>, wanted: impl Fn(&Channel) -> bool) -> Vec<Source> {
        let Some(Replication::Channels(channels)) = member.probe.map(|p| &p.replication) else {
            return Vec::new();
        };
        let channels = channels.iter().filter(|c| !c.is_group() && wanted(c));
        channels.map(|channel| self.source(channel)).collect()
    }

    fn source(&self, channel: &Channel) -> Source {
        let is_source = |member: &Member<'_>| {
            member.probe.is_some_and(|probe| probe.identity.is(&channel.source))
                || member.address.eq_ignore_ascii_case(&channel.source_address)
        };
        if let Some(place) = self.members.iter().position(is_source) {
            return Source::Member(place);
        }
        let all_known =
            self.members.iter().all(|m| m.probe.is_some_and(|probe| probe.identity.is_known()));
        if all_known && channel.source.is_known() { Source::Outside } else { Source::Unknown }
    }

    fn followed(&self, place: usize) -> &[Source] {
        self.follows.get(place).map_or(&[], Vec::as_slice)
    }

    /// Whether what `from` executes comes, perhaps over others, from `to`.
    fn fed_by(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![from];
        let mut next = 0;
        while let Some(place) = seen.get(next).copied() {
            next += 1;
            for source in self.followed(place) {
                match source {
                    Source::Member(source) if *source == to => return true,
                    Source::Member(source) if !seen.contains(source) => seen.push(*source),
                    _ => {}
                }
            }
        }
        false
    }

    /// Whether it replicates from another, and not merely in a circle (rule 2).
    fn is_fed(&self, place: usize) -> bool {
        self.followed(place).iter().any(|source| match source {
            Source::Member(source) => {
                *source != place && !self.fed_by(*source, place) && !self.is_read_only(*source)
            }
            Source::Outside => false,
            Source::Unknown => true,
        })
    }

    /// Whether it answers and takes no writes: then it feeds nobody anything new.
    fn is_read_only(&self, place: usize) -> bool {
        let member = self.members.get(place);
        member.is_some_and(|m| m.up && m.probe.is_some_and(|probe| probe.read_only == Some(true)))
    }

    /// The writable servers that might be the primary, and those that might be but for a rival that
    /// is down and has executed what they have not.
    fn candidates(&self) -> (Vec<usize>, Vec<usize>) {
        let writable = self.members.iter().enumerate().filter(|(place, member)| {
            let open = member.probe.is_some_and(|probe| probe.read_only != Some(true));
            member.up && open && !self.is_fed(*place)
        });
        writable.map(|(place, _)| place).partition(|place| !self.has_stronger_rival(*place))
    }

    fn has_stronger_rival(&self, place: usize) -> bool {
        let rival = self.members.get(place).and_then(|member| member.rival);
        let Some((at, rival)) = rival.and_then(|at| Some((at, self.members.get(at)?))) else {
            return false;
        };
        if rival.up || self.has_followers(place, &[]) || at == place {
            return false;
        }
        self.has_all(place, at) != Some(true)
    }

    fn executed(&self, place: usize) -> Option<&GtidSet> {
        self.members.get(place)?.probe?.executed.as_deref()
    }

    /// Whether a server that answers, and is none of `except`, replicates from it.
    fn has_followers(&self, place: usize, except: &[usize]) -> bool {
        let all = self.members.iter().enumerate();
        all.filter(|(other, member)| member.up && *other != place && !except.contains(other))
            .any(|(other, _)| self.followed(other).contains(&Source::Member(place)))
    }

    /// Rules 3 and 4: the primary, and those candidates that are merely its stopped replicas.
    fn winner(&self, candidates: &[usize]) -> Option<(usize, Vec<usize>)> {
        let (stopped, left): (Vec<usize>, Vec<usize>) =
            candidates.iter().partition(|place| self.stopped_replica(**place, candidates));
        if let [only] = left.as_slice() {
            return Some((*only, stopped));
        }
        let left = if left.is_empty() { candidates.to_vec() } else { left };
        let mut followed = left.iter().filter(|place| self.has_followers(**place, candidates));
        if let (Some(winner), None) = (followed.next(), followed.next()) {
            return Some((*winner, stopped));
        }
        let circular = left.iter().any(|place| !self.followed(*place).is_empty());
        let winner = left.iter().find(|place| !circular && self.has_most(**place, &left))?;
        Some((*winner, stopped))
    }

    /// Whether it has a channel from another candidate, which somebody stopped. One that was promoted
    /// keeps such a channel too, but was the primary since, or has what its source has not.
    fn stopped_replica(&self, place: usize, candidates: &[usize]) -> bool {
        let Some(member) = self.members.get(place) else { return false };
        let sources = self.sources(member, |channel| !channel.is_active());
        !member.incumbent
            && sources.into_iter().any(|source| match source {
                Source::Member(source) => {
                    source != place
                        && candidates.contains(&source)
                        && self.has_all(source, place).unwrap_or(true)
                }
                Source::Outside | Source::Unknown => false,
            })
    }

    /// Whether `place` has executed all that `other` has; `None` without GTIDs.
    fn has_all(&self, place: usize, other: usize) -> Option<bool> {
        Some(self.executed(place)?.contains(self.executed(other)?))
    }

    /// Whether it has executed all that each of the others has, and each of them less; the last
    /// primary may have the same. A server that came back with more than the one that was promoted
    /// in its absence must not take the role back: it may be about to be fenced.
    fn has_most(&self, place: usize, of: &[usize]) -> bool {
        let is_incumbent = |place: usize| self.members.get(place).is_some_and(|m| m.incumbent);
        of.iter().filter(|other| **other != place).all(|other| {
            !is_incumbent(*other)
                && self.has_all(place, *other) == Some(true)
                && (is_incumbent(place) || self.has_all(*other, place) == Some(false))
        })
    }

    fn name(&self, place: usize) -> &str {
        self.members.get(place).map_or("another server", |member| member.name)
    }

    fn beside(&self, winner: usize) -> Ruling {
        let words = format!(
            "writable, but `{}` is the primary: make it a replica or set read_only = ON",
            self.name(winner)
        );
        Ruling { role: Role::Unknown, trouble: Some(words.into()), rival: Some(winner) }
    }

    fn lock_out(&self, place: usize) -> Ruling {
        let rival = self.members.get(place).and_then(|member| member.rival);
        let words = format!(
            "writable, but `{}` does not answer and has transactions that this server lacks: start \
             that one, or remove it from the configuration",
            rival.map_or("another server", |rival| self.name(rival))
        );
        Ruling { role: Role::Unknown, trouble: Some(words.into()), rival }
    }

    fn undecided(&self, candidates: &[usize], rival: Option<usize>) -> Ruling {
        let names: Vec<&str> = candidates.iter().map(|place| self.name(*place)).collect();
        let words = format!(
            "several servers are writable ({}) and nothing tells which is the primary: set \
             read_only = ON on all but one",
            names.join(", ")
        );
        Ruling { role: Role::Unknown, trouble: Some(words.into()), rival }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::seen::Receiver;
    use crate::monitor::testing::{channel, following, stopped, with_channel, writable};

    const P: Role = Role::Primary;
    const R: Role = Role::Replica;
    const N: Role = Role::Unknown;

    /// A server of a case: its answer, and whether it still answers.
    type Server = (Option<Probe>, bool);

    fn up(probe: Probe) -> Server {
        (Some(probe), true)
    }

    fn down(probe: Probe) -> Server {
        (Some(probe), false)
    }

    fn rule_with(servers: &[Server], roles: &[Role], rivals: &[Option<usize>]) -> Vec<Ruling> {
        let names = ["a", "b", "c", "d"];
        let addresses = ["127.0.0.1:13301", "127.0.0.1:13302", "127.0.0.1:13303", "[::1]:1"];
        let members: Vec<Member<'_>> = servers
            .iter()
            .enumerate()
            .map(|(place, (probe, up))| Member {
                name: names[place],
                address: addresses[place],
                up: *up,
                probe: probe.as_ref(),
                role: roles.get(place).copied().unwrap_or(N),
                incumbent: roles.get(place) == Some(&P),
                rival: rivals.get(place).copied().flatten(),
            })
            .collect();
        assign(&members)
    }

    fn check(what: &str, servers: &[Server], before: &[Role], want: &[Role]) {
        let got: Vec<Role> = rule_with(servers, before, &[]).iter().map(|r| r.role).collect();
        assert_eq!(got, want, "{what}");
    }

    fn read_only(mut probe: Probe) -> Probe {
        probe.read_only = Some(true);
        probe
    }

    fn open(mut probe: Probe) -> Probe {
        probe.read_only = Some(false);
        probe
    }

    fn foreign(name: char) -> Probe {
        Probe {
            read_only: None,
            replication: Replication::Unsupported,
            executed: None,
            identity: crate::monitor::seen::Identity::default(),
            ..writable(name, "")
        }
    }

    fn connecting(probe: Probe) -> Probe {
        with_channel(probe, |c| c.receiver = Receiver::Connecting)
    }

    #[test]
    fn the_plain_cluster() {
        let a = || writable('a', "1-9");
        let b = || following('b', 'a', "1-9");
        let c = || following('c', 'a', "1-8");
        check("all up", &[up(a()), up(b()), up(c())], &[], &[P, R, R]);
        check("nobody seen", &[(None, false), (None, false)], &[], &[N, N]);
        check("alone", &[up(a())], &[], &[P]);
        check("alone, foreign", &[up(foreign('a'))], &[], &[P]);
        check("two foreign", &[up(foreign('a')), up(foreign('b'))], &[], &[N, N]);
        check("alone, read-only", &[up(read_only(a()))], &[], &[R]);
        check("chain", &[up(a()), up(b()), up(following('c', 'b', "1"))], &[], &[P, R, R]);
        check("primary down", &[down(a()), up(b()), up(c())], &[P, R, R], &[P, R, R]);
        check("replica down", &[up(a()), down(b()), up(c())], &[P, R, R], &[P, R, R]);
        check("order is free", &[up(c()), up(b()), up(a())], &[], &[R, R, P]);
    }

    #[test]
    fn writable_replicas() {
        let a = || writable('a', "1-9");
        let b = || open(following('b', 'a', "1-9"));
        check("it replicates", &[up(a()), up(b())], &[], &[P, R]);
        check("its source is down", &[down(a()), up(connecting(b()))], &[P, R], &[P, R]);
        let unmatched = with_channel(b(), |c| c.source_address = "elsewhere:3306".to_owned());
        check("never seen", &[(None, false), up(connecting(unmatched))], &[], &[N, R]);
        check("stopped", &[up(a()), up(with_channel(b(), stopped))], &[P, R], &[P, R]);
        let outside = open(following('a', 'x', "1-9"));
        check("fed from outside", &[up(outside), up(b())], &[], &[P, R]);
    }

    #[test]
    fn circular_replication() {
        let a = || open(following('a', 'b', "1-9"));
        let b = || following('b', 'a', "1-9");
        check("one is read-only", &[up(a()), up(b())], &[], &[P, R]);
        check("the passive one is down", &[up(connecting(a())), down(b())], &[P, R], &[P, R]);
        check("both writable", &[up(a()), up(open(b()))], &[P, R], &[N, N]);
        let c = || following('c', 'a', "1-9");
        check("a third decides", &[up(a()), up(open(b())), up(c())], &[], &[P, N, R]);
    }

    #[test]
    fn promotions() {
        let a = || writable('a', "1-9");
        let b = || writable('b', "1-9");
        let c = |source| following('c', source, "1-9");
        check("primary gone", &[down(a()), up(b()), up(c('b'))], &[P, R, R], &[N, P, R]);
        check("two servers", &[down(a()), up(b())], &[P, R], &[N, P]);
        check("planned", &[up(read_only(a())), up(b()), up(c('b'))], &[P, R, R], &[R, P, R]);
        let kept = || with_channel(open(following('b', 'a', "1-9")), stopped);
        check("old channel is kept", &[down(a()), up(kept())], &[P, R], &[N, P]);
        check("and a is read-only", &[up(read_only(a())), up(kept())], &[P, R], &[R, P]);
        check("the old one is back", &[up(a()), up(b()), up(c('b'))], &[N, P, R], &[N, P, R]);
        check("c not yet moved", &[up(a()), up(b()), up(c('a'))], &[P, R, R], &[P, N, R]);
    }

    #[test]
    fn the_old_primary_returns() {
        let a = || writable('a', "1-9");
        // b was promoted with its channel only stopped.
        let b = |executed| with_channel(open(following('b', 'a', executed)), stopped);
        for (executed, want) in
            [("1-10", [N, P]), ("1-9", [N, P]), ("1-8:20", [N, N]), ("1-8", [N, N])]
        {
            check(executed, &[up(a()), up(b(executed))], &[N, P], &want);
        }
        // Without knowing that b was the primary.
        for (executed, want) in [("1-10", [N, P]), ("1-9", [P, R]), ("1-8:20", [N, N])] {
            check(executed, &[up(a()), up(b(executed))], &[], &want);
        }
    }

    #[test]
    fn two_writable_servers() {
        for (a, b, fresh, while_a_is_primary) in [
            ("1-9", "1-9", [N, N], [P, N]),
            ("1-9", "1-8", [P, N], [P, N]),
            ("1-9", "1-10", [N, P], [N, N]),
            ("1-9", "1-8:20", [N, N], [N, N]),
        ] {
            let servers = [up(writable('a', a)), up(writable('b', b))];
            check(&format!("{a} beside {b}"), &servers, &[], &fresh);
            check(&format!("{a} beside {b}, a before"), &servers, &[P, R], &while_a_is_primary);
        }
    }

    #[test]
    fn a_stray_server_is_not_promoted_by_its_rivals_death() {
        let rulings = rule_with(&[up(writable('a', "1-9")), up(writable('b', "1-8"))], &[], &[]);
        assert_eq!(rulings[1].rival, Some(0));
        let words = rulings[1].trouble.as_deref().unwrap_or_default();
        assert!(words.contains("`a` is the primary"), "{words}");

        let dead = down(writable('a', "1-9"));
        let check = |b: Probe, want: Role, trouble: &str| {
            let rulings = rule_with(&[dead.clone(), up(b)], &[P, N], &[None, Some(0)]);
            assert_eq!(rulings[1].role, want);
            assert!(rulings[1].trouble.as_deref().unwrap_or_default().contains(trouble));
        };
        check(writable('b', "1-8"), N, "has transactions that this server lacks");
        check(writable('b', "1-9"), P, "");

        let c = up(following('c', 'b', "1-8"));
        let b = up(writable('b', "1-8"));
        let rulings = rule_with(&[dead.clone(), b, c], &[P, N, R], &[None, Some(0), None]);
        assert_eq!(rulings[1].role, P, "another server follows it");
    }

    #[test]
    fn group_replication_channels_feed_nobody() {
        let mut group = channel('a');
        group.name = "group_replication_applier".to_owned();
        group.source = crate::monitor::seen::Identity::default();
        let mut a = writable('a', "1-9");
        a.replication = Replication::Channels(vec![group.clone()]);
        let mut b = read_only(writable('b', "1-9"));
        b.replication = Replication::Channels(vec![group]);
        check("group", &[up(a), up(b)], &[], &[P, R]);
    }
}
