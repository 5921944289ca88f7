//! A server that goes through its log after a crash is left alone.

use weir::cluster::{Kind, Safe};

use super::Stand;
use crate::docker::docker;

/// Of a processor: InnoDB's start takes seconds then.
const SLOW: &str = "0.05";
const FAST: &str = "2";

pub(super) async fn is_left_alone(fixture: &Stand) {
    let name = fixture.name(3);
    fixture.run(1, &["UPDATE app.t SET v = CONCAT(v, '!')"]).await;
    docker(&["kill", &name]);
    docker(&["update", "--cpus", SLOW, &name]);
    docker(&["start", &name]);
    let since = || docker(&["inspect", "--format", "{{.State.StartedAt}} {{.State.Pid}}", &name]);
    let started = since();
    let words = ["goes through its log after a crash", &name];
    let found = fixture.found(3, Kind::Recovering, &words).await;
    assert_eq!(found.safe, Safe::Wait);
    assert!(found.remedy.contains("leave it alone"), "{}", found.remedy);
    fixture.repair(Some(3)).await;
    docker(&["update", "--cpus", FAST, &name]);
    fixture.right().await;
    assert_eq!(since(), started, "it was restarted");
}
