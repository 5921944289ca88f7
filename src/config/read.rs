//! The file as a whole: which sections there are, and what must hold between them.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{ConfigError, Problems};
use super::nearest::nearest;
use super::proxy;
use super::section::{Finished, Section, Source, Unknown, kind};
use super::servers::{self, MAX_SERVERS, ReadServer, ServerDefaults};
use super::types::{Admin, Cluster, Config, Monitor, Server, StaticUser};
use super::{admin, cluster, secrets};

/// Static users in one file.
const MAX_USERS: usize = 10_000;
const SINGLE: [&str; 7] = ["proxy", "pool", "monitor", "lag", "causal", "cluster", "admin"];
const LISTS: [&str; 2] = ["users", "servers"];

/// What is wrong, and the byte ranges that no error may show.
pub(super) struct Rejected {
    pub errors: Vec<ConfigError>,
    pub hidden: Vec<Range<usize>>,
}

/// Reads the whole text.
pub(super) fn config(
    text: &str,
    base_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Rejected> {
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    let mut problems = Problems::new(text);
    for error in syntax_errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        problems.add_syntax(
            span,
            format!("not TOML: {}", error.message()),
            syntax_remedy(error.message()),
        );
    }
    let source = Source { problems: &problems, base_dir, env };
    let config = File { source, root: root.get_ref(), finished: Vec::new() }.read(text.len());
    if problems.is_empty() {
        return Ok(config);
    }
    Err(Rejected { errors: problems.into_errors(), hidden: secrets::find(text, root.get_ref()) })
}

fn syntax_remedy(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "keep one of the two; several [[servers]] or [[users]] have double brackets"
    } else if message.contains("quoted") || message.starts_with("invalid") {
        "strings stand in double quotes, as listen = \"127.0.0.1:6033\"; numbers, true and false \
         stand without"
    } else {
        "a line is key = value, [section], [[section]] or # comment"
    }
}

/// The file while it is read.
struct File<'a> {
    source: Source<'a>,
    root: &'a DeTable<'a>,
    finished: Vec<Finished>,
}

impl<'a> File<'a> {
    fn read(mut self, text_length: usize) -> Config {
        let managed = self.root.contains_key("cluster");
        let (proxy, defaults) =
            self.section("proxy", "[proxy]", |section| proxy::proxy(section, managed));
        let pool = self.section("pool", "[pool]", proxy::pool);
        let lag = self.section("lag", "[lag]", proxy::lag);
        let causal = self.section("causal", "[causal]", proxy::causal);
        let users = self.users();
        let servers = self.servers(&defaults, proxy.listen);
        let monitor = self.monitor(managed);
        let cluster: Option<Cluster> = managed.then(|| {
            self.section("cluster", "[cluster]", |section| {
                cluster::cluster(section, proxy.listen, &defaults)
            })
        });
        let admin: Option<Admin> = self.root.contains_key("admin").then(|| {
            self.section("admin", "[admin]", |section| {
                admin::admin(section, proxy.listen, cluster.as_ref())
            })
        });
        self.check_one_source(text_length);
        self.report_unknown();
        Config { proxy, pool, monitor, lag, causal, users, servers, cluster, admin }
    }

    /// Reads `[key]`, or its defaults when the file does not have it.
    fn section<T>(
        &mut self,
        key: &'static str,
        name: &'static str,
        read: impl FnOnce(&mut Section<'a>) -> T,
    ) -> T {
        let table = self.root.get(key).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some((table, value.span())),
            other => {
                let what = format!("`{key}` must be a section, not {}", kind(other));
                let remedy = format!("write {name} on a line of its own, its keys below");
                self.source.problems.add(value.span(), what, remedy);
                None
            }
        });
        let mut section = Section::new(self.source, name, table);
        let result = read(&mut section);
        self.finish(section.finish());
        result
    }

    /// Keeps what is known of a section and of those below it.
    fn finish(&mut self, mut finished: Finished) {
        let children = std::mem::take(&mut finished.children);
        self.finished.push(finished);
        for child in children {
            self.finish(child);
        }
    }

    /// Reads every `[[key]]`, of too many the first one too many.
    fn list<T>(
        &mut self,
        key: &'static str,
        name: &'static str,
        most: usize,
        read: impl Fn(&mut Section<'a>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.root.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let what = format!("`{key}` must be a list of sections, not {}", kind(value.get_ref()));
            let remedy = format!("write {name}, with double brackets, before each one's keys");
            self.source.problems.add(value.span(), what, remedy);
            return Vec::new();
        };
        let mut results = Vec::new();
        for item in items.iter().take(most + 1) {
            let DeValue::Table(table) = item.get_ref() else {
                let what = format!("an entry of `{key}` is {}", kind(item.get_ref()));
                let remedy = format!("write {name}, with double brackets, before each one's keys");
                self.source.problems.add(item.span(), what, remedy);
                continue;
            };
            let mut section = Section::new(self.source, name, Some((table, item.span())));
            results.extend(read(&mut section));
            self.finish(section.finish());
        }
        results
    }

    /// The monitor's account is asked for only where somebody must have made it.
    fn monitor(&mut self, managed: bool) -> Monitor {
        let absent = !self.root.contains_key("monitor");
        let servers = self.root.get("servers").filter(|_| absent && !managed);
        if let Some(servers) = servers {
            self.source.problems.absent(
                servers.span(),
                "there are [[servers]], but no [monitor]",
                "add [monitor] with user and password of an account that may ask every server for \
                 its state (CREATE USER .., GRANT REPLICATION CLIENT ON *.* TO ..)",
            );
        }
        self.section("monitor", "[monitor]", |section| proxy::monitor(section, managed || absent))
    }

    fn users(&mut self) -> Vec<StaticUser> {
        let read = self.list("users", "[[users]]", MAX_USERS, proxy::user);
        if let Some((_, name)) = read.get(MAX_USERS) {
            let what = format!("there are more than {MAX_USERS} [[users]]");
            let remedy = "keep so many or fewer; users of the servers need no entry";
            self.source.problems.add(name.span.clone(), what, remedy);
        }
        let mut seen = std::collections::HashSet::new();
        for (user, name) in &read {
            if !seen.insert(user.name.as_str()) {
                let what = format!("there are two users {:?}", user.name);
                self.source.problems.add(name.span.clone(), what, "keep one of them");
            }
        }
        read.into_iter().map(|(user, _)| user).collect()
    }

    fn servers(&mut self, defaults: &ServerDefaults, listen: std::net::SocketAddr) -> Vec<Server> {
        let read = self.list("servers", "[[servers]]", MAX_SERVERS, |section| {
            servers::server(section, defaults)
        });
        let problems = self.source.problems;
        if let Some(server) = read.get(MAX_SERVERS) {
            let what = format!("there are more than {MAX_SERVERS} [[servers]]");
            problems.add(server.name_span.clone(), what, "keep so many or fewer");
        }
        for (n, this) in read.iter().enumerate().take(MAX_SERVERS) {
            self.check_against(this, read.get(..n).unwrap_or_default());
            if this.address.leads_to(listen) {
                let what =
                    format!("server {:?} is Weir itself, which listens there", this.server.name);
                let remedy = "write the address of the MySQL server, or another `listen`";
                problems.add(this.address_span.clone(), what, remedy);
            }
        }
        read.into_iter().map(|read| read.server).collect()
    }

    fn check_against(&self, this: &ReadServer, earlier: &[ReadServer]) {
        let problems = self.source.problems;
        let name = &this.server.name;
        // Names become labels and container names, where case often does not count.
        if earlier.iter().any(|other| other.server.name.eq_ignore_ascii_case(name)) {
            let what = format!("there are two servers named {name:?}");
            problems.add(this.name_span.clone(), what, "give each its own name");
        }
        if let Some(other) = earlier.iter().find(|other| other.address.is_same(&this.address)) {
            let what = format!("server {name:?} has the address of server {:?}", other.server.name);
            problems.add(this.address_span.clone(), what, "remove one of the two, or correct it");
        }
    }

    /// Servers come from the file or from the cluster, never from both.
    fn check_one_source(&self, text_length: usize) {
        let servers = self.root.get("servers");
        let cluster = self.root.get("cluster");
        let problems = self.source.problems;
        match (servers, cluster) {
            (Some(_), Some(cluster)) => problems.add(
                cluster.span(),
                "there are both [[servers]] and [cluster]",
                "keep [[servers]] for servers that exist, or [cluster] for Weir to create them",
            ),
            (None, None) => problems.absent(
                text_length..text_length,
                "there is neither [[servers]] nor [cluster], so no server to send anything to",
                "add [[servers]] with name and address for each server, or [cluster] for Weir to \
                 create them",
            ),
            (Some(value), None) => {
                let empty = matches!(value.get_ref(), DeValue::Array(items) if items.is_empty());
                if empty {
                    let remedy = "add [[servers]] with name and address for each server";
                    problems.absent(value.span(), "`servers` is empty", remedy);
                }
            }
            (None, Some(_)) => {}
        }
    }

    fn report_unknown(&self) {
        let known = |key: &str| SINGLE.contains(&key) || LISTS.contains(&key);
        let problems = self.source.problems;
        for (key, value) in self.root {
            if !known(key.get_ref()) && !problems.is_full() {
                self.report_unknown_section(key, value.get_ref());
            }
        }
        for section in &self.finished {
            for unknown in section.unknown.iter().take_while(|_| !problems.is_full()) {
                let (what, remedy) = self.judge_unknown(section, unknown);
                problems.unknown(unknown.span.clone(), what, remedy);
            }
        }
    }

    /// A name at the top of the file that is no section: a typo, or a key without its section.
    fn report_unknown_section(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &DeValue<'_>,
    ) {
        let name = key.get_ref().as_ref();
        let bracketed = |name: &str| {
            if LISTS.contains(&name) { format!("[[{name}]]") } else { format!("[{name}]") }
        };
        let is_section = matches!(value, DeValue::Table(_) | DeValue::Array(_));
        let home = self.finished.iter().find(|section| section.keys.contains(&name));
        let (what, remedy) = match (nearest(name, SINGLE.into_iter().chain(LISTS)), home) {
            (_, Some(home)) if !is_section => (
                format!("the key {name:?} stands outside every section"),
                format!("move it below the line {}", home.name),
            ),
            (Some(meant), _) => {
                (format!("there is no section {name:?}"), format!("write {}", bracketed(meant)))
            }
            _ => {
                let all: Vec<_> = SINGLE.into_iter().chain(LISTS).map(bracketed).collect();
                let what = format!("there is no section {name:?}");
                (what, format!("remove it; the sections are {}", all.join(", ")))
            }
        };
        self.source.problems.unknown(key.span(), what, remedy);
    }

    fn judge_unknown(&self, section: &Finished, unknown: &Unknown) -> (String, String) {
        let key = unknown.key.as_str();
        let what = format!("{} has no key {key:?}", unknown.section);
        if let Some(meant) = nearest(key, section.keys.iter().copied()) {
            return (what, format!("write `{meant}`"));
        }
        let home = self.finished.iter().find(|other| other.keys.contains(&key));
        if let Some(home) = home.filter(|home| home.name != section.name) {
            return (what, format!("it is a key of {}", home.name));
        }
        let mut keys = section.keys.clone();
        keys.sort_unstable();
        keys.dedup();
        (what, format!("remove it; the keys of {} are {}", section.name, keys.join(", ")))
    }
}
