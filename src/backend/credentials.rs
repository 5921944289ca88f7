//! Passwords that a server has accepted, in memory only.
//!
//! Users are the servers' users (architecture, decision 9). A client's password is proved by
//! logging in with it to the primary; what was proved is kept here, so that the next client of that
//! user is checked by Weir alone, and so that Weir can log in to servers for that user. What a
//! server refused is kept too, for a few seconds, so that guessing costs the server nothing.
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_users: 10_000,
            recheck: Duration::from_secs(10),
            reject_ttl: Duration::from_secs(3),
            max_rejected: 1_000,
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

    /// Whether the password of that user was proved within [`Limits::recheck`].
    pub fn fresh(&self, user: &[u8], now: Instant) -> bool {
        let state = self.lock();
        let proved = state.known.get(user).map(|entry| entry.proved);
        proved.is_some_and(|at| now.saturating_duration_since(at) < self.limits.recheck)
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
        let entry = Entry { password: password.clone(), generation, proved: now };
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

    /// Whether a server refused that password within [`Limits::reject_ttl`], and none accepted it
    /// since.
    pub fn is_refused(&self, user: &[u8], password: &Secret, now: Instant) -> bool {
        let hash = self.hash(user, password);
        let state = self.lock();
        let refused = state.rejected.iter().find(|refusal| refusal.hash == hash);
        refused.is_some_and(|r| now.saturating_duration_since(r.at) < self.limits.reject_ttl)
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
        assert!(!store.fresh(b"ann", now));
        let generation = store.proved(b"ann", &secret("x"), now);
        assert_eq!(store.get(b"ann"), Some(Known { password: secret("x"), generation }));
        assert!(store.fresh(b"ann", now + seconds(59)));
        assert!(!store.fresh(b"ann", now + seconds(60)));
        assert!(store.get(b"ann").is_some(), "still known, only not fresh");
        store.proved(b"ann", &secret("x"), now + seconds(60));
        assert!(store.fresh(b"ann", now + seconds(119)));
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
        store.proved(b"ann", &secret("right"), now);
        store.refused(b"ann", &secret("wrong"), now);
        assert!(store.is_refused(b"ann", &secret("wrong"), now + seconds(2)));
        assert!(!store.is_refused(b"ann", &secret("wrong"), now + seconds(3)));
        assert!(!store.is_refused(b"bob", &secret("wrong"), now));
        assert!(!store.is_refused(b"ann", &secret("right"), now));
        assert!(store.get(b"ann").is_some(), "another password was refused, not hers");

        store.refused(b"ann", &secret("wrong"), now + seconds(2));
        assert!(store.is_refused(b"ann", &secret("wrong"), now + seconds(4)));
        store.proved(b"ann", &secret("wrong"), now + seconds(4));
        assert!(!store.is_refused(b"ann", &secret("wrong"), now + seconds(4)));
    }

    #[test]
    fn user_and_password_do_not_run_together() {
        let (store, now) = store();
        store.refused(b"ab", &secret("c"), now);
        assert!(!store.is_refused(b"a", &secret("bc"), now));
    }

    #[test]
    fn both_tables_have_a_limit() {
        let (store, now) = store();
        for n in 0..10u64 {
            let user = n.to_string();
            store.proved(user.as_bytes(), &secret("x"), now + seconds(n));
            store.refused(user.as_bytes(), &secret("y"), now);
        }
        let known: Vec<u64> =
            (0..10).filter(|n| store.get(n.to_string().as_bytes()).is_some()).collect();
        assert_eq!(known, [7, 8, 9], "those proved last stay");
        let refused: Vec<u64> = (0..10)
            .filter(|n| store.is_refused(n.to_string().as_bytes(), &secret("y"), now))
            .collect();
        assert_eq!(refused, [6, 7, 8, 9]);
        // The same one over and over must not push others out.
        for _ in 0..100 {
            store.refused(b"ann", &secret("y"), now);
        }
        assert!(store.is_refused(b"9", &secret("y"), now));
        assert!(store.lock().rejected.len() <= 4);
        assert!(store.is_refused(b"ann", &secret("y"), now));
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
