//! What a Weir that serves wants of its cluster: `[cluster]`, as the file said when it was read last.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::error::ClusterError;
use crate::config::Cluster;

/// Reads the configuration anew; `None` where it has no `[cluster]`, an error in words.
type Read = Box<dyn Fn() -> Result<Option<Cluster>, String> + Send + Sync>;

/// Shared by all who act on the cluster.
pub struct Wanted {
    now: ArcSwap<Cluster>,
    read: Read,
}

impl Wanted {
    /// `cluster` until it is read again.
    pub fn new(cluster: Cluster, read: Read) -> Self {
        Self { now: ArcSwap::from_pointee(cluster), read }
    }

    /// As it was read last.
    pub fn now(&self) -> Arc<Cluster> {
        self.now.load_full()
    }

    /// Reads it again, for a command that applies what was changed in the file.
    ///
    /// # Errors
    /// [`ClusterError::Unread`]: the file is wrong, or has another cluster; nothing is changed then.
    pub fn read_again(&self) -> Result<Arc<Cluster>, ClusterError> {
        let cause = match (self.read)() {
            Ok(Some(read)) if is_same(&read, &self.now.load()) => {
                self.now.store(Arc::new(read));
                return Ok(self.now());
            }
            Ok(Some(_)) => {
                "[cluster] has another name, docker_host, leadership or kind of replication, which takes a new start of Weir"
            }
            Ok(None) => "it has no [cluster] any more",
            Err(words) => return Err(ClusterError::Unread { cause: words }),
        };
        Err(ClusterError::Unread { cause: cause.to_owned() })
    }
}

/// Whether both mean the same servers, and the same way to agree who may change them: this process leads by the one it
/// began with.
fn is_same(a: &Cluster, b: &Cluster) -> bool {
    (&a.name, &a.docker_host, a.replication) == (&b.name, &b.docker_host, b.replication)
        && a.leadership == b.leadership
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted").field("now", &self.now).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::cluster::testing::cluster;
    use crate::config::{Etcd, Leadership};

    #[test]
    fn what_was_changed_is_taken_over_unless_it_is_another_cluster() {
        let file = Arc::new(Mutex::new(Ok(Some(cluster("t", 1)))));
        let read = Arc::clone(&file);
        let wanted = Wanted::new(cluster("t", 2), Box::new(move || read.lock().unwrap().clone()));
        assert_eq!(wanted.now().replicas, 2);
        assert_eq!(wanted.read_again().unwrap().replicas, 1);
        assert_eq!(wanted.now().replicas, 1);
        let mut elsewhere = cluster("t", 3);
        elsewhere.leadership = Leadership::Etcd(Etcd {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            login: None,
            ca: None,
            client: None,
            lease: Duration::from_secs(10),
        });
        for (text, words) in [
            (Ok(Some(cluster("other", 3))), "another name"),
            (Ok(Some(elsewhere)), "leadership"),
            (Ok(None), "no [cluster]"),
            (Err("line 3".to_owned()), "line 3"),
        ] {
            *file.lock().unwrap() = text;
            let refused = wanted.read_again().unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
            assert_eq!(wanted.now().replicas, 1);
        }
    }
}
