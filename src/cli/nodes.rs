//! `weir cluster plan | remove | replace | reclone | restart`: what `up` would do, and single nodes.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::cluster::{Shown, table};
use crate::admin::{Request, client};
use crate::cluster::plan::Plan;
use crate::cluster::{self, Change, NoTraffic, Which};
use crate::config::Cluster;

/// Prints the steps that `weir cluster up` would take now.
pub(super) async fn plan(cluster: &Cluster, state_dir: &Path, json: bool) -> anyhow::Result<()> {
    let plan = cluster::preview(cluster, state_dir).await?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &plan_as_json(&plan, &cluster.name))?;
        writeln!(out)?;
        return Ok(());
    }
    write!(out, "{}", plan_as_text(&plan, &cluster.name))?;
    Ok(())
}

/// Removes, replaces or copies anew one node, after asking.
pub(super) async fn change(
    cluster: &Cluster,
    state_dir: &Path,
    change: Change,
    name: &str,
    yes: bool,
) -> anyhow::Result<()> {
    if !yes {
        let losses = cluster::losses(cluster, state_dir, change, name).await?;
        if !confirmed(change, name, &losses)? {
            bail!("nothing was changed");
        }
    }
    let shown = Shown::new();
    let view = cluster::change(cluster, state_dir, change, name, &shown).await;
    shown.clear();
    write!(io::stdout().lock(), "{}", table(&view?))?;
    Ok(())
}

/// Restarts one node, or all of them one by one.
pub(super) async fn restart(
    cluster: &Cluster,
    state_dir: &Path,
    name: Option<String>,
) -> anyhow::Result<()> {
    let shown = Shown::new();
    let request = Request::Restart { name: name.clone() };
    // The Weir that serves holds its clients while the primary moves.
    let view =
        match client::ask(state_dir, &request, &shown).await.context("the Weir that serves")? {
            Some(done) => {
                done.map_err(anyhow::Error::msg)?;
                cluster::observe(cluster, state_dir).await
            }
            None => {
                let which = name.map_or(Which::All, Which::Named);
                cluster::restart(cluster, state_dir, &which, &NoTraffic, &shown).await
            }
        };
    shown.clear();
    write!(io::stdout().lock(), "{}", table(&view?))?;
    Ok(())
}

/// Asks a person; where none can be asked, `--yes` is needed.
fn confirmed(change: Change, name: &str, losses: &[String]) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{} removes data and there is no terminal to ask on; say --yes", change.verb());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "This removes for good:")?;
    for thing in losses {
        writeln!(out, "  {thing}")?;
    }
    if change != Change::Remove {
        writeln!(out, "Then {name} gets a copy of another node's data.")?;
    }
    write!(out, "Type the node's name ({name}) to go on: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == name)
}

fn plan_as_text(plan: &Plan, cluster: &str) -> String {
    if plan.steps.is_empty() {
        return format!("there is nothing to do: cluster {cluster} is as it should be\n");
    }
    let mut text: String = (1..)
        .zip(&plan.steps)
        .map(|(at, step)| format!("{at:>3}. {}\n", step.text(cluster)))
        .collect();
    if !plan.complete {
        text.push_str(
            "What follows depends on servers that have to run before they can be asked.\n",
        );
    }
    text
}

fn plan_as_json(plan: &Plan, cluster: &str) -> serde_json::Value {
    let steps: Vec<String> = plan.steps.iter().map(|step| step.text(cluster)).collect();
    serde_json::json!({ "cluster": cluster, "steps": steps, "complete": plan.complete })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Step;

    #[test]
    fn a_plan_in_words() {
        let none = Plan { complete: true, ..Plan::default() };
        assert!(plan_as_text(&none, "t").contains("nothing to do"));
        let some = Plan {
            steps: vec![Step::StartContainer(1), Step::Clone { node: 2, donor: 1 }],
            ..Plan::default()
        };
        let text = plan_as_text(&some, "t");
        assert!(
            text.starts_with("  1. start container t-1\n  2. copy the data of t-1 to t-2\n"),
            "{text}"
        );
        assert!(text.contains("depends on servers"));
        assert_eq!(plan_as_json(&some, "t")["steps"][0], "start container t-1");
        assert_eq!(plan_as_json(&some, "t")["complete"], false);
    }
}
