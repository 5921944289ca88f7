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
    for (offset, seconds, direction) in [("+7", 7.0, "ahead of"), ("-5", 5.0, "behind")] {
        let wrapper = format!(
            "printf '#!/bin/sh\\nexport LD_PRELOAD=/usr/lib/libfaketimeMT.so.1 FAKETIME={offset}s \
             FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0\\nexec {SERVER}.real \"$@\"\\n' \
             >{SERVER} && chmod +x {SERVER}"
        );
        docker(&["exec", &name, "sh", "-c", &wrapper]);
        docker(&["restart", &name]);
        let words = [direction, &fixture.name(1), "limit 2.0 s"];
        let found = fixture.found(3, Kind::Clock, &words).await;
        assert_eq!(found.safe, Safe::Nothing);
        let [said, doubt] =
            ["clock of ", "give or take "].map(|before| number(&found.sentence, before));
        // Both are rounded to a tenth.
        assert!((said - seconds).abs() <= doubt + 0.1 && doubt < 1.0, "{}", found.sentence);
        assert!(found.remedy.contains("NTP"), "{}", found.remedy);
        fixture.run(1, &["UPDATE app.t SET v = CONCAT(v, 't') WHERE id = 1"]).await;
    }
    docker(&["exec", &name, "mv", &format!("{SERVER}.real"), SERVER]);
    docker(&["restart", &name]);
    fixture.right().await;
}

/// The first number after these words.
fn number(sentence: &str, before: &str) -> f64 {
    let rest = sentence.split_once(before).expect(before).1;
    rest.split(' ').find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{sentence}"))
}
