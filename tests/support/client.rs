//! `mysql_async` connections, and short ways to ask one thing.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, OptsBuilder, Row, SslOpts, Value};

/// User and password.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

/// What every connection of the tests has in common: plain TCP, no pool's own queries.
pub fn options(address: &str, login: Login<'_>, database: Option<&str>) -> OptsBuilder {
    let (host, port) = address.rsplit_once(':').unwrap();
    OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port.parse().unwrap())
        .user(Some(login.user))
        .pass(Some(login.password).filter(|password| !password.is_empty()))
        .db_name(database)
        .prefer_socket(Some(false))
        .wait_timeout(Some(600))
        .max_allowed_packet(Some(64 << 20))
}

/// Connects without TLS.
pub async fn connect(
    address: &str,
    login: Login<'_>,
    database: Option<&str>,
) -> Result<Conn, Error> {
    Conn::new(options(address, login, database)).await
}

/// Connects with TLS; any certificate will do.
pub async fn connect_tls(
    address: &str,
    login: Login<'_>,
    database: Option<&str>,
) -> Result<Conn, Error> {
    let tls = SslOpts::default()
        .with_danger_accept_invalid_certs(true)
        .with_danger_skip_domain_validation(true);
    Conn::new(options(address, login, database).ssl_opts(tls)).await
}

/// All rows, each value as text; `NULL` for NULL.
pub async fn table(conn: &mut Conn, sql: &str) -> Vec<Vec<String>> {
    let rows: Vec<Row> = match conn.query(sql).await {
        Ok(rows) => rows,
        Err(error) => panic!("{}: {error}", sql.chars().take(300).collect::<String>()),
    };
    rows.into_iter().map(|row| row.unwrap().iter().map(shown).collect()).collect()
}

/// The first column of the only row, as text.
pub async fn text(conn: &mut Conn, sql: &str) -> String {
    let rows = table(conn, sql).await;
    assert_eq!(rows.len(), 1, "{sql}: {} rows", rows.len());
    rows[0][0].clone()
}

/// Runs a statement that returns no rows.
pub async fn run(conn: &mut Conn, sql: &str) {
    if let Err(error) = conn.query_drop(sql).await {
        panic!("{}: {error}", sql.chars().take(300).collect::<String>());
    }
}

/// The server's error of a statement that must fail: code, SQLSTATE and message.
pub async fn refused(conn: &mut Conn, sql: &str) -> (u16, String, String) {
    match conn.query_drop(sql).await {
        Ok(()) => panic!("{sql}: no error"),
        Err(error) => server_error(error),
    }
}

/// Code, SQLSTATE and message; panics when it is not the server's.
pub fn server_error(error: Error) -> (u16, String, String) {
    match error {
        Error::Server(error) => (error.code, error.state, error.message),
        other => panic!("not an error of the server: {other}"),
    }
}

/// A value as text.
pub fn shown(value: &Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.as_sql(true).trim_matches('\'').to_owned(),
    }
}
