//! Many sessions over one server of which every tenth answer is ugly: nobody gets another's bytes.

use std::sync::Arc;

use crate::client::{CLASSIC, Client, MODERN, Outcome};
use crate::fake::Fake;
use crate::weir_process::Weir;

const SESSIONS: usize = 16;
/// Queries of each session.
const TURNS: usize = 1_000;
const UGLY: [&str; 12] = [
    "close_first",
    "close_half",
    "close_mid_result",
    "close_mid_row",
    "huge_header",
    "garbage",
    "wrong_seq",
    "wrong_seq_row",
    "empty",
    "impossible_count",
    "err",
    "extra",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_never_share_bytes() {
    let fake = Fake::primary().await;
    let weir = Arc::new(Weir::start(&[&fake.address]));
    let sessions: Vec<_> =
        (0..SESSIONS).map(|number| tokio::spawn(session(Arc::clone(&weir), number))).collect();
    let mut errors = 0;
    for session in sessions {
        errors += session.await.unwrap();
    }
    let ugly = SESSIONS * TURNS / 10;
    assert!(errors >= ugly * 10 / 12, "{errors} errors of {ugly} ugly answers");
    fake.seen.assert_nothing_spoiled_lives().await;
}

/// How many of its queries had no good answer.
async fn session(weir: Arc<Weir>, number: usize) -> usize {
    let capabilities = [CLASSIC, MODERN][number % 2];
    let mut client = Client::login_as(&weir.address, "app", "", capabilities).await;
    let mut errors = 0;
    for turn in 0..TURNS {
        let script = if turn % 10 == 9 { UGLY[(turn / 10 + number) % UGLY.len()] } else { "plain" };
        let text = format!("{script} {number} {turn}");
        match client.query(&format!("SELECT '{text}'")).await {
            Outcome::Rows(rows) => assert_eq!(rows, [text.as_str()]),
            Outcome::Refused { code: 1146, .. } if script == "err" => errors += 1,
            Outcome::Refused { code: 1053, rows: 0, .. } if script != "plain" => errors += 1,
            Outcome::Refused { code: 1053, .. } | Outcome::Closed { .. } if script != "plain" => {
                errors += 1;
            }
            other => panic!("{text}: {other:?}"),
        }
        if matches!(script, "close_half" | "close_mid_result" | "close_mid_row" | "wrong_seq_row") {
            client = Client::login_as(&weir.address, "app", "", capabilities).await;
        }
    }
    errors
}
