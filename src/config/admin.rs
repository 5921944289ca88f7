//! `[admin]`: the listener of the HTTP API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::proxy::listen;
use super::section::Section;
use super::types::{Admin, Cluster};

const DEFAULT_PORT: u16 = 6_032;

/// `[admin]`. Beyond this machine the token and all passwords would cross a network, so there the file must
/// say whether that is by TLS.
pub(super) fn admin(
    section: &mut Section<'_>,
    proxy: SocketAddr,
    cluster: Option<&Cluster>,
) -> Admin {
    let listen = listen(section, DEFAULT_PORT);
    let tls = section.choice("tls", &[("off", false), ("required", true)]);
    if !listen.ip().is_loopback() && !section.has("tls") {
        let what = format!(
            "the HTTP API would listen at {listen}, where other machines can reach it and listen in"
        );
        let remedy = "write tls = \"required\", which uses the certificate of [proxy]; or tls = \"off\" for a \
                      network that nobody else is on; or listen on 127.0.0.1";
        let span = section.key_span("listen").unwrap_or_else(|| section.span.clone());
        section.source.problems.absent(span, what, remedy);
    }
    check_port(section, listen, proxy, cluster);
    Admin { listen, tls: tls.unwrap_or(false) }
}

/// Neither Weir's own port for clients nor one of the nodes'.
fn check_port(
    section: &Section<'_>,
    listen: SocketAddr,
    proxy: SocketAddr,
    cluster: Option<&Cluster>,
) {
    let span = section.key_span("listen").unwrap_or_else(|| section.span.clone());
    let meets = |other: IpAddr| {
        listen.ip() == other || listen.ip().is_unspecified() || other.is_unspecified()
    };
    if listen.port() == proxy.port() && meets(proxy.ip()) {
        let what = format!("the HTTP API and the clients' port are both {listen}");
        let remedy = "choose another port here, or in [proxy] listen";
        section.source.problems.add(span, what, remedy);
        return;
    }
    let Some(cluster) = cluster.filter(|_| meets(IpAddr::V4(Ipv4Addr::LOCALHOST))) else { return };
    let last = u32::from(cluster.port_base) + cluster.replicas;
    if (u32::from(cluster.port_base)..=last).contains(&u32::from(listen.port())) {
        let what = format!(
            "the nodes need the ports {} to {last}, but the HTTP API listens at {listen}",
            cluster.port_base
        );
        let remedy = "choose another port here, or another `port_base` in [cluster]";
        section.source.problems.add(span, what, remedy);
    }
}
