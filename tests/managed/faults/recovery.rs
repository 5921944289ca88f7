//! A server that goes through its log after a crash is left alone.

use std::time::Duration;

use weir::cluster::{Kind, Safe};

use super::Stand;
use crate::docker::{docker, processors};

/// Of a processor: InnoDB's start takes seconds then.
const SLOW: &str = "0.05";
/// The least that an engine takes: it stays where it is.
const STILL: &str = "0.01";
const STILL_FOR: Duration = Duration::from_secs(3);

pub(super) async fn is_left_alone(fixture: &Stand) {
    let name = fixture.name(3);
    fixture.run(1, &["UPDATE app.t SET v = CONCAT(v, '!')"]).await;
    docker(&["kill", &name]);
    processors(&name, Some(SLOW));
    docker(&["start", &name]);
    let since = || docker(&["inspect", "--format", "{{.State.StartedAt}} {{.State.Pid}}", &name]);
    let started = since();
    let words = ["goes through its log after a crash", &name];
    let found = fixture.found(3, Kind::Recovering, &words).await;
    assert_eq!(found.safe, Safe::Wait);
    assert!(found.remedy.contains("leave it alone"), "{}", found.remedy);
    processors(&name, Some(STILL));
    let goes_on = async {
        tokio::time::sleep(STILL_FOR).await;
        processors(&name, None);
    };
    tokio::join!(fixture.repair(Some(3)), goes_on);
    fixture.right().await;
    assert_eq!(since(), started, "it was restarted");
}
