//! `[[servers]]`: keys, ranges, defaults; and what must hold between them.

use std::ops::Range;
use std::path::PathBuf;

use super::address::Address;
use super::files::{Pem, pem};
use super::section::{Section, Text};
use super::types::{Server, ServerTls, ServerTlsMode};

/// Servers in one file.
pub(super) const MAX_SERVERS: usize = 128;
/// Characters of a server's name.
const MAX_NAME_CHARS: usize = 64;

/// What `[proxy]` says for servers that say nothing themselves.
#[derive(Debug, Clone)]
pub(super) struct ServerDefaults {
    /// `server_tls`
    pub tls: Option<ServerTlsMode>,
    /// `server_tls_ca`
    pub ca: Option<PathBuf>,
}

/// A server with what the checks between servers need.
#[derive(Debug)]
pub(super) struct ReadServer {
    pub server: Server,
    pub address: Address,
    /// Where its name stands.
    pub name_span: Range<usize>,
    /// Where its address stands.
    pub address_span: Range<usize>,
}

/// One of `[[servers]]`; `None` when it has no usable name or address (then noted).
pub(super) fn server(section: &mut Section<'_>, defaults: &ServerDefaults) -> Option<ReadServer> {
    let name = section.required_text("name", "a");
    let address = section.required_text("address", "127.0.0.1:3306");
    let name = name.filter(|name| check_name(section, name));
    let parsed = address.as_ref().and_then(|address| parse_address(section, address));
    let tls = tls(section, defaults, parsed.as_ref());
    let weight = section.integer("weight", 0..=1_000, 100);
    let (name, address, parsed) = (name?, address?, parsed?);
    let server =
        Server { name: name.value.to_owned(), address: address.value.to_owned(), tls, weight };
    let (name_span, address_span) = (name.span, address.span);
    Some(ReadServer { server, address: parsed, name_span, address_span })
}

/// Reads a key that says how Weir speaks to servers.
pub(super) fn tls_mode(section: &mut Section<'_>, key: &'static str) -> Option<ServerTlsMode> {
    let choices = [
        ("off", ServerTlsMode::Off),
        ("preferred", ServerTlsMode::Preferred),
        ("required", ServerTlsMode::Required),
        ("verify-ca", ServerTlsMode::VerifyCa),
        ("verify-identity", ServerTlsMode::VerifyIdentity),
    ];
    section.choice(key, &choices)
}

fn tls(
    section: &mut Section<'_>,
    defaults: &ServerDefaults,
    address: Option<&Address>,
) -> ServerTls {
    let said = tls_mode(section, "tls").or(defaults.tls);
    let wanted_ca = section.has("tls_ca") || defaults.ca.is_some();
    let ca = pem(section, "tls_ca", Pem::Certificate).or_else(|| defaults.ca.clone());
    let mode = said.unwrap_or_else(|| match address {
        Some(address) if address.is_loopback() => ServerTlsMode::Off,
        _ => ServerTlsMode::Preferred,
    });
    if mode.verifies() && !wanted_ca {
        section.absent(
            "the server's certificate is to be verified, but no authority is named",
            "add tls_ca = \"ca.pem\" here, or server_tls_ca in [proxy]",
        );
    }
    ServerTls { mode, ca }
}

fn check_name(section: &Section<'_>, name: &Text<'_>) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let length = name.value.chars().count();
    if (1..=MAX_NAME_CHARS).contains(&length) && name.value.chars().all(allowed) {
        return true;
    }
    let what = format!("{:?} is no server name", name.value);
    let remedy = format!("write 1 to {MAX_NAME_CHARS} letters, digits, `-` or `_`");
    section.source.problems.add(name.span.clone(), what, remedy);
    false
}

fn parse_address(section: &Section<'_>, text: &Text<'_>) -> Option<Address> {
    match Address::parse(text.value) {
        Ok(address) => Some(address),
        Err(lack) => {
            let what = format!("`address` {:?} {lack}", text.value);
            let remedy = "write host:port, as \"10.0.0.1:3306\", \"db1.example.com:3306\" or \
                          \"[fd00::1]:3306\"";
            section.source.problems.add(text.span.clone(), what, remedy);
            None
        }
    }
}
