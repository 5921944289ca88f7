//! Which of the eligible replicas runs a read.

use crate::gtid::GtidSet;
use crate::topology::{ServerId, ServerState, Topology};

/// One read in so many is drawn anew, although the session has a replica: so a replica that came back gets
/// its share again.
const DRAWN_ANEW: u64 = 64;

/// How many more commands a session's own replica may have in flight than the one drawn. Below that the
/// session stays: its connection is there, in its state, with its statements prepared.
const WORTH_MOVING: u64 = 2;

/// Servers looked at: the first so many of a topology. A set of them is one machine word.
const MAX_SERVERS: usize = 128;

/// A replica that is usable, has executed `token` and is not in `excluded`; `None` when there is
/// none.
///
/// Two candidates are drawn by weight. When one has fewer commands in flight, the one with the
/// smaller (in flight + 1) / weight is taken, else the first drawn: so idle replicas share reads by
/// their weights, and a busy one is left alone. A server of weight 0 is taken only when there is no
/// other. The session's `last` replica is kept unless it is busier than that by `WORTH_MOVING` commands, or
/// it is time to draw anew. `load` is what this worker has in flight there; `seed` is any number that differs from
/// call to call. Does not allocate.
pub fn choose<'t>(
    topology: &'t Topology,
    token: &GtidSet,
    excluded: &[ServerId],
    last: Option<ServerId>,
    load: &dyn Fn(ServerId) -> u32,
    seed: u64,
) -> Option<&'t ServerState> {
    let all = Candidates::eligible(topology, token, excluded);
    let candidates = all.weighted().unwrap_or(all);
    let drawn = candidates.lighter_of_two(load, seed)?;
    let last = candidates.iter().map(|(_, server)| server).find(|server| last == Some(server.id));
    Some(match last {
        Some(last) if !mix(seed.rotate_left(17)).is_multiple_of(DRAWN_ANEW) => {
            let (own, other) = (u64::from(load(last.id)), u64::from(load(drawn.id)));
            // (own + 1) / weight of last <= (other + 1 + WORTH_MOVING) / weight of drawn.
            let stays = (own + 1) * share(drawn) <= (other + 1 + WORTH_MOVING) * share(last);
            if stays { last } else { drawn }
        }
        _ => drawn,
    })
}

/// A server's part of the reads; servers of weight 0, when only such are left, share evenly.
fn share(server: &ServerState) -> u64 {
    u64::from(server.config.weight.max(1))
}

/// Some of a topology's servers: one bit each, by place.
#[derive(Clone, Copy)]
struct Candidates<'t> {
    servers: &'t [ServerState],
    bits: u128,
}

impl<'t> Candidates<'t> {
    fn eligible(topology: &'t Topology, token: &GtidSet, excluded: &[ServerId]) -> Self {
        Self { servers: &topology.servers, bits: 0 }.filled(|server| {
            server.readable() && !excluded.contains(&server.id) && server.caught_up(token)
        })
    }

    /// Those that have a weight; `None` when there is no such.
    fn weighted(self) -> Option<Self> {
        let places = self.iter().filter(|(_, server)| server.config.weight > 0);
        let bits = places.fold(0, |bits, (place, _)| bits | 1 << place);
        (bits != 0).then_some(Self { bits, ..self })
    }

    fn without(self, place: usize) -> Self {
        Self { bits: self.bits & !(1 << place), ..self }
    }

    fn filled(self, wanted: impl Fn(&ServerState) -> bool) -> Self {
        let places = self.servers.iter().take(MAX_SERVERS).enumerate();
        let bits = places.filter(|(_, s)| wanted(s)).fold(0, |bits, (place, _)| bits | 1 << place);
        Self { bits, ..self }
    }

    fn iter(self) -> impl Iterator<Item = (usize, &'t ServerState)> {
        let places = self.servers.iter().take(MAX_SERVERS).enumerate();
        places.filter(move |(place, _)| self.bits & (1 << place) != 0)
    }

    /// Two of them are drawn; the one that is less busy for its weight, else the first.
    fn lighter_of_two(self, load: &dyn Fn(ServerId) -> u32, seed: u64) -> Option<&'t ServerState> {
        let (place, first) = self.draw(mix(seed))?;
        let Some((_, second)) = self.without(place).draw(mix(!seed)) else {
            return Some(first);
        };
        let (a, b) = (load(first.id), load(second.id));
        // (a + 1) / weight of first > (b + 1) / weight of second, without division.
        let cost = |load: u32, other: &ServerState| (u64::from(load) + 1) * share(other);
        Some(if a != b && cost(a, second) > cost(b, first) { second } else { first })
    }

    /// One of them, each as likely as its share says. `chance` is uniform over all 64 bits.
    fn draw(self, chance: u64) -> Option<(usize, &'t ServerState)> {
        let total: u64 = self.iter().map(|(_, server)| share(server)).sum();
        let mut rest = chance.checked_rem(total)?;
        self.iter().find(|(_, server)| match rest.checked_sub(share(server)) {
            Some(left) => {
                rest = left;
                false
            }
            None => true,
        })
    }
}

/// Spreads a seed over all bits (the finaliser of SplitMix64), so that a counter serves as one.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::testing::{primary, replica, set, topology, unusable, weighing};

    const ROUNDS: u64 = 10_000;

    /// How many of `ROUNDS` reads each of servers 0 to 3 gets.
    fn spread(topology: &Topology, load: &dyn Fn(ServerId) -> u32) -> [u64; 4] {
        let mut counts = [0; 4];
        for seed in 0..ROUNDS {
            if let Some(server) = choose(topology, &GtidSet::default(), &[], None, load, seed) {
                counts[usize::try_from(server.id.0).unwrap()] += 1;
            }
        }
        counts
    }

    fn near(got: u64, percent: u64) -> bool {
        got.abs_diff(ROUNDS * percent / 100) < ROUNDS * 3 / 100
    }

    #[test]
    fn idle_replicas_share_by_weight() {
        let t = topology([
            primary("1"),
            weighing(replica(1, "1"), 300),
            weighing(replica(2, "1"), 100),
            weighing(replica(3, "1"), 0),
        ]);
        let counts = spread(&t, &|_| 0);
        assert!(near(counts[1], 75) && near(counts[2], 25), "{counts:?}");
        assert_eq!((counts[0], counts[3]), (0, 0));
    }

    #[test]
    fn a_busy_replica_is_left_alone() {
        let t = topology([primary("1"), replica(1, "1"), replica(2, "1"), replica(3, "1")]);
        let counts = spread(&t, &|id| if id.0 == 1 { 50 } else { 2 });
        assert_eq!(counts[1], 0, "{counts:?}");
        assert!(near(counts[2], 50) && near(counts[3], 50), "{counts:?}");

        // Ten times the weight carries up to ten times the commands.
        let t = topology([primary("1"), weighing(replica(1, "1"), 1000), replica(2, "1")]);
        assert_eq!(spread(&t, &|id| if id.0 == 1 { 5 } else { 0 })[2], 0);
        assert_eq!(spread(&t, &|id| if id.0 == 1 { 20 } else { 0 })[1], 0);
    }

    #[test]
    fn a_session_stays_until_it_is_worth_moving() {
        let t = topology([primary("1"), replica(1, "1"), replica(2, "1")]);
        let stays = |t: &Topology, load: &dyn Fn(ServerId) -> u32| {
            let pick = |seed| choose(t, &set(""), &[], Some(ServerId(1)), load, seed);
            (0..ROUNDS).filter(|seed| pick(*seed).unwrap().id == ServerId(1)).count()
        };
        let all = usize::try_from(ROUNDS).unwrap();
        let idle = stays(&t, &|_| 0);
        assert!((all * 98 / 100..all).contains(&idle), "now and then it is drawn anew: {idle}");
        assert!(stays(&t, &|id| if id.0 == 1 { 3 } else { 1 }) > all * 97 / 100);
        assert_eq!(stays(&t, &|id| if id.0 == 1 { 4 } else { 1 }), 0, "busier by three");
        let lost = topology([primary("1"), unusable(replica(1, "1"), "down"), replica(2, "1")]);
        assert_eq!(stays(&lost, &|_| 0), 0);
    }

    #[test]
    fn weight_zero_serves_when_alone() {
        let spare = || weighing(replica(2, "1"), 0);
        let t = topology([primary("1"), unusable(replica(1, "1"), "down"), spare()]);
        assert_eq!(spread(&t, &|_| 0)[2], ROUNDS);
        let t = topology([primary("1"), weighing(replica(1, "1"), 0), spare()]);
        let counts = spread(&t, &|_| 0);
        assert!(near(counts[1], 50) && near(counts[2], 50), "{counts:?}");
    }

    #[test]
    fn only_eligible_replicas() {
        let t = topology([primary("1-9"), replica(1, "1-8"), replica(2, "1-9")]);
        let pick = |token: &str, excluded: &[ServerId]| {
            choose(&t, &set(token), excluded, None, &|_| 0, 7).map(|s| s.id.0)
        };
        assert_eq!(pick("9", &[]), Some(2));
        assert_eq!(pick("9", &[ServerId(2)]), None);
        assert_eq!(pick("", &[ServerId(2)]), Some(1));
        assert_eq!(pick("10", &[]), None);
        assert_eq!(
            choose(&Topology::default(), &set(""), &[], None, &|_| 0, 1).map(|s| s.id),
            None
        );
    }
}
