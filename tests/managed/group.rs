//! A cluster of `replication = "group"` on real servers, behind a Weir that serves: it is made, its members elect,
//! and what was acknowledged through Weir is on every server at the end.
//!
//! Needs an engine and the image (`make test` sees to both). `make soak` puts its figures into docs/cluster.md.

mod apart;
mod full;

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;

use crate::chaos::engine::Gate;
use crate::docker::docker;
use crate::figures;
use crate::small_disk::SmallDisk;
use crate::stage::Stage;
use crate::wait::until_or_show;
use crate::writers::{RECOVERY_LIMIT, WRITERS, Writers};
use apart::Loss;

impl Stage {
    /// Waits until all are ONLINE with the same transactions, and nothing is left to do.
    async fn whole_group(&self) {
        self.settled(&["problems"], |replication| replication["member"] == "ONLINE").await;
    }
}

/// A group, one member of which has a small disk, and the way to the engine, which is open at the end: the cluster is
/// destroyed by it.
struct Ground {
    /// Its holder is gone before the cluster is destroyed.
    disk: SmallDisk,
    stage: Stage,
    engine: Gate,
}

impl Ground {
    fn make(test: &str) -> Self {
        let engine = Gate::open();
        let settings = format!(
            "docker_host = \"{}\"\nreplication = \"group\"\nreplicas = 1\n",
            engine.address()
        );
        let stage = Stage::new(test, &settings);
        let disk = SmallDisk::make(&stage.name, 3);
        stage.want_two_replicas();
        stage.weir(&["cluster", "up"]);
        Self { disk, stage, engine }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.engine.reopen();
    }
}

/// The table in docs/cluster.md.
const TABLE: &str = "a group";
const HEADS: [&str; 3] = ["fault on the primary", "outcome", "until writes are acknowledged"];

/// Of both tests.
const ROWS: usize = 8;

/// "6.6 s"
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// When a test began, to see what takes its time.
struct Course(Instant);

impl Course {
    fn told(&self, what: &str) {
        eprintln!("{:6.1} s: {what}", self.0.elapsed().as_secs_f64());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_apart_behind_or_full_hold_up_nobody() {
    let course = Course(Instant::now());
    let mut ground = Ground::make("apart");
    let Ground { stage, engine, disk } = &mut ground;
    course.told("made");
    apart::lag_is_explained(stage).await;
    course.told("lag was explained");
    apart::a_silent_member_holds_up_nobody(stage).await;
    course.told("one that stood still held up nobody");
    for loss in [Loss::CutOff, Loss::Frozen] {
        apart::the_majority_goes_on(stage, engine, loss).await;
        course.told(&format!("{loss:?}: the old primary is a member again"));
    }
    full::the_others_elect_another(stage, disk).await;
    course.told("a full disk has room again, and all are members");
    figures::publish_rows(TABLE, &HEADS, ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_elects_and_loses_nothing() {
    let mut stage = Stage::configured("group", "replication = \"group\"\n");
    let course = Course(Instant::now());
    let told = |what: &str| course.told(what);
    stage.weir(&["cluster", "up"]);
    told("made");
    let again = stage.weir(&["cluster", "up"]);
    assert!(again.contains("nothing was changed"), "{again}");
    assert_eq!(again.matches("member ONLINE").count(), 2, "{again}");
    stage.serve();
    own_writes_are_seen(&stage).await;
    // What `mysql --defaults-extra-file` reads lets the application in with the same password.
    let options = std::fs::read_to_string(stage.path("state/client.cnf")).unwrap();
    let password = format!("password = \"{}\"\n", stage.state().application.expose());
    assert!(options.contains(&password), "the application's password is another there");
    told("own writes are seen");
    let writers = Writers::start(&stage).await;
    switchovers(&stage, &writers).await;
    let elsewhere = another_weir_serves(&stage).await;
    told("moved on request");
    let copied = stage.replicas().pop().unwrap();
    let said = stage.weir(&["cluster", "reclone", &copied, "--yes"]);
    assert_eq!(said.matches("member ONLINE").count(), 2, "{said}");
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", stage.log());
    told("a member was copied anew");
    figures::row(TABLE, &["none: another member copied anew", "no errors", ""]);

    let old = stage.primary();
    docker(&["kill", &old]);
    let held = writers.goes_on().await;
    told(&format!("{old} was killed; no write was acknowledged for {held:?}"));
    let killed = Instant::now();
    // Those that were under way: whether they were done nobody knows.
    let errors = writers.errors();
    assert!(errors.len() <= usize::try_from(WRITERS).unwrap(), "{errors:?}");
    stage.whole_group().await;
    let back = seconds(held + killed.elapsed());
    let outcome = format!(
        "the others elected another, {} statements failed; a member again after {back}",
        errors.len()
    );
    figures::row(TABLE, &["container killed", &outcome, &seconds(held)]);
    assert_ne!(stage.primary(), old, "{}", stage.log());
    let mut acknowledged = writers.finish().await;
    acknowledged.extend(elsewhere);
    stage.whole_group().await;
    told("the killed one is a member again");
    stage.check_rows(&acknowledged).await;

    // Nobody is in the group any more: it is founded again, with everything.
    stage.weir(&["cluster", "down"]);
    told("down");
    let founded = Instant::now();
    stage.weir(&["cluster", "up"]);
    told("up");
    let took = format!("up within {}", seconds(founded.elapsed()));
    figures::row(TABLE, &["`weir cluster down`, `up`", "founded again with all rows", &took]);
    stage.whole_group().await;
    stage.check_rows(&acknowledged).await;
    let mut conn = stage.through_weir().await;
    conn.query_drop("INSERT INTO written VALUES (1)").await.unwrap();
    let ones: Vec<u64> = conn.query("SELECT id FROM written WHERE id = 1").await.unwrap();
    assert_eq!(ones, [1]);
    told("and it takes writes");
    figures::publish_rows(TABLE, &HEADS, ROWS);
}

/// Sessions see what they wrote, by whichever member they read: at once, when no other member may have it, and a
/// little later, when one has.
async fn own_writes_are_seen(stage: &Stage) {
    let mut conn = stage.through_weir().await;
    conn.query_drop("CREATE TABLE own (id INT PRIMARY KEY)").await.unwrap();
    // A node's number in its server id is that of its published port.
    let primary = u64::from(stage.port_of(&stage.primary()));
    let sessions = (0..20_u32).map(async |session| {
        let mut conn = stage.through_weir().await;
        let mut elsewhere = 0;
        for id in session * 10..(session + 1) * 10 {
            conn.query_drop(format!("INSERT INTO own VALUES ({id})")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(u64::from(id % 2) * 300)).await;
            let query = format!("SELECT id, UUID_SHORT() >> 56 FROM own WHERE id = {id}");
            let seen: Option<(u32, u64)> = conn.query_first(query).await.unwrap();
            let (_, server) = seen.unwrap_or_else(|| panic!("row {id} was not seen"));
            elsewhere += u32::from(server != primary & 0xff);
        }
        elsewhere
    });
    let elsewhere: u32 = futures_util::future::join_all(sessions).await.into_iter().sum();
    assert!(elsewhere > 0, "the primary served all reads: {}", stage.log());
}

/// Under writers, three in a row and one to a named member; none of them costs an error.
async fn switchovers(stage: &Stage, writers: &Writers) {
    let first = stage.primary();
    let (mut now, mut held) = (first.clone(), Vec::new());
    for back in [false, false, true] {
        let mut words = vec!["cluster", "switchover"];
        words.extend((back && now != first).then_some(first.as_str()));
        let said = stage.weir(&words);
        assert!(said.contains(&format!("it was {now};")), "{said}");
        held.push(said.trim_end().rsplit(' ').nth(1).unwrap().to_owned());
        now = stage.primary();
        writers.goes_on().await;
    }
    let held = format!("writes held for {} ms", held.join(", "));
    figures::row(TABLE, &["none: switchover, three in a row", "no errors", &held]);
    let refused = stage.refused(&["cluster", "switchover", &now]);
    assert!(refused.contains("is the primary"), "{refused}");
    let refused = stage.refused(&["cluster", "remove", &now, "--yes"]);
    assert!(refused.contains("it is the primary"), "{refused}");
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", stage.log());
}

/// Switchovers while clients write through a second Weir, too; none of them costs its clients an error.
async fn another_weir_serves(stage: &Stage) -> Vec<u64> {
    let mut second = stage.second();
    second.serve();
    let open = Duration::from_millis(40);
    let writers = Writers::with(&second, 1_000_000_000, open).await;
    for times in 1..=3 {
        let held = stage.switch(&[]);
        writers.goes_on().await;
        until_or_show(
            RECOVERY_LIMIT,
            "the second to say so",
            || second.log(),
            async || (second.held_by_others().len() == times).then_some(()),
        )
        .await;
        let there = second.held_by_others().pop().unwrap();
        eprintln!("writes were held for {held} ms, through a second Weir {there} ms");
    }
    assert_eq!(writers.errors(), Vec::<String>::new(), "{}", second.log());
    writers.finish().await
}
