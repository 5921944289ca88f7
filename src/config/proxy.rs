//! `[proxy]`, `[pool]`, `[monitor]`, `[lag]`, `[causal]`, `[[users]]`: keys, ranges, defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::files::{Pem, pem};
use super::password::{self, PASSWORD};
use super::section::{Section, Text};
use super::servers::{ServerDefaults, tls_mode};
use super::types::{
    Causal, ClientTls, Lag, Monitor, Pool, Proxy, Secret, ServerTlsMode, StaticUser,
};

/// Worker threads; beyond it sessions spread too thin over too many pools.
pub(super) const MAX_WORKERS: usize = 256;
/// MySQL's own ceiling of `max_allowed_packet`, in bytes.
const MAX_PACKET_BYTES: usize = 1 << 30;
/// MySQL's own floor of `max_allowed_packet`, in bytes.
const MIN_PACKET_BYTES: usize = 1_024;
/// The longest account name of MySQL, in characters (manual: account names).
pub(super) const MAX_USER_CHARS: usize = 32;
/// The monitor's account in a managed cluster.
const CLUSTER_MONITOR_USER: &str = "weir_monitor";
const DEFAULT_PORT: u16 = 6_033;

/// `[proxy]`, and what it says for servers that say nothing themselves.
pub(super) fn proxy(section: &mut Section<'_>, managed: bool) -> (Proxy, ServerDefaults) {
    let listen = listen(section, DEFAULT_PORT);
    let tls = [
        ("off", ClientTls::Off),
        ("preferred", ClientTls::Preferred),
        ("required", ClientTls::Required),
    ];
    let proxy = Proxy {
        listen,
        workers: section.integer("workers", 1..=MAX_WORKERS, default_workers()),
        max_connections: section.integer("max_connections", 1..=1_000_000, 10_000),
        max_packet_bytes: section.integer(
            "max_packet_bytes",
            MIN_PACKET_BYTES..=MAX_PACKET_BYTES,
            MAX_PACKET_BYTES,
        ),
        handshake_timeout: section.seconds("handshake_seconds", 0.1..=3_600.0, 10.0),
        hold: section.seconds("hold_seconds", 0.0..=3_600.0, 15.0),
        tls: section.choice("tls", &tls).unwrap_or(ClientTls::Preferred),
        tls_files: tls_files(section),
        state_dir: state_dir(section),
        statement_cache: section.integer("statement_cache", 1..=1_000_000, 10_000),
    };
    let servers = ServerDefaults {
        tls: tls_mode(section, "server_tls"),
        ca: pem(section, "server_tls_ca", Pem::Certificate),
    };
    if managed {
        check_own_servers(section, &servers);
    }
    (proxy, servers)
}

/// The nodes of a managed cluster make their certificates themselves.
fn check_own_servers(section: &Section<'_>, servers: &ServerDefaults) {
    let verifies = servers.tls.is_some_and(ServerTlsMode::verifies);
    if let Some(span) = section.key_span("server_tls").filter(|_| verifies) {
        let what = "`server_tls` wants certificates verified that the servers of [cluster] make themselves, so \
                    that nobody can vouch for them";
        section.source.problems.add(span, what, "write \"required\": TLS, whoever answers");
    }
}

/// `[pool]`
pub(super) fn pool(section: &mut Section<'_>) -> Pool {
    Pool {
        max_per_server: section.integer("max_connections_per_server", 1..=100_000, 200),
        max_idle: section.seconds("max_idle_seconds", 0.0..=86_400.0, 60.0),
        wait: section.seconds("wait_seconds", 0.0..=3_600.0, 10.0),
        connect: section.seconds("connect_seconds", 0.1..=300.0, 5.0),
        max_prepared: section.integer("max_prepared_statements", 1..=65_536, 256),
        hold_previous: section.seconds("hold_previous_seconds", 0.0..=3_600.0, 30.0),
    }
}

/// `[monitor]`; for a managed cluster the account may be left to Weir.
pub(super) fn monitor(section: &mut Section<'_>, managed: bool) -> Monitor {
    let (user, password) = if managed {
        let user = section.text("user", CLUSTER_MONITOR_USER);
        let own = user.as_ref().is_none_or(|user| user.value == CLUSTER_MONITOR_USER);
        // Weir knows the password of the account that it makes itself, and of no other.
        let password = if own {
            password::optional(section, &PASSWORD).unwrap_or_default()
        } else {
            password::required(section, &PASSWORD)
        };
        (user, password)
    } else {
        (section.required_text("user", "mon"), password::required(section, &PASSWORD))
    };
    if let Some(user) = &user {
        check_user(section, "user", user);
    }
    Monitor {
        user: user.map_or(CLUSTER_MONITOR_USER, |user| user.value).to_owned(),
        password,
        interval: section.milliseconds("interval_ms", 10.0..=60_000.0, 200.0),
        timeout: section.milliseconds("timeout_ms", 10.0..=60_000.0, 2_000.0),
        managed,
        failures: section.integer("failures", 1..=100, 2),
    }
}

/// `[lag]`
pub(super) fn lag(section: &mut Section<'_>) -> Lag {
    Lag { max: section.seconds("max_seconds", 0.0..=86_400.0, 10.0) }
}

/// `[causal]`
pub(super) fn causal(section: &mut Section<'_>) -> Causal {
    Causal { window: section.milliseconds("window_ms", 0.0..=3_600_000.0, 2_000.0) }
}

/// One of `[[users]]`, with where its name stands; `None` when the name is missing or wrong.
pub(super) fn user<'a>(section: &mut Section<'a>) -> Option<(StaticUser, Text<'a>)> {
    let name = section.required_text("name", "app");
    let password: Secret = password::required(section, &PASSWORD);
    let name = name?;
    check_user(section, "name", &name)
        .then(|| (StaticUser { name: name.value.to_owned(), password }, name))
}

/// Notes when that is no account name; says whether it is one.
pub(super) fn check_user(section: &Section<'_>, key: &str, user: &Text<'_>) -> bool {
    let what = if user.value.is_empty() {
        format!("`{key}` is empty")
    } else if user.value.chars().count() > MAX_USER_CHARS {
        format!("`{key}` is longer than {MAX_USER_CHARS} characters")
    } else if user.value.chars().any(char::is_control) {
        format!("`{key}` contains a control character")
    } else {
        return true;
    };
    let remedy = format!("write an account name of 1 to {MAX_USER_CHARS} characters, without host");
    section.source.problems.add(user.span.clone(), what, remedy);
    false
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS))
}

/// `listen`; by default that port of this machine alone.
pub(super) fn listen(section: &mut Section<'_>, default_port: u16) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, default_port));
    let Some(text) = section.text("listen", "127.0.0.1:6033") else { return default };
    if let Ok(address) = text.value.parse() {
        return address;
    }
    let port = text.value.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let port = port.unwrap_or(default_port);
    let remedy = format!(
        "write listen = \"127.0.0.1:{port}\" for clients of this machine, \"0.0.0.0:{port}\" or \
         \"[::]:{port}\" for all"
    );
    let what = format!("`listen` is {:?}, which is not IP-address:port", text.value);
    section.source.problems.add(text.span, what, remedy);
    default
}

/// Both or none: a certificate without its key serves nobody.
fn tls_files(section: &mut Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let (has_cert, has_key) = (section.has("tls_cert"), section.has("tls_key"));
    let cert = pem(section, "tls_cert", Pem::Certificate);
    let key = pem(section, "tls_key", Pem::PrivateKey);
    if has_cert != has_key {
        let (there, lacks) =
            if has_cert { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
        let span = section.key_span(there).unwrap_or_default();
        let what = format!("`{there}` is given without `{lacks}`");
        let remedy = format!("add {lacks} = \"path\", or remove both to get a self-signed pair");
        section.source.problems.absent(span, what, remedy);
    }
    cert.zip(key)
}

fn state_dir(section: &mut Section<'_>) -> PathBuf {
    let Some((path, span)) = section.path("state_dir", ".weir") else {
        return section.source.base_dir.join(".weir");
    };
    if path.exists() && !path.is_dir() {
        let what = format!("`state_dir` names {}, which is no directory", path.display());
        section.source.problems.add(span, what, "name a directory; Weir makes it when absent");
    }
    path
}
