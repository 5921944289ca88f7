//! docker-compose.yml as people use it, with `weir workload` through it: `scripts/compose-test.sh` does and checks it all.

use std::path::Path;
use std::process::Command;

#[test]
fn compose_brings_up_a_cluster_that_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(root.join("scripts/compose-test.sh"))
        .env("WEIR_BINARY", env!("CARGO_BIN_EXE_weir"))
        .env_remove("WEIR_IMAGE")
        .output()
        .unwrap();
    let [said, complaint] =
        [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(done.status.success(), "{said}{complaint}");
    let said = said + &complaint;
    assert!(said.contains("docker-compose.yml works"), "{said}");
    // What `weir workload` ends with.
    assert_eq!(said.matches("has each acknowledged row exactly once").count(), 3, "{said}");
}
