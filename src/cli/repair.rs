//! `weir cluster repair [NAME] [--skip | --reclone]`: mends what is safe; divergence only on a word.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::bail;

use super::RepairArgs;
use super::cluster::{Shown, table};
use crate::cluster::{self, Change, Examined, Skippable};
use crate::config::Cluster;

/// Repairs, then shows the cluster as it is.
///
/// # Errors
/// The engine or a server refused something, or something is left that a person has to decide.
pub(super) async fn run(
    cluster: &Cluster,
    state_dir: &Path,
    args: &RepairArgs,
) -> anyhow::Result<()> {
    if let (Some(name), false, true) = (&args.name, args.skip, args.reclone) {
        return super::nodes::change(cluster, state_dir, Change::Reclone, name, args.yes).await;
    }
    let shown = Shown::new();
    let examined = match (&args.name, args.skip, args.reclone) {
        (Some(name), true, _) => skip(cluster, state_dir, name, args.yes, &shown).await,
        (name, ..) => Ok(cluster::repair(cluster, state_dir, name.as_deref(), &shown).await?),
    };
    shown.clear();
    let examined = examined?;
    let mut out = io::stdout().lock();
    if shown.steps() == 0 {
        writeln!(out, "there was nothing that could be mended without a person's word")?;
    }
    write!(out, "{}{}", table(&examined.view), super::findings::text(&examined))?;
    match examined.findings.len() {
        0 => Ok(()),
        1 => bail!("one thing is not as it should be; it is described above"),
        several => bail!("{several} things are not as they should be; they are described above"),
    }
}

/// Shows what would be skipped and asks.
async fn skip(
    cluster: &Cluster,
    state_dir: &Path,
    name: &str,
    yes: bool,
    shown: &Shown,
) -> anyhow::Result<Examined> {
    let skippable = cluster::skippable(cluster, state_dir, name).await?;
    if !confirmed(&skippable, yes)? {
        bail!("nothing was skipped");
    }
    Ok(cluster::skip(cluster, state_dir, &skippable, shown).await?)
}

/// Shows the transaction and asks a person; where none can be asked, `--yes` is needed.
fn confirmed(skippable: &Skippable, yes: bool) -> anyhow::Result<bool> {
    let Skippable { node, transaction, errno, error } = skippable;
    let mut out = io::stdout().lock();
    writeln!(out, "{node} stands at transaction {transaction}: {error} ({errno})")?;
    writeln!(out, "What this transaction changes will be missing on {node}.")?;
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!(
            "a transaction is skipped only when somebody says so; there is no terminal to ask on, say --yes"
        );
    }
    write!(out, "Type yes to skip it: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
