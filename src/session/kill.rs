//! KILL and COM_PROCESS_KILL: the ids that clients know are ours; the server's are looked up.

use crate::session::execute::Work;
use crate::session::{Closed, Session};
use crate::sql;
use crate::topology::ServerId;
use crate::wire::codes;

impl Session {
    /// KILL [QUERY] id, as text or prepared.
    pub(super) async fn answer_kill_statement(&mut self, work: Work) -> Result<(), Closed> {
        match self.text_of(work).and_then(sql::kill_target) {
            Some(kill) => self.kill(kill.id, kill.query).await,
            None => {
                let words = "Weir can kill only by a number: KILL [QUERY] connection_id";
                self.send_error(&codes::PARSE_ERROR.packet(words)).await
            }
        }
    }

    /// Ends a query, or a whole session, by the id that the greeting gave it.
    pub(super) async fn kill(&mut self, id: u64, only_query: bool) -> Result<(), Closed> {
        let registry = &self.worker.shared.registry;
        let Some(victim) = u32::try_from(id).ok().and_then(|id| registry.get(id)) else {
            return self
                .send_error(&codes::NO_SUCH_THREAD.packet(format!("Unknown thread id: {id}")))
                .await;
        };
        let is_own = *victim.user == *self.login.user;
        let running = victim.running();
        victim.killed.store(true, std::sync::atomic::Ordering::Relaxed);
        // The server judges who may kill whom; of an idle session it knows nothing.
        if let Some((server, thread)) = running
            && let Err(error) = self.kill_thread(server, thread, only_query).await
        {
            return self.send_error(&codes::KILL_DENIED.packet(error)).await;
        }
        if running.is_none() && !is_own {
            let words = format!("You are not owner of thread {id}");
            return self.send_error(&codes::KILL_DENIED.packet(words)).await;
        }
        if !only_query {
            if victim.id == self.id {
                let words = "Query execution was interrupted";
                self.send_error(&codes::QUERY_INTERRUPTED.packet(words)).await?;
                return Err(Closed::ByWeir("it killed itself".to_owned()));
            }
            if let Some(task) = victim.abort.get() {
                task.abort();
            }
        }
        self.send_ok().await
    }

    /// Sends KILL for a server's thread over another connection of this session's user.
    async fn kill_thread(
        &self,
        server: ServerId,
        thread: u32,
        only_query: bool,
    ) -> Result<(), String> {
        let topology = self.worker.shared.topology.load_full();
        let state = topology.get(server).ok_or("the server is gone")?;
        let verb = if only_query { "KILL QUERY" } else { "KILL" };
        let mut prelude = crate::backend::replay::Prelude::default();
        prelude.query(format!("{verb} {thread}").as_bytes(), self.server_bits);
        let account = self.account();
        let pool = self.worker.pools.pool(self.pool_key(server));
        let lease = self.worker.pools.lease(&pool, &state.config, &account, &self.wanted, 0).await;
        let mut lease = lease.map_err(|error| error.to_string())?;
        let connection = lease.connection().ok_or("no connection")?;
        match prelude.run(connection).await? {
            // The command ended meanwhile.
            Some(error) if error.code == codes::NO_SUCH_THREAD.code => Ok(()),
            Some(error) => Err(String::from_utf8_lossy(&error.message).into_owned()),
            None => Ok(()),
        }
    }
}
