//! What ARCHITECTURE.md promises about the sources, checked: one function a rule, each over the
//! list of files, each with its own small examples below.

use std::path::Path;

#[path = "tidy/source.rs"]
mod source;

use source::{File, Finding, words};

/// A module imports only modules of lower ranks.
const RANKS: [(&str, u8); 17] = [
    ("wire", 0),
    ("sql", 0),
    ("gtid", 0),
    ("config", 0),
    ("metrics", 0),
    ("topology", 1),
    ("net", 1),
    ("backend", 2),
    ("route", 2),
    ("monitor", 3),
    ("cluster", 3),
    ("session", 4),
    ("reload", 4),
    ("admin", 5),
    ("server", 6),
    ("app", 7),
    ("cli", 8),
];

/// Modules and files that decide or convert: no runtime, no clock, no chance, so that a test can
/// drive them. Their callers hand in the time and the random bytes.
const PURE: [&str; 15] = [
    "wire",
    "sql",
    "config",
    "route",
    "topology",
    "gtid",
    "monitor/health",
    "monitor/roles",
    "monitor/group",
    "cluster/plan",
    "cluster/group/plan",
    "cluster/group/seen",
    "cluster/group/options",
    "cluster/diagnose",
    "cluster/lag",
];

/// Files that may open sockets, and why.
const OPENS_SOCKETS: [(&str, &str); 7] = [
    ("src/server.rs", "listens for clients"),
    ("src/backend/connect.rs", "connects to servers"),
    ("src/admin/server.rs", "the control socket in the state directory"),
    ("src/admin/client.rs", "its other end"),
    ("src/admin/http.rs", "listens for the HTTP API"),
    ("src/cluster/world.rs", "asks by binding whether an address is this host's; no data"),
    (
        "src/monitor/tunnel.rs",
        "TLS to a server for the probes, which mysql_async cannot verify as asked",
    ),
];

/// Lines of one file, its tests not counted.
const MAX_FILE_LINES: usize = 600;

/// Looks at all files at once.
type Rule = fn(&[File]) -> Vec<Finding>;

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = source::read(root, &["src", "tests", "benches"]).unwrap();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the sources were not found");
    let rules: [Rule; 8] = [
        ranks,
        session_knows_no_control_plane,
        pure_modules_stay_pure,
        engines_have_one_user,
        sockets_are_opened_at_the_rim,
        files_are_short,
        nothing_is_left_for_later,
        no_global_state,
    ];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(&files)).collect();
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    let shown: Vec<String> = findings
        .iter()
        .map(|Finding { path, line, sentence }| format!("{path}:{line}: {sentence}"))
        .collect();
    assert!(shown.is_empty(), "{} untidy places\n{}", shown.len(), shown.join("\n"));
}

/// Every top-level module has a rank, and names only modules of lower rank.
fn ranks(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(module) = file.module().filter(|module| !matches!(*module, "main" | "lib")) else {
            continue;
        };
        let Some(own) = rank(module) else {
            let sentence = format!("module `{module}` has no rank: give it one in tests/tidy.rs");
            findings.push(file.finding(0, sentence));
            continue;
        };
        for (at, other) in crate_names(file) {
            // What is no module of the table is an item of lib.rs, which has none.
            let Some(other_rank) = rank(&other) else { continue };
            if other != module && other_rank >= own {
                let sentence = format!(
                    "`{module}` (rank {own}) names `{other}` (rank {other_rank}): imports go to \
                     lower ranks only, so pass a value in or move the shared part down"
                );
                findings.push(file.finding(at, sentence));
            }
        }
    }
    findings
}

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// The data plane meets the control plane in `Config` and `Topology` alone.
fn session_knows_no_control_plane(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.module() == Some("session")) {
        for (at, other) in crate_names(file) {
            if matches!(other.as_str(), "monitor" | "cluster") {
                let sentence = format!("`session` names `{other}`: it may know the Topology only");
                findings.push(file.finding(at, sentence));
            }
        }
    }
    findings
}

/// No runtime, clock or randomness in what only decides or converts.
fn pure_modules_stay_pure(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| is_pure(file)) {
        for (word, instead) in [
            ("tokio", "leave waiting to the caller"),
            ("Instant::now", "take the time as an argument"),
            ("SystemTime::now", "take the time as an argument"),
            ("elapsed", "take the time as an argument"),
            ("getrandom", "take random bytes as an argument"),
            ("rand::", "take random bytes as an argument"),
            ("SystemRandom", "take random bytes as an argument"),
        ] {
            for at in starts(&file.code, word) {
                let sentence = format!("`{word}` in a pure file: {instead}");
                findings.push(file.finding(at, sentence));
            }
        }
    }
    findings
}

fn is_pure(file: &File) -> bool {
    let Some(path) = file.in_src() else { return false };
    let path = path.trim_end_matches(".rs");
    PURE.iter().any(|pure| {
        path.strip_prefix(pure).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A foreign engine's crate has one user, so that everything else can be tested without it.
fn engines_have_one_user(files: &[File]) -> Vec<Finding> {
    let users: [(&str, &[&str]); 2] = [
        ("bollard", &["src/cluster/docker.rs", "src/cluster/docker/"]),
        ("etcd_client", &["src/cluster/lease/etcd.rs"]),
    ];
    let of_user = |(crate_name, paths): &(&str, &[&str])| -> Vec<Finding> {
        let outside = |file: &&File| {
            file.in_src().is_some() && !paths.iter().any(|path| file.path.starts_with(path))
        };
        let named = |file: &File| -> Vec<Finding> {
            let message = format!("only {} names {crate_name}", paths.join(" and "));
            words(&file.code, crate_name).map(|at| file.finding(at, &message)).collect()
        };
        files.iter().filter(outside).flat_map(named).collect()
    };
    users.iter().flat_map(of_user).collect()
}

/// Sockets are opened where limits and timeouts are.
fn sockets_are_opened_at_the_rim(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let may = |file: &File| OPENS_SOCKETS.iter().any(|(path, _)| *path == file.path);
    for file in files.iter().filter(|file| file.in_src().is_some() && !may(file)) {
        for call in [
            "TcpStream::connect",
            "TcpListener::bind",
            "TcpSocket::new",
            "Socket::new",
            "UdpSocket::bind",
        ] {
            for at in starts(&file.code, call) {
                let allowed: Vec<String> =
                    OPENS_SOCKETS.iter().map(|(path, why)| format!("{path} ({why})")).collect();
                let sentence = format!(
                    "`{call}` opens a socket outside {}: pass the stream in, or name the file \
                     with its reason in tests/tidy.rs",
                    allowed.join(", ")
                );
                findings.push(file.finding(at, sentence));
            }
        }
    }
    findings
}

/// A file is read in one sitting.
fn files_are_short(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.in_src().is_some()) {
        let tests = test_lines(file);
        let lines = file.all_code.lines().count() - tests;
        if lines > MAX_FILE_LINES {
            let sentence =
                format!("{lines} lines without tests, more than {MAX_FILE_LINES}: split the file");
            findings.push(file.finding(0, sentence));
        }
    }
    findings
}

/// Lines that hold code only for tests.
fn test_lines(file: &File) -> usize {
    let pairs = file.all_code.lines().zip(file.code.lines());
    pairs.filter(|(all, code)| !all.trim().is_empty() && code.trim().is_empty()).count()
}

/// No stub and no skipped test: what does not work fails.
fn nothing_is_left_for_later(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (word, instead) in [
            ("todo!", "write it, or leave the whole way to it out"),
            ("unimplemented!", "write it, or leave the whole way to it out"),
            ("#[ignore", "let the test run, or remove it"),
        ] {
            for (at, _) in file.all_code.match_indices(word) {
                findings.push(file.finding(at, format!("`{word}`: {instead}")));
            }
        }
    }
    findings
}

/// State has an owner, made in `app.rs`; a `static` that changes has none.
fn no_global_state(files: &[File]) -> Vec<Finding> {
    const CHANGES: [&str; 8] =
        ["Mutex", "RwLock", "Atomic", "Cell<", "OnceLock", "ArcSwap", "thread_local!", "mut "];
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.in_src().is_some()) {
        let locals = file.code.match_indices("thread_local!").map(|(at, _)| at);
        let statics = words(&file.code, "static").filter(|at| {
            // `&'static str` is a lifetime.
            !file.code.get(..*at).is_some_and(|before| before.ends_with('\''))
        });
        for at in locals.chain(statics) {
            let rest = file.code.get(at..).unwrap_or_default();
            let declaration = rest.split(['=', ';', '{']).next().unwrap_or(rest);
            if CHANGES.iter().any(|word| declaration.contains(word)) || rest.starts_with("thread") {
                let sentence = "a static that can change: make it in app.rs and pass it down";
                findings.push(file.finding(at, sentence));
            }
        }
    }
    findings
}

/// Top-level modules that the file names, by `crate::x`, `crate::{x, y::z}` or `super::super::x`,
/// and where.
fn crate_names(file: &File) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let roots = ["crate::".to_owned(), "super::".repeat(file.module_path().len())];
    for root in roots.iter().filter(|root| !root.is_empty()) {
        for at in starts(&file.code, root) {
            // `super::super::` also begins at its second half.
            if file.code.get(..at).is_some_and(|before| before.ends_with("::")) {
                continue;
            }
            let after = file.code.get(at + root.len()..).unwrap_or_default();
            names.extend(first_names(after).into_iter().map(|name| (at, name)));
        }
    }
    names
}

/// `a` of `a::b`; `a` and `c` of `{a::{b, d}, c}`.
fn first_names(path: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name_of = |text: &str| -> String { text.chars().take_while(|c| is_name(*c)).collect() };
    let Some(group) = path.strip_prefix('{') else { return vec![name_of(path)] };
    let mut names = vec![name_of(group.trim_start())];
    let mut depth = 1_usize;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                names.push(name_of(group.get(at + 1..).unwrap_or_default().trim_start()));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Positions where a path begins: no part of a longer name before it. What follows is free.
fn starts<'t>(code: &'t str, path: &'t str) -> impl Iterator<Item = usize> + 't {
    code.match_indices(path).map(|(at, _)| at).filter(move |at| {
        let before = code.get(..*at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The lines in which the rule finds something in a file of that path and text.
fn found(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&[File::new(path, text)]).iter().map(|finding| finding.line).collect()
}

#[test]
fn rule_ranks() {
    for (path, text, lines) in [
        ("src/wire/ok.rs", "use crate::wire::x;\nuse super::y;", &[][..]),
        ("src/wire/ok.rs", "use crate::net::x;", &[1]),
        ("src/wire/ok.rs", "use crate::sql;", &[1]),
        ("src/wire/ok.rs", "// crate::net\nlet x = \"crate::net\";", &[]),
        ("src/wire/ok.rs", "fn f() {\n crate::net::x()\n}", &[2]),
        ("src/wire/ok.rs", "use super::super::net;", &[1]),
        ("src/wire/mod.rs", "use super::net;", &[1]),
        ("src/topology.rs", "use super::net;", &[1]),
        ("src/topology.rs", "use crate::{config::Config, gtid};", &[]),
        ("src/net/mod.rs", "use crate::{\n wire::{a, b},\n topology::c,\n};", &[1]),
        ("src/net/mod.rs", "#[cfg(test)]\nmod tests { use crate::app; }", &[]),
        ("src/cli/mod.rs", "use crate::app;", &[]),
        ("src/newcomer.rs", "", &[1]),
        ("src/main.rs", "use weir::cli;", &[]),
        ("tests/a.rs", "use crate::app;", &[]),
    ] {
        assert_eq!(found(ranks, path, text), lines, "{path}: {text}");
    }
}

#[test]
fn rule_session() {
    let rule = session_knows_no_control_plane;
    assert_eq!(found(rule, "src/session/a.rs", "use crate::route;\nuse crate::monitor::x;"), [2]);
    assert_eq!(found(rule, "src/app.rs", "use crate::monitor::x;"), []);
}

#[test]
fn rule_purity() {
    for (path, text, lines) in [
        ("src/sql/a.rs", "use tokio::x;", &[1][..]),
        ("src/sql/a.rs", "let tokio_like = 1;\nstd::time::Instant::now()", &[1, 2]),
        ("src/route/a.rs", "now: Instant,\nrand::random()", &[2]),
        ("src/wire/scramble.rs", "use aws_lc_rs::rsa::Oaep;", &[]),
        ("src/wire/scramble.rs", "use aws_lc_rs::rand::SystemRandom;", &[1, 1]),
        ("src/monitor/health.rs", "use tokio::x;", &[1]),
        ("src/monitor/mod.rs", "use tokio::x;", &[]),
        ("src/topology.rs", "fn f() { getrandom::fill(x) }", &[1]),
        ("src/gtid/mod.rs", "#[cfg(test)]\nmod tests { use tokio::x; }", &[]),
        ("src/net/mod.rs", "use tokio::x;", &[]),
    ] {
        assert_eq!(found(pure_modules_stay_pure, path, text), lines, "{path}: {text}");
    }
}

#[test]
fn rule_engines() {
    let rule = engines_have_one_user;
    assert_eq!(found(rule, "src/cluster/docker.rs", "use bollard::x;"), []);
    assert_eq!(found(rule, "src/cluster/docker/snapshot.rs", "use bollard::x;"), []);
    assert_eq!(found(rule, "src/cluster/mod.rs", "//! bollard\nuse bollard::x;"), [2]);
    assert_eq!(found(rule, "tests/managed/life.rs", "use bollard::x;"), []);
    assert_eq!(found(rule, "src/cluster/lease/etcd.rs", "use etcd_client::x;"), []);
    assert_eq!(found(rule, "src/cluster/lease/mod.rs", "use etcd_client::x;"), [1]);
}

#[test]
fn rule_sockets() {
    let rule = sockets_are_opened_at_the_rim;
    for (path, text, lines) in [
        ("src/server.rs", "TcpListener::bind(x)", &[][..]),
        ("src/backend/connect.rs", "TcpStream::connect(x)", &[]),
        ("src/net/stream.rs", "fn f(s: TcpStream) {}", &[]),
        ("src/net/stream.rs", "tokio::net::TcpStream::connect(x)", &[1]),
        ("src/cli/status.rs", "std::net::TcpStream::connect_timeout(x)", &[1]),
        ("src/cluster/node.rs", "socket2::Socket::new(x)\nTcpSocket::new_v4()", &[2, 1]),
        ("src/net/stream.rs", "#[cfg(test)]\nmod tests { fn f() { TcpListener::bind(x) } }", &[]),
    ] {
        assert_eq!(found(rule, path, text), lines, "{path}: {text}");
    }
}

#[test]
fn rule_length() {
    let code = "x\n".repeat(MAX_FILE_LINES);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "y\n".repeat(500));
    assert_eq!(found(files_are_short, "src/a.rs", &format!("{code}{tests}")), []);
    assert_eq!(found(files_are_short, "src/a.rs", &format!("{code}x\n{tests}")), [1]);
    assert_eq!(found(files_are_short, "tests/a.rs", &format!("{code}x\n")), []);
}

#[test]
fn rule_nothing_left() {
    let rule = nothing_is_left_for_later;
    assert_eq!(found(rule, "src/a.rs", "a\ntodo!()\n// todo!()\nunimplemented!()"), [2, 4]);
    assert_eq!(found(rule, "tests/a.rs", "#[ignore = \"slow\"]\nfn f() {}\n#[ignore]"), [1, 3]);
}

#[test]
fn rule_statics() {
    for (text, lines) in [
        ("static A: [&str; 2] = [x, y];\nfn f() -> &'static Mutex<u8> { x }", &[][..]),
        ("static A: Mutex<u8> = Mutex::new(0);", &[1]),
        ("x\npub(crate) static A: AtomicU64 = AtomicU64::new(0);", &[2]),
        ("static A: OnceLock<u8> = OnceLock::new();", &[1]),
        ("static A: LazyLock<Set> = LazyLock::new(Set::default);", &[]),
        ("thread_local! { static A: Cell<u8> = Cell::new(0); }", &[1, 1]),
        ("static mut A: u8 = 0;", &[1]),
        ("fn f() { let cell = Cell::new(0); }", &[]),
        ("#[global_allocator]\nstatic GLOBAL: MiMalloc = MiMalloc;", &[]),
    ] {
        assert_eq!(found(no_global_state, "src/a.rs", text), lines, "{text}");
    }
}
