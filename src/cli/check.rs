//! `weir check`: every error of a configuration at once, or what it will do.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{ClientTls, Cluster, Config, Data, Server, ServerTlsMode};

/// Checks the file; prints its errors to stderr, or a paragraph on what it does to stdout.
///
/// # Errors
/// The standard output is gone. A wrong configuration is no error here but exit code 1.
pub fn run(path: &Path) -> anyhow::Result<ExitCode> {
    match Config::load(path, &super::environment) {
        Ok(config) => {
            writeln!(std::io::stdout(), "{} is right. {}", path.display(), summary(&config))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            write!(std::io::stderr(), "{errors}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// One paragraph: what this configuration makes Weir do.
fn summary(config: &Config) -> String {
    let proxy = &config.proxy;
    let tls = match proxy.tls {
        ClientTls::Off => "without TLS",
        ClientTls::Preferred => "with or without TLS",
        ClientTls::Required => "only with TLS",
    };
    let certificate = match (proxy.tls, &proxy.tls_files) {
        (ClientTls::Off, _) => String::new(),
        (_, Some((cert, _))) => format!(" (certificate {})", cert.display()),
        (_, None) => format!(" (self-signed certificate in {})", proxy.state_dir.display()),
    };
    let mut text = format!(
        "Weir listens at {}, with {} and room for {}, {tls}{certificate}. ",
        proxy.listen,
        count(proxy.workers, "worker"),
        count(proxy.max_connections, "client"),
    );
    text.push_str(&match &config.cluster {
        Some(cluster) => cluster_sentence(cluster),
        None => servers_sentence(&config.servers),
    });
    let monitor = &config.monitor;
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        " It probes every server each {:?} as {:?}; a replica more than {:?} behind gets no reads.",
        monitor.interval, monitor.user, config.lag.max,
    );
    if let Some(admin) = config.admin {
        let tls = if admin.tls { "only with TLS" } else { "without TLS" };
        let token = proxy.state_dir.join(crate::admin::token::FILE);
        let _ = write!(
            text,
            " The HTTP API listens at {}, {tls}, for who has the token in {}.",
            admin.listen,
            token.display(),
        );
    }
    if !config.users.is_empty() {
        let users = count(config.users.len(), "user");
        let _ = write!(text, " It knows {users} itself and asks the servers about the others.");
    }
    text
}

fn cluster_sentence(cluster: &Cluster) -> String {
    let last = u32::from(cluster.port_base) + cluster.replicas;
    let replicas = match cluster.replicas {
        0 => "no replica".to_owned(),
        1 => "1 replica".to_owned(),
        n => format!("{n} replicas"),
    };
    let host = match &cluster.docker_host {
        Some(host) if !host.starts_with("unix://") => format!(" of the host of {host}"),
        _ => " of 127.0.0.1".to_owned(),
    };
    let data = match &cluster.data {
        Data::Volume => "volumes".to_owned(),
        Data::Container => "their containers".to_owned(),
        Data::Folder(path) => path.display().to_string(),
    };
    format!(
        "It keeps the cluster {:?}, a primary with {replicas} from the image {}, on the ports {} \
         to {last}{host}, with the user {:?} and the database {:?}; new nodes keep their data in {data}.",
        cluster.name, cluster.image, cluster.port_base, cluster.application_user, cluster.database,
    )
}

fn servers_sentence(servers: &[Server]) -> String {
    let each: Vec<String> = servers
        .iter()
        .map(|server| {
            let tls = match server.tls.mode {
                ServerTlsMode::Off => "no TLS",
                ServerTlsMode::Preferred => "TLS preferred",
                ServerTlsMode::Required => "TLS required",
                ServerTlsMode::VerifyCa => "TLS, authority verified",
                ServerTlsMode::VerifyIdentity => "TLS, identity verified",
            };
            format!("{} at {} ({tls})", server.name, server.address)
        })
        .collect();
    let number = count(servers.len(), "server");
    format!("It uses {number}, whose roles it finds out by asking: {}.", each.join(", "))
}

/// "1 server", "2 servers"
fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
