//! Logins are the servers' own: who may come in, and what is said to whoever may not.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mysql_async::Error;
use mysql_async::prelude::Queryable as _;

use crate::support::client::{Login, connect, connect_tls, refused, run, server_error, text};
use crate::support::cluster::{EMPTY, LIMITED, LIMITED_DATABASE, TESTER};
use crate::support::raw::{NATIVE, PLUGIN_AUTH, Raw, USUAL};
use crate::support::{TestCluster, Weir, direct};

/// How long an old password may still be good, at most, after it was changed on the primary. Weir asks
/// the primary again whether a password that it knows is still right.
const OLD_PASSWORD_LIFE: Duration = Duration::from_secs(15);

/// How long a password that was refused may still be refused after the primary would take it: Weir
/// does not ask for each wrong attempt again.
const REFUSED_PASSWORD_LIFE: Duration = Duration::from_secs(20);

/// Code, SQLSTATE and message of a refused login, with the host masked: the server sees Weir's.
fn masked(error: Error) -> (u16, String, String) {
    let (code, state, message) = server_error(error);
    (code, state, without_host(&message))
}

/// The message with HOST for the host in 'user'@'host'.
fn without_host(message: &str) -> String {
    let Some((before, after)) = message.split_once("'@'") else { return message.to_owned() };
    let rest = after.split_once('\'').map_or("", |(_, rest)| rest);
    format!("{before}'@'HOST'{rest}")
}

#[tokio::test]
async fn a_refused_login_gets_the_servers_words() {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start(cluster);
    let cases = [
        (Login { password: "wrong", ..TESTER }, None),
        (Login { password: "", ..TESTER }, None),
        (Login { password: "not empty", ..EMPTY }, None),
        (TESTER, Some("no_such_database")),
        (LIMITED, Some("mysql")),
        (LIMITED, Some("no_such_database")),
    ];
    // The second time nothing is new to Weir; after that also the right password is known.
    for turn in 0..3 {
        for (login, database) in cases {
            for tls in [false, true] {
                let mut answers = Vec::new();
                for address in [&cluster.servers[0], &weir.address] {
                    let result = if tls {
                        connect_tls(address, login, database).await
                    } else {
                        connect(address, login, database).await
                    };
                    answers.push(masked(result.expect_err("a login that must fail")));
                }
                assert_eq!(
                    answers[0], answers[1],
                    "turn {turn}, TLS {tls}, {login:?}, {database:?}"
                );
            }
        }
        connect(&weir.address, TESTER, None).await.unwrap();
        connect(&weir.address, EMPTY, None).await.unwrap();
    }
    if direct() {
        return;
    }
    // To an unknown user the server offers any plugin, so that nobody learns who exists; Weir offers
    // always the same, with the same words in the end.
    for (user, password, using) in [
        ("tester", "wrong", "YES"),
        ("no_such_user", "x", "YES"),
        ("no_such_user", "", "NO"),
        ("", "", "NO"),
    ] {
        let refusal = connect(&weir.address, Login { user, password }, None).await.unwrap_err();
        let expected = format!("Access denied for user '{user}'@'HOST' (using password: {using})");
        assert_eq!(masked(refusal), (1045, "28000".to_owned(), expected));
    }
}

#[tokio::test]
async fn a_limited_account_is_as_limited_through_weir() {
    let cluster = TestCluster::shared().await;
    cluster
        .on_primary(&[
            "CREATE TABLE IF NOT EXISTS limited_only.t (id INT PRIMARY KEY)",
            "INSERT IGNORE INTO limited_only.t VALUES (1)",
        ])
        .await;
    let weir = Weir::start(cluster);
    let mut answers = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        let mut conn = connect(address, LIMITED, Some(LIMITED_DATABASE)).await.unwrap();
        assert_eq!(text(&mut conn, "SELECT id FROM t").await, "1");
        let mut seen = Vec::new();
        for sql in [
            "INSERT INTO t VALUES (2)",
            "SELECT * FROM mysql.user",
            "USE mysql",
            "CREATE DATABASE x",
            "SHOW GRANTS FOR root@localhost",
        ] {
            let (code, state, message) = refused(&mut conn, sql).await;
            seen.push((code, state, without_host(&message)));
        }
        assert_eq!(seen[2].0, 1044);
        assert_eq!(text(&mut conn, "SELECT DATABASE()").await, LIMITED_DATABASE);
        assert_eq!(text(&mut conn, "SELECT CURRENT_USER()").await, "limited@%");
        answers.push(seen);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_changed_password_takes_effect() {
    let cluster = TestCluster::shared().await;
    cluster
        .on_primary(&[
            "DROP USER IF EXISTS changer@'%'",
            "CREATE USER changer@'%' IDENTIFIED BY 'first'",
            "GRANT SELECT ON limited_only.* TO changer@'%'",
        ])
        .await;
    let weir = Weir::start(cluster);
    let first = Login { user: "changer", password: "first" };
    let second = Login { user: "changer", password: "second" };
    let mut before = connect(&weir.address, first, None).await.unwrap();
    connect(&weir.address, first, None).await.unwrap();
    assert_eq!(masked(connect(&weir.address, second, None).await.unwrap_err()).0, 1045);
    cluster.on_primary(&["ALTER USER changer@'%' IDENTIFIED BY 'second'"]).await;
    // It was tried before it was right.
    let changed = Instant::now();
    while connect(&weir.address, second, None).await.is_err() {
        assert!(changed.elapsed() < REFUSED_PASSWORD_LIFE, "the new password is still refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    no_longer(&weir, first, 1045).await;
    // One that nobody has tried is good at once.
    cluster.on_primary(&["ALTER USER changer@'%' IDENTIFIED BY 'third'"]).await;
    let third = Login { user: "changer", password: "third" };
    let mut after = connect(&weir.address, third, None).await.unwrap();
    assert_eq!(text(&mut after, "SELECT CURRENT_USER()").await, "changer@%");
    no_longer(&weir, second, 1045).await;
    // Whoever was in stays in, as on the server.
    assert_eq!(text(&mut before, "SELECT 1").await, "1");
    for (statement, code) in [
        ("ALTER USER changer@'%' ACCOUNT LOCK", 3118),
        ("ALTER USER changer@'%' ACCOUNT UNLOCK", 0),
        ("DROP USER changer@'%'", 1045),
    ] {
        cluster.on_primary(&[statement]).await;
        if code == 0 {
            connect(&weir.address, third, None)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        } else {
            no_longer(&weir, third, code).await;
        }
    }
}

/// The login is refused with that code, now or within [`OLD_PASSWORD_LIFE`].
async fn no_longer(weir: &Weir, login: Login<'_>, code: u16) {
    let changed = Instant::now();
    let error = loop {
        match connect(&weir.address, login, None).await {
            Err(error) => break error,
            Ok(conn) => conn.disconnect().await.unwrap(),
        }
        assert!(
            changed.elapsed() < OLD_PASSWORD_LIFE,
            "{login:?} is still good after {OLD_PASSWORD_LIFE:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(masked(error).0, code);
}

/// A crowd comes in at once to a Weir that knows nobody yet.
#[tokio::test]
async fn many_first_logins_at_once() {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start(cluster);
    let logins = (0..60).map(|number| {
        let address = weir.address.clone();
        async move {
            let login = [TESTER, EMPTY, LIMITED][number % 3];
            let mut conn = if number % 2 == 0 {
                connect(&address, login, None).await.unwrap()
            } else {
                connect_tls(&address, login, None).await.unwrap()
            };
            assert_eq!(text(&mut conn, "SELECT CURRENT_USER()").await, format!("{}@%", login.user));
            conn.disconnect().await.unwrap();
        }
    });
    join_all(logins).await;
}

#[tokio::test]
async fn a_session_becomes_another_user() {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start(cluster);
    let mut conn = connect_tls(&weir.address, TESTER, Some(LIMITED_DATABASE)).await.unwrap();
    run(&mut conn, "SET @mine = 1, time_zone = '+04:00'").await;
    run(&mut conn, "CREATE TEMPORARY TABLE limited_only.scratch (a INT)").await;
    for login in [LIMITED, EMPTY, TESTER] {
        let options = mysql_async::ChangeUserOpts::new()
            .with_user(Some(login.user.to_owned()))
            .with_pass(Some(login.password.to_owned()))
            .with_db_name(Some(LIMITED_DATABASE.to_owned()));
        conn.change_user(options).await.unwrap();
        assert_eq!(text(&mut conn, "SELECT CURRENT_USER()").await, format!("{}@%", login.user));
        assert_eq!(text(&mut conn, "SELECT @mine").await, "NULL");
        assert_eq!(text(&mut conn, "SELECT @@time_zone = @@global.time_zone").await, "1");
        assert_eq!(refused(&mut conn, "SELECT * FROM scratch").await.0, 1146);
    }
    // Refused: the server says why and closes, and so does Weir.
    let options = mysql_async::ChangeUserOpts::new()
        .with_user(Some(TESTER.user.to_owned()))
        .with_pass(Some("wrong".to_owned()));
    assert_eq!(masked(conn.change_user(options).await.unwrap_err()).0, 1045);
    assert!(conn.ping().await.is_err());
}

/// TLS is what the client asked for and what the configuration demands.
#[tokio::test]
async fn tls_can_be_required_and_refused() {
    let cluster = TestCluster::shared().await;
    if direct() {
        return;
    }
    let required = Weir::start_with(cluster, "tls = \"required\"", "");
    connect_tls(&required.address, TESTER, None).await.unwrap();
    assert_eq!(server_error(connect(&required.address, TESTER, None).await.unwrap_err()).0, 3159);
    let off = Weir::start_with(cluster, "tls = \"off\"", "");
    connect(&off.address, TESTER, None).await.unwrap().ping().await.unwrap();
    assert!(connect_tls(&off.address, TESTER, None).await.is_err());
}

/// An account that Weir itself knows logs in by caching_sha2_password, and also by mysql_native_password, which servers
/// of today have no more.
#[tokio::test]
async fn static_users_log_in() {
    let cluster = TestCluster::shared().await;
    if direct() {
        return;
    }
    let user = |login: Login<'_>| {
        format!("[[users]]\nname = \"{}\"\npassword = \"{}\"\n", login.user, login.password)
    };
    let weir = Weir::start_with(cluster, "", &(user(TESTER) + &user(EMPTY)));
    let mut conn = connect(&weir.address, TESTER, None).await.unwrap();
    assert_eq!(conn.query_first::<u8, _>("SELECT 1").await.unwrap(), Some(1));
    let wrong =
        connect(&weir.address, Login { password: "wrong", ..TESTER }, None).await.unwrap_err();
    assert_eq!(masked(wrong).0, 1045);
    // A client without plugins knows the old one alone.
    for capabilities in [USUAL, USUAL & !PLUGIN_AUTH] {
        let log_in = async |user, password| {
            let login = Login { user, password };
            Raw::try_login(&weir.address, login, LIMITED_DATABASE, capabilities, NATIVE).await
        };
        for login in [TESTER, EMPTY] {
            let mut raw = log_in(login.user, login.password).await.unwrap();
            assert!(!raw.switched, "asked for another plugin");
            let user = raw.rows("SELECT CURRENT_USER()").await;
            assert_eq!(user, [[Some(format!("{}@%", login.user).into_bytes())]]);
        }
        for (user, password, using) in [
            (TESTER.user, "wrong", "YES"),
            (TESTER.user, "", "NO"),
            (EMPTY.user, "not empty", "YES"),
        ] {
            let refusal = log_in(user, password).await.unwrap_err();
            let expected =
                format!("Access denied for user '{user}'@'HOST' (using password: {using})");
            assert_eq!((refusal.code, refusal.state.as_str()), (1045, "28000"));
            assert_eq!(without_host(&refusal.message), expected);
        }
    }
    // Of whoever Weir does not know itself it asks the plugin that the servers have.
    connect(&weir.address, LIMITED, None).await.unwrap();
    let raw =
        Raw::try_login(&weir.address, LIMITED, LIMITED_DATABASE, USUAL, NATIVE).await.unwrap();
    assert!(raw.switched);
}
