//! Passwords that a server has accepted, in memory only.
//!
//! Users are the servers' users (architecture, decision 9). A client's password is proved by
//! logging in with it to the primary; what was proved is kept here, so that the next client of that
//! user is checked by Weir alone, and so that Weir can log in to servers for that user.
//!
//! Another password than the known one is wrong, or the password was changed, or the account has two. Only a server
//! can tell. So that guessing costs the server next to nothing, it is asked about others once in a while, and what it
//! refused is kept for a few seconds. The question whether the known one still holds goes first when its proof is
//! old: if not, the user is forgotten, and a changed password takes effect however many guess.
//!
//! Time is an argument. One lock guards everything; it is taken at logins only, never awaited under.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use crate::config::Secret;

/// How much is kept, and how long it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Users whose password is kept; beyond it the one that was proved longest ago is forgotten.
    pub max_users: usize,
    /// After this time a password should be proved again.
    pub recheck: Duration,
    /// How long a refused password is refused without asking a server.
    pub reject_ttl: Duration,
    /// Refused passwords that are remembered; beyond it the oldest is forgotten.
    pub max_rejected: usize,
    /// How often a server is asked about other passwords of a user than the known one.
    pub ask_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_users: 10_000,
            recheck: Duration::from_secs(10),
            reject_ttl: Duration::from_secs(3),
            max_rejected: 1_000,
            ask_every: Duration::from_secs(1),
        }
    }
}

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub password: Secret,
    /// Differs whenever the password does: connections opened under another one are of the past.
    pub generation: u64,
}

/// What is to be thought of a password that a client gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It is right; its generation.
    Right(u64),
    /// It is wrong.
    Wrong,
    /// A server has to say.
    Ask,
    /// A server has to say, and first whether this one, which was proved before, is right still.
    AskKnownFirst(Secret),
    /// A server was asked about another one of that user just now: its turn may come.
    Wait,
}

/// The passwords, for all workers.
pub struct Credentials {
    limits: Limits,
    /// Refused passwords are remembered by a hash under this key, never as text.
    key: hmac::Key,
    state: Mutex<State>,
}

impl Credentials {
    /// An empty store with a random key.
    #[expect(
        clippy::expect_used,
        reason = "a machine without randomness can make neither salts nor TLS: Weir must not start"
    )]
    pub fn new(limits: Limits) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the operating system gives randomness");
        Self { limits, key, state: Mutex::default() }
    }

    /// The password of that user and its generation, however long ago it was proved.
    pub fn get(&self, user: &[u8]) -> Option<Known> {
        let state = self.lock();
        let entry = state.known.get(user)?;
        Some(Known { password: entry.password.clone(), generation: entry.generation })
    }

    /// What is known of a password that a client gave. `Ask` and `AskKnownFirst` are told once in
    /// [`Limits::ask_every`] for a user whose password is known, unless it is that one.
    pub fn word(&self, user: &[u8], password: &Secret, now: Instant) -> Word {
        let hash = self.hash(user, password);
        let mut state = self.lock();
        let is_refused = state.rejected.iter().any(|refusal| {
            refusal.hash == hash
                && now.saturating_duration_since(refusal.at) < self.limits.reject_ttl
        });
        let Some(entry) = state.known.get_mut(user) else {
            return if is_refused { Word::Wrong } else { Word::Ask };
        };
        let is_fresh = now.saturating_duration_since(entry.proved) < self.limits.recheck;
        if same(&entry.password, password) {
            return if is_fresh { Word::Right(entry.generation) } else { Word::Ask };
        }
        if is_refused {
            return Word::Wrong;
        }
        let asked = entry.asked.map(|at| now.saturating_duration_since(at));
        if asked.is_some_and(|ago| ago < self.limits.ask_every) {
            return Word::Wait;
        }
        entry.asked = Some(now);
        if is_fresh { Word::Ask } else { Word::AskKnownFirst(entry.password.clone()) }
    }

    /// A server accepted that password. Gives its generation: the one of before when the password
    /// is the same, a new one when it is not.
    pub fn proved(&self, user: &[u8], password: &Secret, now: Instant) -> u64 {
        let hash = self.hash(user, password);
        let mut state = self.lock();
        state.rejected.retain(|refusal| refusal.hash != hash);
        if let Some(entry) = state.known.get_mut(user)
            && same(&entry.password, password)
        {
            entry.proved = now;
            return entry.generation;
        }
        if !state.known.contains_key(user) && state.known.len() >= self.limits.max_users {
            state.forget_oldest_user();
        }
        state.last_generation += 1;
        let generation = state.last_generation;
        // The next other one waits for its turn, too: who alternates between two does not flood the server.
        let asked = state.known.get(user).and_then(|entry| entry.asked);
        let entry = Entry { password: password.clone(), generation, proved: now, asked };
        state.known.insert(user.to_vec(), entry);
        generation
    }

    /// A server refused that password. When it is the one that is known, the user is forgotten.
    pub fn refused(&self, user: &[u8], password: &Secret, now: Instant) {
        let hash = self.hash(user, password);
        let mut state = self.lock();
        if state.known.get(user).is_some_and(|entry| same(&entry.password, password)) {
            state.known.remove(user);
        }
        state.rejected.retain(|refusal| refusal.hash != hash);
        state.rejected.push_back(Refusal { hash, at: now });
        state.drop_refusals(&self.limits, now);
    }

    fn hash(&self, user: &[u8], password: &Secret) -> Hash {
        let mut context = hmac::Context::with_key(&self.key);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        context.update(&user.len().to_le_bytes());
        context.update(user);
        context.update(password.expose().as_bytes());
        let mut hash = Hash::default();
        for (to, from) in hash.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        hash
    }

    /// No method panics half-way through a change, so a poisoned lock holds nothing broken.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("limits", &self.limits).finish_non_exhaustive()
    }
}

type Hash = [u8; 32];

struct Entry {
    password: Secret,
    generation: u64,
    proved: Instant,
    /// When a server was last asked about another one.
    asked: Option<Instant>,
}

struct Refusal {
    hash: Hash,
    at: Instant,
}

#[derive(Default)]
struct State {
    known: HashMap<Vec<u8>, Entry>,
    /// One for each refused password, oldest first; so few that walking them costs microseconds.
    rejected: VecDeque<Refusal>,
    /// Never goes back, so that a forgotten user does not come back under an old generation.
    last_generation: u64,
}

impl State {
    fn forget_oldest_user(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, entry)| entry.proved);
        if let Some(user) = oldest.map(|(user, _)| user.clone()) {
            self.known.remove(&user);
        }
    }

    fn drop_refusals(&mut self, limits: &Limits, now: Instant) {
        while let Some(oldest) = self.rejected.front() {
            let over = now.saturating_duration_since(oldest.at) >= limits.reject_ttl;
            if !over && self.rejected.len() <= limits.max_rejected {
                return;
            }
            self.rejected.pop_front();
        }
    }
}

fn same(a: &Secret, b: &Secret) -> bool {
    verify_slices_are_equal(a.expose().as_bytes(), b.expose().as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_users: 3,
        recheck: Duration::from_secs(60),
        reject_ttl: Duration::from_secs(3),
        max_rejected: 4,
        ask_every: Duration::from_secs(1),
    };

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn store() -> (Credentials, Instant) {
        (Credentials::new(LIMITS), Instant::now())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_proved_password_is_known_and_fresh_for_a_while() {
        let (store, now) = store();
        assert_eq!(store.get(b"ann"), None);
        assert_eq!(store.word(b"ann", &secret("x"), now), Word::Ask);
        let generation = store.proved(b"ann", &secret("x"), now);
        assert_eq!(store.get(b"ann"), Some(Known { password: secret("x"), generation }));
        let word = |at| store.word(b"ann", &secret("x"), now + seconds(at));
        assert_eq!(word(59), Word::Right(generation));
        assert_eq!(word(60), Word::Ask);
        assert!(store.get(b"ann").is_some(), "still known, only not fresh");
        store.proved(b"ann", &secret("x"), now + seconds(60));
        assert_eq!(word(119), Word::Right(generation));
    }

    #[test]
    fn only_another_password_is_another_generation() {
        let (store, now) = store();
        let first = store.proved(b"ann", &secret("x"), now);
        assert_eq!(store.proved(b"ann", &secret("x"), now), first);
        let second = store.proved(b"ann", &secret("y"), now);
        assert!(second > first);
        let back = store.proved(b"ann", &secret("x"), now);
        assert!(back > second);
    }

    #[test]
    fn a_generation_never_comes_back() {
        let (store, now) = store();
        let first = store.proved(b"ann", &secret("x"), now);
        store.refused(b"ann", &secret("x"), now);
        assert_eq!(store.get(b"ann"), None, "the server said no");
        assert!(store.proved(b"ann", &secret("y"), now) > first);
    }

    #[test]
    fn a_refusal_lasts_three_seconds_or_until_it_is_revoked() {
        let (store, now) = store();
        let word =
            |user: &str, text, at| store.word(user.as_bytes(), &secret(text), now + seconds(at));
        let right = Word::Right(store.proved(b"ann", &secret("right"), now));
        store.refused(b"ann", &secret("wrong"), now);
        assert_eq!(word("ann", "wrong", 2), Word::Wrong);
        assert_eq!(word("bob", "wrong", 0), Word::Ask);
        assert_eq!(word("ann", "right", 0), right);
        assert_eq!(word("ann", "wrong", 3), Word::Ask);
        assert!(store.get(b"ann").is_some(), "another password was refused, not hers");

        store.refused(b"ann", &secret("wrong"), now + seconds(4));
        assert_eq!(word("ann", "wrong", 6), Word::Wrong);
        let other = Word::Right(store.proved(b"ann", &secret("wrong"), now + seconds(6)));
        assert_eq!(word("ann", "wrong", 6), other);
    }

    #[test]
    fn a_user_that_nobody_proved_is_asked_about_without_limit() {
        let (store, now) = store();
        for number in 0..10 {
            assert_eq!(store.word(b"ann", &secret(&number.to_string()), now), Word::Ask);
        }
    }

    #[test]
    fn others_than_the_known_one_have_a_turn_once_a_second() {
        let (store, now) = store();
        let at = |millis| now + Duration::from_millis(millis);
        let word = |text, millis| store.word(b"ann", &secret(text), at(millis));
        store.proved(b"ann", &secret("right"), now);
        store.proved(b"bob", &secret("right"), now);
        assert_eq!(word("a", 0), Word::Ask);
        assert_eq!(word("b", 0), Word::Wait);
        assert_eq!(store.word(b"bob", &secret("b"), now), Word::Ask, "each user has its own");
        store.refused(b"ann", &secret("a"), at(10));
        assert_eq!(word("a", 20), Word::Wrong);
        assert_eq!(word("b", 999), Word::Wait);
        assert_eq!(word("b", 1_000), Word::Ask);
        // The second password of the account: known from now on, and the first has to wait for a turn.
        let second = Word::Right(store.proved(b"ann", &secret("b"), at(1_010)));
        assert_eq!(word("b", 1_010), second);
        assert_eq!(word("right", 1_999), Word::Wait);
        assert_eq!(word("right", 2_000), Word::Ask);
    }

    #[test]
    fn an_old_proof_is_looked_at_before_another_password() {
        let (store, now) = store();
        let word = |text, at| store.word(b"ann", &secret(text), now + seconds(at));
        store.proved(b"ann", &secret("old"), now);
        assert_eq!(word("new", 60), Word::AskKnownFirst(secret("old")));
        assert_eq!(word("a guess", 60), Word::Wait);
        store.refused(b"ann", &secret("old"), now + seconds(60));
        assert_eq!(word("a guess", 60), Word::Ask, "nothing is known any more");
        assert_eq!(word("new", 60), Word::Ask);
        assert_eq!(word("old", 60), Word::Wrong);
    }

    #[test]
    fn user_and_password_do_not_run_together() {
        let (store, now) = store();
        store.refused(b"ab", &secret("c"), now);
        assert_eq!(store.word(b"a", &secret("bc"), now), Word::Ask);
    }

    #[test]
    fn both_tables_have_a_limit() {
        let (store, now) = store();
        let is_refused = |user: &str| store.word(user.as_bytes(), &secret("y"), now) == Word::Wrong;
        for n in 0..10u64 {
            let user = n.to_string();
            store.proved(user.as_bytes(), &secret("x"), now + seconds(n));
            store.refused(user.as_bytes(), &secret("y"), now);
        }
        let known: Vec<u64> =
            (0..10).filter(|n| store.get(n.to_string().as_bytes()).is_some()).collect();
        assert_eq!(known, [7, 8, 9], "those proved last stay");
        let refused: Vec<u64> = (0..10).filter(|n| is_refused(&n.to_string())).collect();
        assert_eq!(refused, [6, 7, 8, 9]);
        // The same one over and over must not push others out.
        for _ in 0..100 {
            store.refused(b"ann", &secret("y"), now);
        }
        assert!(is_refused("9"));
        assert!(store.lock().rejected.len() <= 4);
        assert!(is_refused("ann"));
    }

    #[test]
    fn a_known_user_with_a_new_password_pushes_nobody_out() {
        let (store, now) = store();
        for user in [b"a", b"b", b"c"] {
            store.proved(user, &secret("x"), now);
        }
        store.proved(b"c", &secret("y"), now);
        assert!(store.get(b"a").is_some() && store.get(b"b").is_some());
    }

    #[test]
    fn nothing_is_shown() {
        let (store, now) = store();
        store.proved(b"ann", &secret("hunter2"), now);
        let shown = format!("{store:?} {:?}", store.get(b"ann"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
