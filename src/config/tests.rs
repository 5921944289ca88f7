//! Whole files: what is accepted, and every error of what is not.

use std::path::Path;
use std::time::Duration;

use super::*;

/// The least configuration that must work.
const LEAST: &str = r#"
[proxy]
listen = "127.0.0.1:6033"
[monitor]
user = "mon"
password = "mon"
[[servers]]
name = "a"
address = "127.0.0.1:13301"
[[servers]]
name = "b"
address = "127.0.0.1:13302"
"#;

fn env(name: &str) -> Option<String> {
    (name == "WEIR_TEST_PASSWORD").then(|| "from the environment".to_owned())
}

fn parse_in(dir: &Path, text: &str) -> Result<Config, ConfigErrors> {
    Config::from_toml_str(text, "proxy.toml", dir, &env)
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    parse_in(Path::new("/nowhere"), text)
}

/// The text must give exactly these errors: line, and a part of what is wrong or of the remedy.
#[track_caller]
fn check(text: &str, expected: &[(usize, &str)]) {
    let errors = parse(text).map(|_| ()).unwrap_err();
    let shown = errors.to_string();
    let found: Vec<_> = errors.errors.iter().map(|error| error.line).collect();
    let lines: Vec<_> = expected.iter().map(|(line, _)| *line).collect();
    assert_eq!(found, lines, "{shown}");
    for (error, (_, part)) in errors.errors.iter().zip(expected) {
        let sentence = format!("{}; {}", error.what, error.remedy);
        assert!(sentence.contains(part), "no {part:?} in {sentence:?}");
        assert!(shown.contains(&error.what) && shown.contains(&error.remedy), "{shown}");
    }
}

#[test]
fn the_least_configuration_has_every_default() {
    let config = parse(LEAST).unwrap();
    let proxy = &config.proxy;
    assert_eq!(proxy.listen, "127.0.0.1:6033".parse().unwrap());
    assert!((1..=256).contains(&proxy.workers));
    assert_eq!(proxy.max_connections, 10_000);
    assert_eq!(proxy.max_packet_bytes, 1 << 30);
    assert_eq!(proxy.handshake_timeout, Duration::from_secs(10));
    assert_eq!(proxy.tls, ClientTls::Preferred);
    assert_eq!(proxy.tls_files, None);
    assert_eq!(proxy.state_dir, Path::new("/nowhere/.weir"));
    assert_eq!(proxy.statement_cache, 10_000);
    let pool = &config.pool;
    assert_eq!((pool.max_per_server, pool.max_prepared), (200, 256));
    assert_eq!(
        [pool.max_idle, pool.wait, pool.connect, pool.hold_previous].map(|d| d.as_secs()),
        [60, 10, 5, 30]
    );
    let monitor = &config.monitor;
    assert_eq!((monitor.user.as_str(), monitor.password.expose()), ("mon", "mon"));
    assert_eq!(
        (monitor.interval, monitor.timeout, monitor.failures),
        (Duration::from_millis(200), Duration::from_secs(2), 2)
    );
    assert_eq!(config.lag.max, Duration::from_secs(10));
    assert_eq!(config.causal.window, Duration::from_secs(2));
    assert!(config.users.is_empty() && config.cluster.is_none() && config.admin.is_none());
    let servers: Vec<_> =
        config.servers.iter().map(|s| (s.name.as_str(), s.address.as_str(), s.weight)).collect();
    assert_eq!(servers, [("a", "127.0.0.1:13301", 100), ("b", "127.0.0.1:13302", 100)]);
    let off = ServerTls { mode: ServerTlsMode::Off, ca: None };
    assert!(config.servers.iter().all(|server| server.tls == off));
}

#[test]
fn leadership_is_kept_in_the_engine_or_in_etcd() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let leadership = |text: &str| parse_in(dir.path(), text).unwrap().cluster.unwrap().leadership;
    assert_eq!(leadership("[cluster]"), Leadership::Engine);
    assert_eq!(leadership("[cluster]\nleadership = \"engine\""), Leadership::Engine);
    let text = "[cluster]\nleadership = \"etcd\"\netcd = [\"http://a:2379\", \"https://b:2379\"]\n\
                etcd_user = \"weir\"\netcd_password = \"geheim\"\netcd_ca = \"ca.pem\"\nlease_seconds = 3";
    let Leadership::Etcd(etcd) = leadership(text) else { panic!("not etcd") };
    assert_eq!(etcd.endpoints, ["http://a:2379", "https://b:2379"]);
    assert_eq!(etcd.login, Some(("weir".to_owned(), Secret::new("geheim".to_owned()))));
    assert!(etcd.ca.unwrap().ends_with("ca.pem") && etcd.client.is_none());
    assert_eq!(etcd.lease, Duration::from_secs(3));
    let etcd = "[cluster]\nleadership = \"etcd\"\n";
    check(etcd, &[(2, "no etcd is named")]);
    check(&format!("{etcd}etcd = []"), &[(3, "names 0 addresses")]);
    check(
        &format!("{etcd}etcd = \"http://a:1\""),
        &[(3, "names 0 addresses"), (3, "must be a list")],
    );
    check(&format!("{etcd}etcd = [5]"), &[(3, "names 0 addresses"), (3, "holds an integer")]);
    check(&format!("{etcd}etcd = [\"a:2379\"]"), &[(3, "no address of etcd")]);
    let text = format!("{etcd}etcd = [\"http://a:1\"]\netcd_cert = \"c.pem\"\nlease_seconds = 1");
    check(
        &text,
        &[(1, "belong together"), (4, "/nowhere/c.pem cannot be read"), (5, "out of its range")],
    );
    let text = format!("{etcd}etcd = [\"http://a:1\"]\netcd_key = \"ca.pem\"");
    let errors = parse_in(dir.path(), &text).unwrap_err().to_string();
    assert!(errors.contains("`etcd_key`: file") && errors.contains("no private key"), "{errors}");
    check("[cluster]\nlease_seconds = 5", &[(2, "means nothing")]);
    check("[cluster]\nleadership = \"zookeeper\"", &[(2, "means nothing here")]);
}

#[test]
fn replication_and_copies_are_chosen_by_name() {
    let cluster = |text: &str| parse(&format!("[cluster]\n{text}")).unwrap().cluster.unwrap();
    assert_eq!(cluster("replication = \"file\"").replication, Replication::File);
    assert_eq!(cluster("copy = \"dump\"").copy, Copying::Dump);
    assert_eq!(cluster("copy = \"clone\"").copy, Copying::Clone);
    check("[cluster]\ncopy = \"magic\"", &[(2, "write one of \"auto\", \"clone\", \"dump\"")]);
}

#[test]
fn a_cluster_needs_nothing_but_its_name_in_brackets() {
    let config = parse("[cluster]").unwrap();
    assert_eq!(
        (config.monitor.user.as_str(), config.monitor.password.expose()),
        ("weir_monitor", "")
    );
    assert_eq!(config.proxy.listen, "127.0.0.1:6033".parse().unwrap());
    let cluster = config.cluster.unwrap();
    assert_eq!((cluster.name.as_str(), cluster.image.as_str()), ("weir", "weir-mysql:9.7"));
    assert_eq!((cluster.application_user.as_str(), cluster.database.as_str()), ("app", "app"));
    assert_eq!((cluster.replicas, cluster.port_base, cluster.buffer_pool_mb), (2, 13_301, 256));
    assert!(cluster.semi_sync && cluster.options.is_empty());
    assert_eq!(cluster.seed, Seed::Auto);
    assert_eq!((cluster.replication, cluster.copy), (Replication::Gtid, Copying::Auto));
    assert_eq!((cluster.application_password, cluster.docker_host), (None, None));
}

#[test]
fn the_http_api_is_for_this_machine_unless_the_file_says_how() {
    let admin = |text: &str| parse(&format!("[cluster]\nseed = \"clone\"\n[admin]\n{text}"));
    let least = Admin { listen: "127.0.0.1:6032".parse().unwrap(), tls: false };
    assert_eq!(admin("").unwrap().admin, Some(least));
    let all = |tls| Some(Admin { listen: "0.0.0.0:1".parse().unwrap(), tls });
    assert_eq!(admin("listen = \"0.0.0.0:1\"\ntls = \"required\"").unwrap().admin, all(true));
    let open = admin("listen = \"0.0.0.0:1\"\ntls = \"off\"").unwrap();
    assert_eq!(open.admin, all(false));
    assert_eq!(open.cluster.unwrap().seed, Seed::Clone);
}

#[test]
fn a_group_decides_some_things_itself() {
    let config = parse("[cluster]\nreplication = \"group\"").unwrap().cluster.unwrap();
    assert!(config.is_group() && !config.semi_sync && !config.failover);
    assert!(!parse("[cluster]").unwrap().cluster.unwrap().is_group());
    let text = "[cluster]\nreplicas = 9\nreplication = \"group\"\nsemi_sync = false\nfailover = true\n\
                failover_seconds = 3\n[cluster.options]\ngroup-replication-group-name = \"x\"";
    check(
        text,
        &[
            (2, "a group has at most 9"),
            (4, "waits until most members have it"),
            (5, "elect their primary themselves"),
            (6, "a group has its own patience"),
            (8, "is Weir's own to set"),
        ],
    );
    check(
        "[cluster]\nreplication = \"async\"",
        &[(2, "write one of \"gtid\", \"file\", \"group\"")],
    );
}

#[test]
fn the_environment_names_image_and_engine() {
    let env = |name: &str| match name {
        "WEIR_MYSQL_IMAGE" => Some("mysql:8.4".to_owned()),
        "DOCKER_HOST" => Some("tcp://10.0.0.1:2375".to_owned()),
        _ => None,
    };
    let text = "[cluster]\nimage = \"other:1\"";
    let config = Config::from_toml_str(text, "x", Path::new("."), &env).unwrap();
    let cluster = config.cluster.unwrap();
    assert_eq!(cluster.image, "mysql:8.4");
    assert_eq!(cluster.docker_host.as_deref(), Some("tcp://10.0.0.1:2375"));
}

#[test]
fn every_key_is_read() {
    let text = r#"
        [proxy]
        listen = "[::]:3306"
        workers = 3
        max_connections = 1_000
        max_packet_bytes = 0x1000
        handshake_seconds = 2.5
        tls = "required"
        state_dir = "/var/lib/weir"
        statement_cache = 7
        server_tls = "required"
        [pool]
        max_connections_per_server = 8
        max_idle_seconds = 1
        wait_seconds = 0
        connect_seconds = 0.5
        max_prepared_statements = 9
        hold_previous_seconds = 4
        [monitor]
        user = "m"
        password_env = "WEIR_TEST_PASSWORD"
        interval_ms = 50
        timeout_ms = 1500.5
        failures = 4
        [lag]
        max_seconds = 0.25
        [causal]
        window_ms = 10
        [[users]]
        name = "old"
        password = ""
        [[servers]]
        name = "a"
        address = "Db.example.com:3306"
        tls = "off"
        weight = 0
        [[servers]]
        name = "b"
        address = "127.0.0.1:3307"
    "#;
    let config = parse(text).unwrap();
    let proxy = &config.proxy;
    assert_eq!((proxy.workers, proxy.max_connections, proxy.max_packet_bytes), (3, 1_000, 4_096));
    assert_eq!(
        (proxy.handshake_timeout, proxy.tls),
        (Duration::from_millis(2_500), ClientTls::Required)
    );
    assert_eq!((proxy.state_dir.as_path(), proxy.statement_cache), (Path::new("/var/lib/weir"), 7));
    let pool = &config.pool;
    assert_eq!((pool.max_per_server, pool.max_prepared), (8, 9));
    assert_eq!(
        [pool.max_idle, pool.wait, pool.connect, pool.hold_previous].map(|d| d.as_millis()),
        [1_000, 0, 500, 4_000]
    );
    let monitor = &config.monitor;
    assert_eq!(monitor.password.expose(), "from the environment");
    assert_eq!(
        (monitor.interval.as_micros(), monitor.timeout.as_micros(), monitor.failures),
        (50_000, 1_500_500, 4)
    );
    assert_eq!((config.lag.max.as_millis(), config.causal.window.as_millis()), (250, 10));
    assert_eq!((config.users[0].name.as_str(), config.users[0].password.expose()), ("old", ""));
    let modes: Vec<_> =
        config.servers.iter().map(|server| (server.tls.mode, server.weight)).collect();
    // What [proxy] says holds for loopback too: somebody wanted it.
    assert_eq!(modes, [(ServerTlsMode::Off, 0), (ServerTlsMode::Required, 100)]);
}

#[test]
fn mysqld_options_keep_their_order() {
    let text = "[cluster.options]\nwait_timeout = 5\ncharacter-set-server = \"latin1\"\n\
                a.b = 1.5\nloose_x = true\n";
    let errors = parse(text).unwrap_err();
    assert_eq!(errors.errors.len(), 1, "a dotted key is a table: {errors}");
    let text = "[cluster.options]\nwait_timeout = 5\ncharacter-set-server = \"latin1\"\n\
                \"a.b\" = 1.5\nloose_x = true\n";
    let options = parse(text).unwrap().cluster.unwrap().options;
    let options: Vec<_> =
        options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        options,
        [
            ("wait_timeout", "5"),
            ("character-set-server", "latin1"),
            ("a.b", "1.5"),
            ("loose_x", "ON")
        ]
    );
}

#[test]
fn options_of_weirs_own_are_refused() {
    check(
        "[cluster.options]\nserver-id = 5\nGTID_MODE = false\ninnodb_buffer_pool_size = 1\n\
         loose-read-only = 1\nx = [1]\n\"a b\" = 1\ny = \"a\\nb\"",
        &[
            (2, "Weir's own"),
            (3, "Weir's own"),
            (4, "memory_mb"),
            (5, "Weir's own"),
            (6, "not a list"),
            (7, "no mysqld option"),
            (8, "line end"),
        ],
    );
}

#[test]
fn every_key_of_a_cluster_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("all.cnf", "[client]\nport = 1\n[mysqld]\nmax_connections = 50\n");
    write("two.cnf", "[server]\nskip-external-locking\n");
    write("c.pem", "-----BEGIN CERTIFICATE-----\n");
    write("k.pem", "-----BEGIN PRIVATE KEY-----\n");
    let text = "[cluster]\ndata = \"/srv/weir\"\npull = \"always\"\nsemi_sync_acks = 2\n\
                semi_sync_timeout_ms = 60_000\napplier_workers = 16\noption_file = \"all.cnf\"\n\
                docker_host = \"tcp://db:2376\"\n[cluster.options]\nauto_increment_increment = 2\n\
                [cluster.docker_tls]\nca = \"c.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"\n\
                [cluster.node.2]\noption_file = \"two.cnf\"\n\
                [cluster.node.2.options]\nauto_increment_offset = 2\n";
    let cluster = parse_in(dir.path(), text).unwrap().cluster.unwrap();
    assert_eq!((cluster.data, cluster.pull), (Data::Folder("/srv/weir".into()), Pull::Always));
    assert_eq!((cluster.semi_sync_acks, cluster.applier_workers), (2, 16));
    assert_eq!(cluster.semi_sync_timeout, Duration::from_secs(60));
    let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let file = |name: &str, options| Some(OptionFile { path: dir.path().join(name), options });
    assert_eq!(cluster.option_file, file("all.cnf", pair("max_connections", "50")));
    assert_eq!(cluster.options, pair("auto_increment_increment", "2"));
    let own = &cluster.nodes[&2];
    assert_eq!(own.option_file, file("two.cnf", pair("skip-external-locking", "")));
    assert_eq!(own.options, pair("auto_increment_offset", "2"));
    let tls = cluster.docker_tls.unwrap();
    assert_eq!((tls.cert, tls.key), (dir.path().join("c.pem"), dir.path().join("k.pem")));
    for (text, data) in [("volume", Data::Volume), ("container", Data::Container)] {
        let cluster = parse(&format!("[cluster]\ndata = {text:?}")).unwrap().cluster.unwrap();
        assert_eq!(cluster.data, data);
    }
}

#[test]
fn what_is_wrong_in_a_cluster() {
    for data in ["volumes", "srv/weir", "/", "/srv/../etc", "/srv:/x", ""] {
        check(&format!("[cluster]\ndata = {data:?}"), &[(2, "no place for data")]);
    }
    check(
        "[cluster]\nreplicas = 1\nsemi_sync_acks = 2\nsemi_sync_timeout_ms = 5\n\
         applier_workers = 0\npull = \"now\"\noption_file = \"none.cnf\"\n",
        &[
            (3, "cannot wait for 2 replicas of 1"),
            (4, "10 to 86400000"),
            (5, "1 to 1024"),
            (6, "\"never\""),
            (7, "none.cnf cannot be read"),
        ],
    );
    check(
        "[cluster.node.0]\n[cluster.node.two]\n[cluster.node.2]\noptions = 5\nreplicas = 1\n\
         [cluster.node.3.options]\nserver_id = 7\nlower_case_table_names = 1\n[cluster.options]\n\
         replicate_do_db = \"x\"\nskip-grant-tables = true\n",
        &[
            (1, "no number of a node"),
            (2, "no number of a node"),
            (4, "must be a table"),
            (5, "a key of [cluster]"),
            (7, "Weir's own"),
            (8, "same on every node"),
            (10, "keep data from replicas"),
            (11, "without a password"),
        ],
    );
    check("[cluster]\nnode = 2", &[(2, "must be a table")]);
    check("[cluster.node]\n2 = 5", &[(2, "must be a section")]);
    check(
        "[cluster]\ndocker_host = \"tcp://db:2376\"\n[cluster.docker_tls]\nca = \"/nowhere/ca.pem\"\n\
         certs = 1",
        &[(3, "has no `cert`"), (3, "has no `key`"), (4, "cannot be read"), (5, "write `cert`")],
    );
    check("[cluster]\ndocker_host = \"https://db:2376\"", &[(1, "no certificates")]);
}

#[test]
fn an_option_file_is_judged_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("my.cnf"),
        "[mysqld]\nport = 1\n!include x\nloose-skip-log-bin\n",
    )
    .unwrap();
    let text = "[cluster]\nname = \"x\"\noption_file = \"my.cnf\"\n";
    let errors = parse_in(dir.path(), text).unwrap_err();
    let lines: Vec<_> = errors.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [3, 3, 3], "{errors}");
    for words in [
        "my.cnf, line 2: the option port",
        "line 3: \"!include x\"",
        "line 4: the option loose-skip",
    ] {
        assert!(errors.to_string().contains(words), "{errors}");
    }
}

#[test]
fn the_environment_names_certificates_as_for_the_docker_command() {
    let tls = |host: &str, set: &'static [(&str, &str)]| {
        let env = |name: &str| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let text = format!("[cluster]\ndocker_host = {host:?}");
        let config = Config::from_toml_str(&text, "x", Path::new("."), &env).unwrap();
        config.cluster.unwrap().docker_tls.map(|tls| tls.ca)
    };
    let tcp = "tcp://db:2376";
    assert_eq!(tls(tcp, &[]), None);
    assert_eq!(tls(tcp, &[("DOCKER_CERT_PATH", "/c")]), None);
    let both = &[("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/c")];
    assert_eq!(tls(tcp, both), Some("/c/ca.pem".into()));
    let home = &[("DOCKER_TLS_VERIFY", "1"), ("HOME", "/home/me")];
    assert_eq!(tls(tcp, home), Some("/home/me/.docker/ca.pem".into()));
    assert_eq!(tls("unix:///var/run/docker.sock", both), None);
}

#[test]
fn a_file_with_everything_wrong_tells_everything() {
    check(
        r#"[proxy]
listen = "localhost:6033"
workers = 257
max_connections = "10000"
max_packet_bytes = 1e9
handshake_seconds = "10s"
tls = true
tls_key = "/nowhere/key.pem"
statement_cache = -1
lisen = 5
[pool]
max_idle_seconds = nan
wait_seconds = 1e300
max_connections_per_server = 99999999999999999999999999
[monitor]
user = ""
password = "a"
password_env = "UNSET"
interval_ms = 0
[lag]
max_seconds = [10]
[causal]
window = 5
[[users]]
name = "u"
[[servers]]
name = "a b"
address = "db1"
tls = "verify-ca"
weight = 1001
[[servers]]
address = "10.0.0.1:3306"
[extra]
"#,
        &[
            (2, "127.0.0.1:6033"),
            (3, "1 to 256"),
            (4, "without quotes: max_connections = 10000"),
            (5, "must be an integer, not a fraction"),
            (6, "must be a number, not a string"),
            (7, "\"required\""),
            (8, "without `tls_cert`"),
            (8, "cannot be read"),
            (9, "1 to 1000000"),
            (10, "write `listen`"),
            (12, "NaN"),
            (13, "0 to 3600"),
            (14, "out of its range"),
            (16, "`user` is empty"),
            (18, "keep one of"),
            (18, "no variable"),
            (19, "10 to 60000"),
            (21, "not a list"),
            (23, "write `window_ms`"),
            (24, "password"),
            (26, "tls_ca"),
            (27, "no server name"),
            (28, "no port"),
            (30, "0 to 1000"),
            (31, "has no `name`"),
            (33, "no section \"extra\""),
        ],
    );
}

#[test]
fn what_must_hold_between_sections() {
    check("", &[(1, "neither [[servers]] nor [cluster]")]);
    check("servers = []", &[(1, "no [monitor]"), (1, "`servers` is empty")]);
    check("[[servers]]\nname = \"a\"\naddress = \"db:1\"", &[(1, "no [monitor]")]);
    check(
        "[cluster]\n[monitor]\nuser = \"weir_monitor\"\n[[servers]]\nname = \"a\"\naddress = \"db:1\"",
        &[(1, "both [[servers]] and [cluster]")],
    );
    check(
        "[monitor]\n[[servers]]\nname = \"a\"\naddress = \"db:1\"",
        &[(1, "`user`"), (1, "password")],
    );
    check("[cluster]\n[monitor]\nuser = \"m\"", &[(2, "no password")]);
    for user in ["root", "healthcheck", "weir_x", "mysql.sys"] {
        check(&format!("[cluster]\napplication_user = {user:?}"), &[(2, "are taken")]);
    }
    check("[cluster]\nport_base = 6031", &[(2, "Weir itself listens")]);
    check("[cluster]\nport_base = 65534\nreplicas = 2", &[(2, "65533 or less")]);
    check("[proxy]\nlisten = \"0.0.0.0:13303\"\n[cluster]", &[(3, "Weir itself listens")]);
    check("[cluster]\n[admin]\nlisten = \"127.0.0.1:13302\"", &[(3, "another `port_base`")]);
    check("[cluster]\n[admin]\nlisten = \"127.0.0.1:6033\"", &[(3, "clients' port")]);
    check("[cluster]\n[admin]\nlisten = \"0.0.0.0:6032\"", &[(3, "tls = \"required\"")]);
    check("[cluster]\n[admin]\nlisten = \"[::]:13301\"\ntls = \"off\"", &[(3, "port_base")]);
    check(
        "[cluster]\n[[users]]\nname = \"a\"\npassword = \"\"\n[[users]]\nname = \"a\"\npassword = \"\"",
        &[(6, "two users")],
    );
}

#[test]
fn servers_may_not_clash() {
    let more = "[[servers]]\nname = \"A\"\naddress = \"127.0.0.1:1\"\n[[servers]]\nname = \"c\"\n\
                address = \"127.0.0.1:13302\"\n[[servers]]\nname = \"d\"\naddress = \"localhost:6033\"";
    let text = format!("{}\n{more}", LEAST.trim());
    check(
        &text,
        &[(13, "two servers named \"A\""), (17, "address of server \"b\""), (20, "Weir itself")],
    );
}

#[test]
fn sections_of_the_wrong_shape() {
    check("proxy = 5\n[cluster]", &[(1, "write [proxy]")]);
    check("[[proxy]]\n[cluster]", &[(1, "write [proxy]")]);
    check(
        "[servers]\nname = \"a\"\n[monitor]\nuser = \"a\"\npassword = \"\"",
        &[(1, "[[servers]], with double brackets")],
    );
    check(
        "servers = [1]\n[monitor]\nuser = \"a\"\npassword = \"\"",
        &[(1, "an entry of `servers` is an integer")],
    );
    check("cluster = 1", &[(1, "write [cluster]")]);
    check("listen = \"127.0.0.1:1\"\n[cluster]", &[(1, "below the line [proxy]")]);
    check("[cluster]\n[serverz]", &[(2, "write [[servers]]")]);
    check("[cluster]\ninterval_ms = 5", &[(2, "a key of [monitor]")]);
    check("[cluster]\nfoobar = 5", &[(2, "the keys of [cluster] are application_password,")]);
}

#[test]
fn syntax_errors_do_not_hide_the_others() {
    check(
        "[proxy]\nlisten = 127.0.0.1:6033\nworkers = 0\n",
        &[(2, "double quotes"), (3, "1 to 256")],
    );
    check(
        "[proxy]\nworkers = 1\nworkers = 2\n[cluster]\nreplica = 1",
        &[(3, "keep one"), (5, "write `replicas`")],
    );
    check("[proxy\nlisten = \"a\"\n", &[(1, "not TOML")]);
    check("[cluster]\nname = \"a\n", &[(2, "not TOML")]);
    check("[cluster]\nname\n", &[(2, "key = value")]);
    check("\u{feff}[cluster]\n\u{0}", &[(2, "not TOML")]);
}

#[test]
fn a_flood_is_cut_quickly() {
    let keys: String = (0..50_000).map(|n| format!("key_{n} = {n}\n")).collect();
    let broken = "= x\n".repeat(50_000);
    let servers = "[[servers]]\nx = 1\n".repeat(30_000);
    for text in [format!("[proxy]\n{keys}"), broken, servers, "[".repeat(100_000)] {
        let errors = parse(&text).unwrap_err();
        assert!(errors.errors.len() <= 1_000 && errors.to_string().len() < 100_000);
    }
    let servers: String = (0..200)
        .map(|n| format!("[[servers]]\nname = \"s{n}\"\naddress = \"db:{}\"\n", n + 1))
        .collect();
    let text = format!("[monitor]\nuser = \"m\"\npassword = \"\"\n{servers}");
    check(&text, &[(4 + 3 * 128 + 1, "more than 128 [[servers]]")]);
}

#[test]
fn no_error_shows_a_password() {
    for text in [
        "[monitor]\npassword = \"geheim\"\npassword_env = \"X\"",
        "[monitor]\npasswrd = \"geheim\"",
        "[monitor]\npassword = \"geheim",
        "[monitor]\npassword = geheim",
        "[monitor]\npassword = [\"geheim\"]",
        "monitor = { user = 5, password = \"geheim\" }",
        "[cluster]\napplication_password = \"geheim\\u0000\"",
        "[cluster]\napplication_pasword = \"geheim\"",
        "password = \"geheim\"",
    ] {
        let errors = parse(text).unwrap_err();
        assert!(!format!("{errors}{errors:?}").contains("geheim"), "{errors}");
    }
    let config = parse("[cluster]\napplication_password = \"geheim\"").unwrap();
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn passwords_come_from_files() {
    let dir = tempfile::tempdir().unwrap();
    for (bytes, expected) in [
        (&b"secret\n"[..], Ok("secret")),
        (b"secret\r\n", Ok("secret")),
        (b" two words \n\n", Ok(" two words \n")),
        (b"", Ok("")),
        (b"a\0b", Err("NUL")),
        (b"\xff", Err("not UTF-8")),
        (&[b'a'; 5_000], Err("longer than 4096 bytes")),
    ] {
        std::fs::write(dir.path().join("pw"), bytes).unwrap();
        let result = parse_in(dir.path(), "[cluster]\n[monitor]\npassword_file = \"pw\"");
        match (result, expected) {
            (Ok(config), Ok(expected)) => assert_eq!(config.monitor.password.expose(), expected),
            (Err(errors), Err(part)) => assert!(errors.to_string().contains(part), "{errors}"),
            (result, expected) => panic!("{result:?} instead of {expected:?}"),
        }
    }
    check("[cluster]\n[monitor]\npassword_file = \"pw\"", &[(3, "/nowhere/pw cannot be read")]);
    check("[cluster]\n[monitor]\npassword_file = \"\"", &[(3, "empty")]);
}

#[test]
fn tls_files_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    std::fs::write(dir.path().join("k.pem"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let good = "[proxy]\ntls_cert = \"c.pem\"\ntls_key = \"k.pem\"\nserver_tls = \"verify-ca\"\n\
                server_tls_ca = \"c.pem\"\n[monitor]\nuser = \"m\"\npassword = \"\"\n\
                [[servers]]\nname = \"a\"\naddress = \"db:1\"";
    let config = parse_in(dir.path(), good).unwrap();
    let (cert, key) = config.proxy.tls_files.unwrap();
    assert_eq!((cert, key), (dir.path().join("c.pem"), dir.path().join("k.pem")));
    let ca = Some(dir.path().join("c.pem"));
    assert_eq!(config.servers[0].tls, ServerTls { mode: ServerTlsMode::VerifyCa, ca });
    let swapped = "[cluster]\n[proxy]\ntls_cert = \"k.pem\"\ntls_key = \"c.pem\"";
    let errors = parse_in(dir.path(), swapped).unwrap_err().to_string();
    assert!(errors.contains("holds a private key, no certificate"), "{errors}");
    assert!(errors.contains("holds a certificate, no private key"), "{errors}");
}

#[test]
fn a_managed_cluster_is_spoken_to_as_the_proxy_section_says() {
    let of = |text: &str| parse(text).unwrap().cluster.unwrap().server_tls;
    assert_eq!(of("[cluster]"), None);
    let required = "[proxy]\nserver_tls = \"required\"\n[cluster]";
    assert_eq!(of(required), Some(ServerTlsMode::Required));
    let verified = "[proxy]\nserver_tls = \"verify-identity\"\n[cluster]";
    check(verified, &[(2, "nobody can vouch for them; write \"required\"")]);
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.toml");
    let errors = Config::load(&path, &env).unwrap_err();
    assert_eq!((errors.errors.len(), errors.errors[0].line), (1, 0));
    assert!(errors.to_string().contains("none.toml cannot be read"), "{errors}");
    std::fs::write(&path, LEAST).unwrap();
    let config = Config::load(&path, &env).unwrap();
    assert_eq!(config.proxy.state_dir, dir.path().join(".weir"));
}

#[test]
fn the_example_at_the_root_says_what_the_defaults_are() {
    let text = include_str!("../../proxy.toml");
    let shown = Config::from_toml_str(text, "proxy.toml", Path::new("."), &|_| None).unwrap();
    // Every key that is only commented out, switched on, must be known and mean its default.
    let switched_on: String = text
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let all = Config::from_toml_str(&switched_on, "proxy.toml", Path::new("."), &|_| None).unwrap();
    let with_workers = |mut config: Config| {
        config.proxy.workers = 1;
        format!("{config:#?}")
    };
    assert_eq!(with_workers(all), with_workers(shown));
    let defaults = parse_in(Path::new("."), "[cluster]").unwrap();
    let example = parse_in(Path::new("."), text).unwrap();
    assert_eq!(with_workers(example), with_workers(defaults));
}

proptest::proptest! {
    /// Whatever is typed, the answer is a configuration or at least one error; never a panic.
    #[test]
    fn any_text_is_answered(text in "([\\[\\]a-z_]{0,12}( = )?[\"'{}0-9.\\[\\]éa-z:]{0,10}[\n\r]?){0,12}") {
        if let Err(errors) = parse(&text) {
            assert!(!errors.errors.is_empty());
            assert!(errors.to_string().contains("error"));
        }
    }

    /// The same for a good file with a few bytes overwritten.
    #[test]
    fn a_damaged_file_is_answered(at in 0..LEAST.len(), with in "[\\x00-\\x7f]{1,3}") {
        let mut text = LEAST.to_owned();
        let end = (at + with.len()).min(text.len());
        text.replace_range(at..end, &with);
        if let Err(errors) = parse(&text) {
            assert!(!errors.errors.is_empty() && !errors.to_string().is_empty());
        }
    }
}
