//! Keys of `[cluster]` that say where it is kept which Weir leads.

use std::time::Duration;

use super::files::{Pem, pem};
use super::password::{self, ETCD_PASSWORD};
use super::section::Section;
use super::types::{Etcd, Leadership};

/// Addresses of one etcd cluster.
const MAX_ENDPOINTS: usize = 16;
/// Below, a busy machine would lose it; above, nobody would take over for too long.
const LEASE_SECONDS: std::ops::RangeInclusive<u32> = 2..=300;
const DEFAULT_LEASE_SECONDS: u32 = 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Engine,
    Etcd,
}

/// `leadership`, and the keys of etcd, which mean nothing without it.
pub(super) fn leadership(section: &mut Section<'_>) -> Leadership {
    let kinds = [("engine", Kind::Engine), ("etcd", Kind::Etcd)];
    let kind = section.choice("leadership", &kinds).unwrap_or(Kind::Engine);
    let first = ["etcd", "etcd_user", "etcd_ca", "etcd_cert", "etcd_key", "lease_seconds"]
        .into_iter()
        .find(|key| section.has(key));
    let endpoints = endpoints(section);
    let user = section.text("etcd_user", "weir").map(|text| text.value.to_owned());
    let password = password::optional(section, &ETCD_PASSWORD).unwrap_or_default();
    let ca = pem(section, "etcd_ca", Pem::Certificate);
    let cert = pem(section, "etcd_cert", Pem::Certificate);
    let key = pem(section, "etcd_key", Pem::PrivateKey);
    let seconds = section.integer("lease_seconds", LEASE_SECONDS, DEFAULT_LEASE_SECONDS);
    if section.has("etcd_cert") != section.has("etcd_key") {
        section.problem("`etcd_cert` and `etcd_key` belong together", "give both, or neither");
    }
    match (kind, first) {
        (Kind::Engine, None) => return Leadership::Engine,
        (Kind::Engine, Some(key)) => {
            let span = section.key_span(key).unwrap_or_default();
            let what = format!("`{key}` means nothing while leadership is kept in the engine");
            let remedy = "add leadership = \"etcd\", or remove it";
            section.source.problems.add(span, what, remedy);
        }
        (Kind::Etcd, _) if endpoints.is_empty() && !section.has("etcd") => {
            let span = section.key_span("leadership").unwrap_or_default();
            let remedy = "add etcd = [\"http://127.0.0.1:2379\"]";
            section.source.problems.add(
                span,
                "`leadership` is \"etcd\", but no etcd is named",
                remedy,
            );
        }
        (Kind::Etcd, _) => {}
    }
    Leadership::Etcd(Etcd {
        endpoints,
        login: user.map(|user| (user, password)),
        ca,
        client: cert.zip(key),
        lease: Duration::from_secs(u64::from(seconds)),
    })
}

fn endpoints(section: &mut Section<'_>) -> Vec<String> {
    let example = "\"http://127.0.0.1:2379\"";
    let texts = section.texts("etcd", example);
    if section.has("etcd") && (texts.is_empty() || texts.len() > MAX_ENDPOINTS) {
        let span = section.key_span("etcd").unwrap_or_default();
        let what = format!("`etcd` names {} addresses", texts.len());
        let remedy = format!("name 1 to {MAX_ENDPOINTS}, as etcd = [{example}]");
        section.source.problems.add(span, what, remedy);
    }
    for text in &texts {
        let rest =
            ["http://", "https://"].iter().find_map(|scheme| text.value.strip_prefix(scheme));
        let valid = rest.is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic() && c != '@')
        });
        if !valid {
            let what = format!("`etcd` names {:?}, which is no address of etcd", text.value);
            let remedy = format!("write scheme, host and port, as {example}");
            section.source.problems.add(text.span.clone(), what, remedy);
        }
    }
    texts.into_iter().map(|text| text.value.to_owned()).collect()
}
