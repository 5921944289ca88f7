//! A host whose clock is off, which containers of one host cannot have: the one server is told another time.

use weir::cluster::{Kind, Safe};

use super::Stand;
use crate::docker::docker;

/// As Debian's libfaketime has it.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const SERVER: &str = "/usr/sbin/mysqld";

/// Ahead and behind, it is named with its seconds and left to a person; nobody's data suffers.
pub(super) async fn is_off(fixture: &Stand) {
    let name = fixture.name(3);
    let library = format!("/usr/lib/{}-linux-gnu/{LIBRARY}", std::env::consts::ARCH);
    docker(&["cp", &library, &format!("{name}:/usr/lib/")]);
    docker(&["exec", &name, "mv", SERVER, &format!("{SERVER}.real")]);
    // What counts time goes on as it is; mysqld's threads would never rest otherwise.
    for (offset, words) in [("+7", "7.0 s ahead of"), ("-5", "5.0 s behind")] {
        let wrapper = format!(
            "printf '#!/bin/sh\\nexport LD_PRELOAD=/usr/lib/libfaketimeMT.so.1 FAKETIME={offset}s \
             FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0\\nexec {SERVER}.real \"$@\"\\n' \
             >{SERVER} && chmod +x {SERVER}"
        );
        docker(&["exec", &name, "sh", "-c", &wrapper]);
        docker(&["restart", &name]);
        let found = fixture.found(3, Kind::Clock, &[words, &fixture.name(1), "limit 2.0 s"]).await;
        assert_eq!(found.safe, Safe::Nothing);
        assert!(found.remedy.contains("NTP"), "{}", found.remedy);
        fixture.run(1, &["UPDATE app.t SET v = CONCAT(v, 't') WHERE id = 1"]).await;
    }
    docker(&["exec", &name, "mv", &format!("{SERVER}.real"), SERVER]);
    docker(&["restart", &name]);
    fixture.right().await;
}
