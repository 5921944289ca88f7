//! `[cluster]`: keys, ranges, defaults.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Component, PathBuf};
use std::time::Duration;

use super::files::{self, Pem};
use super::group;
use super::leadership::leadership;
use super::password::{self, APPLICATION_PASSWORD};
use super::proxy::check_user;
use super::section::Section;
use super::servers::ServerDefaults;
use super::types::{Cluster, Copying, Data, DockerTls, NodeOptions, Pull, Replication, Seed};
use super::{option_file, options};

/// Replicas of one primary; each also costs the primary a binary log reader.
const MAX_REPLICAS: u32 = 16;
/// Characters of the cluster's name; container and volume names are made from it.
const MAX_NAME_CHARS: usize = 40;
/// The longest schema name of MySQL, in characters.
const MAX_DATABASE_CHARS: usize = 64;
const COPYING: [(&str, Copying); 3] =
    [("auto", Copying::Auto), ("clone", Copying::Clone), ("dump", Copying::Dump)];
/// A day: who waits longer wants no timeout, and a primary without replicas would stand still.
const MAX_SEMI_SYNC_TIMEOUT_MS: u64 = 86_400_000;

/// `[cluster]`
pub(super) fn cluster(
    section: &mut Section<'_>,
    listen: SocketAddr,
    servers: &ServerDefaults,
) -> Cluster {
    let default = Cluster::default();
    let replicas = section.integer("replicas", 0..=MAX_REPLICAS, default.replicas);
    let replication = group::replication(section, replicas);
    // A group does both in its own way.
    let ours = replication != Replication::Group;
    let docker_host = docker_host(section);
    let pull = [("missing", Pull::Missing), ("always", Pull::Always), ("never", Pull::Never)];
    Cluster {
        name: name(section),
        replicas,
        replication,
        image: image(section, &default.image),
        pull: section.choice("pull", &pull).unwrap_or(default.pull),
        data: data(section),
        application_user: application_user(section),
        application_password: password::optional(section, &APPLICATION_PASSWORD),
        database: database(section),
        semi_sync: section.boolean("semi_sync", default.semi_sync) && ours,
        semi_sync_acks: semi_sync_acks(section, replicas),
        semi_sync_timeout: Duration::from_millis(section.integer(
            "semi_sync_timeout_ms",
            10..=MAX_SEMI_SYNC_TIMEOUT_MS,
            2_000,
        )),
        applier_workers: section.integer("applier_workers", 1..=1_024, default.applier_workers),
        failover: section.boolean("failover", default.failover) && ours,
        patience: section.seconds("failover_seconds", 0.5..=3_600.0, 5.0),
        leadership: leadership(section),
        docker_tls: docker_tls(section, docker_host.as_deref()),
        docker_host,
        server_tls: servers.tls,
        port_base: port_base(section, replicas, listen, default.port_base),
        option_file: option_file::read(section, false),
        options: options::table(section, "[cluster.options]", false),
        nodes: nodes(section),
        buffer_pool_mb: section.integer("memory_mb", 5..=1_048_576, default.buffer_pool_mb),
        seed: section
            .choice("seed", &[("auto", Seed::Auto), ("clone", Seed::Clone)])
            .unwrap_or(Seed::Auto),
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
fn image(section: &mut Section<'_>, default: &str) -> String {
    let valid = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\'')
    };
    let remedy = "write an image as `docker pull` takes it, as \"mysql:8.4\"";
    let from_file = checked_text(section, "image", default, valid, remedy);
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
fn port_base(section: &mut Section<'_>, replicas: u32, listen: SocketAddr, default: u16) -> u16 {
    let port_base = section.integer("port_base", 1_024..=u16::MAX, default);
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

/// `data`: a word, or an absolute path.
fn data(section: &mut Section<'_>) -> Data {
    let Some(text) = section.text("data", "volume") else { return Data::Volume };
    let found = Data::parse(text.value).filter(|data| match data {
        // The engine takes no other: "." and ".." could lead out of what was meant.
        Data::Folder(path) => {
            text.value.len() > 1
                && !text.value.contains(':')
                && !text.value.chars().any(char::is_control)
                && !path
                    .components()
                    .any(|part| matches!(part, Component::ParentDir | Component::CurDir))
        }
        _ => true,
    });
    found.unwrap_or_else(|| {
        let what = format!("`data` is {:?}, which is no place for data", text.value);
        let remedy =
            "write \"volume\", \"container\", or a folder of the engine's host as \"/srv/weir\"";
        section.source.problems.add(text.span, what, remedy);
        Data::Volume
    })
}

/// No more receipts than replicas, or each commit would wait in vain.
fn semi_sync_acks(section: &mut Section<'_>, replicas: u32) -> u32 {
    let acks = section.integer("semi_sync_acks", 1..=MAX_REPLICAS, 1);
    if acks > replicas.max(1) {
        let span = section.key_span("semi_sync_acks").unwrap_or_else(|| section.span.clone());
        let what = format!("a commit cannot wait for {acks} replicas of {replicas}");
        let remedy = format!("write {} or less, or more `replicas`", replicas.max(1));
        section.source.problems.add(span, what, remedy);
    }
    acks
}

/// The section, or what the docker command takes from the environment
/// (<https://docs.docker.com/reference/cli/docker/#environment-variables>).
fn docker_tls(section: &mut Section<'_>, host: Option<&str>) -> Option<DockerTls> {
    let over_tcp = host.is_some_and(|host| !host.starts_with("unix://"));
    if let Some(tls) = section.child("docker_tls", "[cluster.docker_tls]", docker_tls_files) {
        if !over_tcp {
            let span = section.key_span("docker_tls").unwrap_or_else(|| section.span.clone());
            let what = "[cluster.docker_tls] is there, but the engine is not reached over TCP";
            section.source.problems.add(span, what, "add docker_host = \"tcp://host:2376\"");
        }
        return tls;
    }
    let variable = |name: &str| (section.source.env)(name).filter(|value| !value.is_empty());
    let directory = || {
        let home = || Some(PathBuf::from(variable("HOME")?).join(".docker"));
        variable("DOCKER_CERT_PATH").map(PathBuf::from).or_else(home)
    };
    let from_env = variable("DOCKER_TLS_VERIFY").filter(|_| over_tcp).and_then(|_| {
        let directory = directory()?;
        let file = |name: &str| directory.join(name);
        Some(DockerTls { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") })
    });
    if from_env.is_none() && host.is_some_and(|host| host.starts_with("https://")) {
        let what = "the engine is reached by https://, but no certificates are named";
        section.problem(
            what,
            "add [cluster.docker_tls] with ca, cert and key, or set DOCKER_TLS_VERIFY",
        );
    }
    from_env
}

fn docker_tls_files(section: &mut Section<'_>) -> Option<DockerTls> {
    let mut file = |key: &'static str, holds: Pem| {
        if section.has(key) {
            return files::pem(section, key, holds);
        }
        section.required_text(key, &format!("{key}.pem"));
        None
    };
    let (ca, cert) = (file("ca", Pem::Certificate), file("cert", Pem::Certificate));
    let key = file("key", Pem::PrivateKey);
    Some(DockerTls { ca: ca?, cert: cert?, key: key? })
}

/// `[cluster.node.N]`
fn nodes(section: &mut Section<'_>) -> BTreeMap<u32, NodeOptions> {
    let last = MAX_REPLICAS.saturating_add(1);
    let all = section.children("node", "[cluster.node.2]", |key, section| {
        let number = key.value.parse().ok().filter(|number| (1..=last).contains(number));
        if number.is_none() {
            let what = format!("{:?} is no number of a node", key.value);
            let remedy = format!("write [cluster.node.N] with N from 1 to {last}");
            section.source.problems.add(key.span.clone(), what, remedy);
        }
        let option_file = option_file::read(section, true);
        let options = options::table(section, "[cluster.node.N.options]", true);
        Some((number?, NodeOptions { option_file, options }))
    });
    all.into_iter().flatten().collect()
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
