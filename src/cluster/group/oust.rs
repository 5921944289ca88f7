//! A primary that commits nothing any more is ended, so that the others elect another.
//!
//! The group itself notices only members that are silent; one whose disk is full goes on talking.

use super::super::error::ClusterError;
use super::super::world::{Facts, World};
use super::seen::Member;

/// Kills the container of the node. What the group has acknowledged is with most of its members.
///
/// # Errors
/// The others are not most of the group without it: it stays, and so does the group.
pub(in crate::cluster) async fn oust(world: &World, number: u32) -> Result<(), ClusterError> {
    let name = world.name(number);
    // This very container: by the time it is killed another may have its name.
    let Some(victim) = world.engine.container(&name).await?.map(|container| container.id) else {
        return Ok(());
    };
    let facts = Box::pin(world.look()).await?;
    let online: Vec<u32> = online(&facts).filter(|other| *other != number).collect();
    if !elect_without_it(online.len(), facts.nodes.len()) {
        let cause = format!(
            "without {name} {} of {} members are ONLINE, which is too few to elect another primary",
            online.len(),
            facts.nodes.len()
        );
        return Err(ClusterError::NotMoved { cause });
    }
    world.check().await?;
    world.engine.kill(&victim).await
}

fn online(facts: &Facts) -> impl Iterator<Item = u32> {
    let answering = facts
        .nodes
        .iter()
        .filter_map(|node| Some((node.number, node.server.as_ref()?.seen.group?)));
    answering
        .filter(|(_, group)| group.state == Member::Online && group.majority)
        .map(|(number, _)| number)
}

/// Whether so many others are most of a group that may have as many members as there are nodes.
fn elect_without_it(others: usize, nodes: usize) -> bool {
    others * 2 > nodes
}

#[cfg(test)]
mod tests {
    use super::elect_without_it;

    #[test]
    fn a_group_that_could_not_elect_keeps_its_primary() {
        for (others, nodes, elect) in
            [(0, 1, false), (1, 2, false), (1, 3, false), (2, 3, true), (2, 4, false), (3, 5, true)]
        {
            assert_eq!(elect_without_it(others, nodes), elect, "{others} of {nodes}");
        }
    }
}
