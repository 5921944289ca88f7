//! Ports that tests listen on or publish servers at.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// Port bases given out by this process: what one test got and has not bound yet is not free.
static CLAIMED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on loopback with nobody on it, and `more` free ones right above it.
pub(crate) fn free_ports(more: u16) -> u16 {
    let pid = u16::try_from(std::process::id() % 1000).unwrap();
    for attempt in 0..400_u16 {
        let base = 15_000 + (pid * 16 + attempt * 97) % 16_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (base..=base + more).all(free) && CLAIMED.lock().unwrap().insert(base) {
            return base;
        }
    }
    panic!("no {} free ports in a row between 15000 and 31000", more + 1);
}
