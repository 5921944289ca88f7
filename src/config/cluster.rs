//! `[cluster]`: keys, ranges, defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use toml::Spanned;
use toml::de::DeValue;

use super::password::{self, APPLICATION_PASSWORD};
use super::proxy::check_user;
use super::section::{Section, Text, kind};
use super::types::{Cluster, Copying, Replication};

/// Replicas of one primary; each also costs the primary a binary log reader.
const MAX_REPLICAS: u32 = 16;
/// Characters of the cluster's name; container and volume names are made from it.
const MAX_NAME_CHARS: usize = 40;
/// The longest schema name of MySQL, in characters.
const MAX_DATABASE_CHARS: usize = 64;
/// Extra mysqld options.
const MAX_OPTIONS: usize = 200;
const DEFAULT_IMAGE: &str = "weir-mysql:9.7";
const REPLICATION: [(&str, Replication); 2] =
    [("gtid", Replication::Gtid), ("file", Replication::File)];
const COPYING: [(&str, Copying); 3] =
    [("auto", Copying::Auto), ("clone", Copying::Clone), ("dump", Copying::Dump)];
const DEFAULT_PORT_BASE: u16 = 13_301;

/// Options that Weir sets itself, with dashes as underscores; a second opinion would break the
/// cluster.
const OWN_OPTIONS: [&str; 21] = [
    "server_id",
    "log_bin",
    "skip_log_bin",
    "disable_log_bin",
    "gtid_mode",
    "enforce_gtid_consistency",
    "log_replica_updates",
    "log_slave_updates",
    "relay_log_recovery",
    "replica_preserve_commit_order",
    "skip_name_resolve",
    "read_only",
    "super_read_only",
    "relay_log",
    "report_host",
    "report_port",
    "datadir",
    "socket",
    "port",
    "skip_networking",
    "innodb_buffer_pool_size",
];

/// `[cluster]`
pub(super) fn cluster(section: &mut Section<'_>, listen: SocketAddr) -> Cluster {
    let replicas = section.integer("replicas", 0..=MAX_REPLICAS, 2);
    Cluster {
        name: name(section),
        replicas,
        image: image(section),
        application_user: application_user(section),
        application_password: password::optional(section, &APPLICATION_PASSWORD),
        database: database(section),
        semi_sync: section.boolean("semi_sync", true),
        failover: section.boolean("failover", true),
        patience: section.seconds("failover_seconds", 0.5..=3_600.0, 5.0),
        docker_host: docker_host(section),
        port_base: port_base(section, replicas, listen),
        options: options(section),
        buffer_pool_mb: section.integer("memory_mb", 5..=1_048_576, 256),
        replication: section.choice("replication", &REPLICATION).unwrap_or_default(),
        copy: section.choice("copy", &COPYING).unwrap_or_default(),
    }
}

fn name(section: &mut Section<'_>) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let valid = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= MAX_NAME_CHARS
            && text.chars().all(allowed)
    };
    let remedy = format!(
        "write 1 to {MAX_NAME_CHARS} letters, digits, `-` or `_`, beginning with a letter or digit"
    );
    checked_text(section, "name", "weir", valid, &remedy)
}

/// The environment wins, so that `WEIR_MYSQL_IMAGE=mysql:8.4 make up` needs no edited file.
fn image(section: &mut Section<'_>) -> String {
    let valid = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\'')
    };
    let remedy = "write an image as `docker pull` takes it, as \"mysql:8.4\"";
    let from_file = checked_text(section, "image", DEFAULT_IMAGE, valid, remedy);
    let from_env = (section.source.env)("WEIR_MYSQL_IMAGE").filter(|image| !image.is_empty());
    let Some(image) = from_env else { return from_file };
    if !valid(&image) {
        section.problem(format!("WEIR_MYSQL_IMAGE is {image:?}, which is no image"), remedy);
    }
    image
}

fn application_user(section: &mut Section<'_>) -> String {
    let default = "app";
    let Some(user) = section.text("application_user", default) else { return default.to_owned() };
    check_user(section, "application_user", &user);
    let taken = ["root", "healthcheck"].contains(&user.value)
        || user.value.starts_with("weir_")
        || user.value.starts_with("mysql.");
    if taken {
        let what =
            format!("`application_user` is {:?}, an account with a duty of its own", user.value);
        let remedy = "choose another name; root, healthcheck, mysql.* and weir_* are taken";
        section.source.problems.add(user.span, what, remedy);
    }
    user.value.to_owned()
}

fn database(section: &mut Section<'_>) -> String {
    let valid = |text: &str| {
        let system = ["mysql", "sys", "information_schema", "performance_schema"];
        !system.contains(&text.to_ascii_lowercase().as_str())
            && (1..=MAX_DATABASE_CHARS).contains(&text.chars().count())
            && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '$'))
    };
    let remedy = format!(
        "write 1 to {MAX_DATABASE_CHARS} letters, digits, `_`, `-` or `$`, not one of MySQL's own \
         schemas"
    );
    checked_text(section, "database", "app", valid, &remedy)
}

fn docker_host(section: &mut Section<'_>) -> Option<String> {
    let from_env = (section.source.env)("DOCKER_HOST").filter(|host| !host.is_empty());
    let Some(text) = section.text("docker_host", "unix:///var/run/docker.sock") else {
        return from_env;
    };
    let known = ["unix://", "tcp://", "http://", "https://"];
    if !known.iter().any(|scheme| text.value.starts_with(scheme)) {
        let what = format!("`docker_host` is {:?}, which is no Docker address", text.value);
        let remedy = "write unix:///path/to/docker.sock or tcp://host:port";
        section.source.problems.add(text.span, what, remedy);
        return None;
    }
    Some(text.value.to_owned())
}

/// The first port of the nodes: all of them must be ports, and none Weir's own.
fn port_base(section: &mut Section<'_>, replicas: u32, listen: SocketAddr) -> u16 {
    let port_base = section.integer("port_base", 1_024..=u16::MAX, DEFAULT_PORT_BASE);
    let last = u32::from(port_base) + replicas;
    let span = section.key_span("port_base").unwrap_or_else(|| section.span.clone());
    if last > u32::from(u16::MAX) {
        let what = format!("the nodes would need the ports {port_base} to {last}");
        let most = u32::from(u16::MAX) - replicas;
        let remedy = format!("choose a `port_base` of {most} or less");
        section.source.problems.add(span, what, remedy);
        return port_base;
    }
    let local = listen.ip().is_unspecified() || listen.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
    if local && (u32::from(port_base)..=last).contains(&u32::from(listen.port())) {
        let what = format!(
            "the nodes need the ports {port_base} to {last}, but Weir itself listens at {listen}"
        );
        let remedy = "choose another `port_base`, or another port in `listen`";
        section.source.problems.add(span, what, remedy);
    }
    port_base
}

/// `[cluster.options]`, in file order.
fn options(section: &mut Section<'_>) -> Vec<(String, String)> {
    let example = "write [cluster.options] with lines such as max_connections = 500";
    let entries = section.free_table("options", example);
    if entries.len() > MAX_OPTIONS {
        let what = format!("[cluster.options] has {} options", entries.len());
        section.problem(what, format!("write {MAX_OPTIONS} options or fewer"));
    }
    entries.iter().filter_map(|(key, value)| option(section, key, value)).collect()
}

fn option(
    section: &Section<'_>,
    key: &Text<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Option<(String, String)> {
    let add = |what: String, remedy: &str| section.source.problems.add(value.span(), what, remedy);
    let name = key.value;
    let plain = name.replace('-', "_").to_ascii_lowercase();
    // An option of another spelling (`loose_`, `skip_`) still means the same option.
    let bare = plain.strip_prefix("loose_").unwrap_or(&plain);
    if bare.is_empty() || !bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
    {
        let what = format!("{name:?} is no mysqld option");
        let remedy = "write its name as in an option file, without leading dashes";
        section.source.problems.add(key.span.clone(), what, remedy);
        return None;
    }
    if OWN_OPTIONS.contains(&bare) {
        let remedy = match bare {
            "innodb_buffer_pool_size" => "use memory_mb in [cluster]",
            "port" => "use port_base in [cluster]",
            _ => "remove it",
        };
        let what = format!("the option {name} is Weir's own to set");
        section.source.problems.add(key.span.clone(), what, remedy);
        return None;
    }
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(true) => "ON".to_owned(),
        DeValue::Boolean(false) => "OFF".to_owned(),
        other => {
            let what =
                format!("the option {name} must be a string or a number, not {}", kind(other));
            add(what, "write option = \"value\"");
            return None;
        }
    };
    if text.chars().any(char::is_control) {
        add(format!("the option {name} holds a line end or control character"), "remove it");
        return None;
    }
    Some((name.to_owned(), text))
}

/// A string that must pass a test; the default when absent or wrong.
fn checked_text(
    section: &mut Section<'_>,
    key: &'static str,
    default: &str,
    valid: impl Fn(&str) -> bool,
    remedy: &str,
) -> String {
    let Some(text) = section.text(key, default) else { return default.to_owned() };
    if !valid(text.value) {
        let what = format!("`{key}` is {:?}, which cannot be used", text.value);
        section.source.problems.add(
            text.span,
            what,
            format!("{remedy}; the default is {default:?}"),
        );
        return default.to_owned();
    }
    text.value.to_owned()
}
