//! Passwords: of the configuration's users by both plugins, and of the servers' users, where each question to a server
//! is counted.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use weir::wire::auth::{PLUGIN_NATIVE, PLUGIN_SHA2};
use weir::wire::{AuthSwitch, Capabilities, ChangeUser, ErrPacket, scramble};

use crate::client::{CLASSIC, Client, MODERN, Outcome};
use crate::fake::Fake;
use crate::weir_process::Weir;

/// What a client from before 5.5.7 asks for: it knows of no plugins.
const ANCIENT: Capabilities = CLASSIC.without(Capabilities::PLUGIN_AUTH);

const USERS: &str = "[[users]]\nname = \"static\"\npassword = \"secret\"\n\
                     [[users]]\nname = \"open\"\npassword = \"\"\n";

/// A whole login: the plugins that were answered, or the error's number and words.
async fn log_in(
    weir: &Weir,
    capabilities: Capabilities,
    (plugin, user, password): (&str, &str, &str),
) -> Result<Vec<String>, (u16, String)> {
    let mut client = Client::greet(&weir.address).await;
    client.capabilities = capabilities.and(client.offered);
    match client.prove(plugin, user, password).await {
        Ok(plugins) => {
            assert_eq!(client.query("SELECT 'in'").await, Outcome::row("in"), "{user}");
            Ok(plugins)
        }
        Err(ErrPacket { code, message, .. }) => {
            assert!(client.is_closed().await);
            Err((code, String::from_utf8(message).unwrap()))
        }
    }
}

fn denied(user: &str, given: &str) -> Result<Vec<String>, (u16, String)> {
    let words = format!("Access denied for user '{user}'@'localhost' (using password: {given})");
    Err((1045, words))
}

fn by(plugins: &[&str]) -> Result<Vec<String>, (u16, String)> {
    Ok(plugins.iter().map(|&plugin| plugin.to_owned()).collect())
}

/// Users of `[[users]]`: Weir knows their password, so it can check either plugin's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_the_configuration() {
    let fake = Fake::primary().await;
    fake.seen.set_passwords("static", &["secret"]);
    fake.seen.set_passwords("open", &[""]);
    let weir = Weir::start_with(&[&fake.address], USERS);
    for plugin in [PLUGIN_NATIVE, PLUGIN_SHA2] {
        for capabilities in [CLASSIC, MODERN] {
            for (user, password, expected) in [
                ("static", "secret", by(&[plugin])),
                ("static", "wrong", denied("static", "YES")),
                ("static", "", denied("static", "NO")),
                ("open", "", by(&[plugin])),
                ("open", "secret", denied("open", "YES")),
            ] {
                let got = log_in(&weir, capabilities, (plugin, user, password)).await;
                assert_eq!(got, expected, "{plugin}: {user} with {password:?}");
            }
        }
    }
    // Without a plugin's name the answer is by the native one.
    for (user, password, expected) in [
        ("static", "secret", by(&[PLUGIN_NATIVE])),
        ("static", "wrong", denied("static", "YES")),
        ("static", "", denied("static", "NO")),
        ("open", "", by(&[PLUGIN_NATIVE])),
    ] {
        let got = log_in(&weir, ANCIENT, (PLUGIN_NATIVE, user, password)).await;
        assert_eq!(got, expected, "{user} with {password:?}");
    }
    // Others are switched to what Weir can check.
    let got = log_in(&weir, MODERN, ("sha256_password", "static", "secret")).await;
    assert_eq!(got, by(&["sha256_password", PLUGIN_SHA2]));
    let attempts = fake.seen.attempts.load(Ordering::Relaxed);
    assert_eq!(fake.seen.logins.load(Ordering::Relaxed), attempts, "no wrong one got through");
}

/// COM_CHANGE_USER of clients that know plugins is answered with a switch and a new salt; others answer the greeting's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_to_a_user_of_the_configuration() {
    let fake = Fake::primary().await;
    let weir = Weir::start_with(&[&fake.address], USERS);
    for (capabilities, password, is_right) in [
        (CLASSIC, "secret", true),
        (CLASSIC, "wrong", false),
        (ANCIENT, "secret", true),
        (ANCIENT, "wrong", false),
    ] {
        let mut client = Client::greet(&weir.address).await;
        client.capabilities = capabilities;
        client.prove(PLUGIN_NATIVE, "open", "").await.unwrap();
        let knows_plugins = capabilities.has(Capabilities::PLUGIN_AUTH);
        let asked = ChangeUser {
            username: b"static".to_vec(),
            auth: scramble::native(password.as_bytes(), &client.salt),
            database: None,
            collation: 45,
            plugin: knows_plugins.then(|| PLUGIN_NATIVE.into()),
            attributes: Vec::new(),
        };
        let mut payload = Vec::new();
        asked.encode(&mut payload, capabilities);
        client.send(0, &payload).await;
        let (mut seq, mut packet) = client.packet().await.unwrap();
        if knows_plugins {
            let switch = AuthSwitch::decode(&packet).unwrap();
            assert_eq!(switch.plugin, PLUGIN_NATIVE.as_bytes());
            let answer = scramble::native(password.as_bytes(), &switch.data[..20]);
            client.send(seq + 1, &answer).await;
            (seq, packet) = client.packet().await.unwrap();
        }
        assert_eq!(seq, if knows_plugins { 3 } else { 1 });
        if is_right {
            assert_eq!(packet[0], 0, "{packet:?}");
            assert_eq!(client.query("SELECT 'changed'").await, Outcome::row("changed"));
        } else {
            assert_eq!(ErrPacket::decode(&packet).unwrap().code, 1045);
            assert!(client.is_closed().await);
        }
    }
}

/// Users of the servers: only the password itself can be proved there, so the native plugin does not do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_the_servers() {
    let fake = Fake::primary().await;
    fake.seen.set_passwords("ann", &["right"]);
    fake.seen.set_passwords("bob", &[""]);
    let weir = Weir::start_with(&[&fake.address], USERS);
    let switched = [PLUGIN_NATIVE, PLUGIN_SHA2];
    for (plugin, user, password, expected) in [
        (PLUGIN_NATIVE, "ann", "wrong", denied("ann", "YES")),
        (PLUGIN_NATIVE, "ann", "right", by(&switched)),
        (PLUGIN_NATIVE, "ann", "right", by(&switched)),
        (PLUGIN_SHA2, "ann", "right", by(&[PLUGIN_SHA2])),
        (PLUGIN_NATIVE, "bob", "", by(&switched)),
        (PLUGIN_NATIVE, "ann", "", denied("ann", "NO")),
    ] {
        let got = log_in(&weir, MODERN, (plugin, user, password)).await;
        assert_eq!(got, expected, "{plugin}: {user} with {password:?}");
    }
    // Who cannot be switched is told so, as by a server.
    let got = log_in(&weir, ANCIENT, (PLUGIN_NATIVE, "ann", "right")).await;
    let (code, words) = got.unwrap_err();
    assert_eq!(code, 1251, "{words}");
    assert!(words.starts_with("Client does not support authentication protocol"), "{words}");
}

/// Once a password is proved, others are asked about at the server once a second, whoever guesses how fast.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_cost_the_server_next_to_nothing() {
    let fake = Fake::primary().await;
    fake.seen.set_passwords("ann", &["right"]);
    let weir = Weir::start(&[&fake.address]);
    log_in(&weir, MODERN, (PLUGIN_SHA2, "ann", "right")).await.unwrap();
    let before = fake.seen.attempts.load(Ordering::Relaxed);
    let start = Instant::now();
    let mut guesses = JoinSet::new();
    for number in 0..100 {
        let address = weir.address.clone();
        guesses.spawn(async move {
            let mut client = Client::greet(&address).await;
            let guess = format!("guess {number}");
            client.prove(PLUGIN_SHA2, "ann", &guess).await.unwrap_err().code
        });
    }
    assert!(guesses.join_all().await.into_iter().all(|code| code == 1045));
    let questions = fake.seen.attempts.load(Ordering::Relaxed) - before;
    let most = 2 + usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!(questions <= most, "{questions} in {:?}", start.elapsed());
    // The right one is let in meanwhile, without a question.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    let before = fake.seen.attempts.load(Ordering::Relaxed);
    Client::greet(&weir.address).await.prove(PLUGIN_SHA2, "ann", "right").await.unwrap();
    assert_eq!(fake.seen.attempts.load(Ordering::Relaxed), before);
    // The same one again is refused without any.
    for _ in 0..20 {
        let got = log_in(&weir, MODERN, (PLUGIN_SHA2, "ann", "the same")).await;
        assert_eq!(got, denied("ann", "YES"));
    }
    assert!(fake.seen.attempts.load(Ordering::Relaxed) <= before + 2);
}

/// A whole fleet comes with a new password at the same moment: one asks, nobody is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_takes_effect_for_all_at_once() {
    let fake = Fake::primary().await;
    fake.seen.set_passwords("ann", &["old"]);
    let weir = Weir::start(&[&fake.address]);
    log_in(&weir, MODERN, (PLUGIN_SHA2, "ann", "old")).await.unwrap();
    fake.seen.set_passwords("ann", &["new"]);
    for round in 0..2 {
        let mut fleet = JoinSet::new();
        for number in 0..40 {
            let address = weir.address.clone();
            fleet.spawn(async move {
                let mut client = Client::greet(&address).await;
                client.prove(PLUGIN_SHA2, "ann", "new").await.map(|_| number)
            });
        }
        for outcome in fleet.join_all().await {
            assert!(outcome.is_ok(), "round {round}: {outcome:?}");
        }
    }
    let attempts = fake.seen.attempts.load(Ordering::Relaxed);
    let got = log_in(&weir, MODERN, (PLUGIN_SHA2, "ann", "old")).await;
    assert_eq!(got, denied("ann", "YES"), "after {attempts} questions");
}

/// It does so while somebody guesses, too, after the old one's proof has become old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_takes_effect_in_a_flood_of_guesses() {
    let fake = Fake::primary().await;
    fake.seen.set_passwords("ann", &["old"]);
    let weir = Weir::start(&[&fake.address]);
    log_in(&weir, MODERN, (PLUGIN_SHA2, "ann", "old")).await.unwrap();
    fake.seen.set_passwords("ann", &["new"]);
    let mut guesses = JoinSet::new();
    for guesser in 0..8 {
        let address = weir.address.clone();
        guesses.spawn(async move {
            for number in 0.. {
                let mut client = Client::greet(&address).await;
                let guess = format!("guess {guesser} {number}");
                assert!(client.prove(PLUGIN_SHA2, "ann", &guess).await.is_err());
            }
        });
    }
    let start = Instant::now();
    while log_in(&weir, MODERN, (PLUGIN_SHA2, "ann", "new")).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(16), "still refused");
    }
    guesses.abort_all();
}

/// An account may have two passwords for a while (RETAIN CURRENT PASSWORD): half of the clients have each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_two_passwords() {
    let fake = Fake::primary().await;
    fake.seen.set_passwords("ann", &["one", "two"]);
    let weir = Weir::start(&[&fake.address]);
    let mut clients = JoinSet::new();
    for number in 0..20 {
        let address = weir.address.clone();
        clients.spawn(async move {
            let mut client = Client::greet(&address).await;
            client.prove(PLUGIN_SHA2, "ann", ["one", "two"][number % 2]).await
        });
    }
    for outcome in clients.join_all().await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}
