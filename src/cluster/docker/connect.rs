//! The way to the engine: a socket of this host, or TCP with TLS or without.

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};

use super::super::error::ClusterError;
use super::{Engine, cause};
use crate::config::Cluster;

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// For one request.
const REQUEST_SECONDS: u64 = 120;

impl Engine {
    /// Connects to the engine of that cluster, which answers: a question that has it start no program, unlike that for its
    /// version.
    pub(in crate::cluster) async fn connect(cluster: &Cluster) -> Result<Self, ClusterError> {
        let host = address(cluster);
        let unreachable = |error: Error| unreachable(&host, &error);
        let docker = client(&host, cluster).map_err(unreachable)?;
        docker.ping().await.map_err(unreachable)?;
        tracing::debug!(host, "engine answers");
        Ok(Self { docker })
    }
}

/// `docker_host`, else `DOCKER_HOST`, else the local socket.
fn address(cluster: &Cluster) -> String {
    let from_env = || std::env::var("DOCKER_HOST").ok().filter(|text| !text.is_empty());
    let named = cluster.docker_host.clone().or_else(from_env);
    named.unwrap_or_else(|| DEFAULT_HOST.to_owned())
}

/// The host, "10.0.0.1" or a name, and the port of an engine that is not on this host.
pub(in crate::cluster) fn remote_host(cluster: &Cluster) -> Option<(String, u16)> {
    elsewhere(&address(cluster))
}

/// bollard's own choice by scheme would ask the environment for certificates again.
fn client(host: &str, cluster: &Cluster) -> Result<Docker, Error> {
    match &cluster.docker_tls {
        _ if host.starts_with("unix://") => {
            Docker::connect_with_unix(host, REQUEST_SECONDS, API_DEFAULT_VERSION)
        }
        Some(tls) => Docker::connect_with_ssl(
            host,
            &tls.key,
            &tls.cert,
            &tls.ca,
            REQUEST_SECONDS,
            API_DEFAULT_VERSION,
        ),
        None => Docker::connect_with_http(host, REQUEST_SECONDS, API_DEFAULT_VERSION),
    }
}

/// Host and port of an address of TCP that is no loopback.
fn elsewhere(address: &str) -> Option<(String, u16)> {
    let (scheme, rest) = address.split_once("://")?;
    if scheme == "unix" {
        return None;
    }
    let authority = rest.split('/').next().unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (authority, 0),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_local = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    (!is_local && !host.is_empty()).then(|| (host.to_owned(), port))
}

fn unreachable(host: &str, error: &Error) -> ClusterError {
    let (host, cause) = (host.to_owned(), cause(error));
    if cause.contains("ermission denied") {
        return ClusterError::EngineForbidden { host, cause };
    }
    ClusterError::EngineUnreachable { host, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_elsewhere() {
        let check = |text: &str, wanted: Option<(&str, u16)>| {
            let wanted = wanted.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(elsewhere(text), wanted, "{text}");
        };
        check("unix:///var/run/docker.sock", None);
        check("tcp://127.0.0.1:2376", None);
        check("tcp://localhost:2375", None);
        check("https://[::1]:2376", None);
        check("tcp://10.0.0.7:2376", Some(("10.0.0.7", 2376)));
        check("https://db-host:2376/", Some(("db-host", 2376)));
        check("tcp://[2001:db8::7]:2376", Some(("2001:db8::7", 2376)));
        check("tcp://db-host", Some(("db-host", 0)));
    }
}
