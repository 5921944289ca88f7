//! What Weir answers by itself.

use crate::net::response::Shape;
use crate::net::stream::{PacketStream, ReadError};
use crate::session::execute::Work;
use crate::session::{Closed, Session};
use crate::sql;
use crate::wire::column::{FLAG_BINARY, FLAG_NOT_NULL};
use crate::wire::{
    ColumnDefinition, EofPacket, ErrPacket, OkPacket, QueryCommand, StatusFlags, codes,
    encode_binary_result, encode_text_result, frame, frame_with,
};

/// How long a client that was refused in the middle of a packet may go on sending it.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

impl Session {
    /// An ERR packet as the answer to the command; kept for later where commands have no answer.
    pub(super) async fn send_error(&mut self, error: &ErrPacket) -> Result<(), Closed> {
        if self.silent {
            self.deferred.get_or_insert_with(|| error.clone());
            return Ok(());
        }
        let mut seq = self.reply_seq();
        self.write_error(error, &mut seq).await
    }

    /// The number of the first packet of an answer to the client's command.
    fn reply_seq(&self) -> u8 {
        self.message.map_or(1, |message| message.last_seq.wrapping_add(1))
    }

    /// An ERR packet with that sequence number.
    pub(super) async fn write_error(
        &mut self,
        error: &ErrPacket,
        seq: &mut u8,
    ) -> Result<(), Closed> {
        let mut out = Vec::with_capacity(64);
        frame_with(&mut out, seq, |body| error.encode(body, self.capabilities));
        Ok(self.client.write_all(&out).await?)
    }

    /// An OK packet with the session's flags.
    pub(super) async fn send_ok(&mut self) -> Result<(), Closed> {
        self.write_ok(self.reply_seq()).await
    }

    pub(super) async fn write_ok(&mut self, mut seq: u8) -> Result<(), Closed> {
        let ok = OkPacket { status: self.own_status(), ..OkPacket::default() };
        let mut out = Vec::with_capacity(16);
        frame_with(&mut out, &mut seq, |body| ok.encode(body, OkPacket::HEADER, self.capabilities));
        Ok(self.client.write_all(&out).await?)
    }

    /// The answer to COM_SET_OPTION.
    pub(super) async fn send_eof(&mut self) -> Result<(), Closed> {
        let mut out = Vec::with_capacity(16);
        let status = self.own_status();
        let modern = self.capabilities.has(crate::wire::Capabilities::DEPRECATE_EOF);
        frame_with(&mut out, &mut self.reply_seq(), |body| {
            if modern {
                let ok = OkPacket { status, ..OkPacket::default() };
                ok.encode(body, OkPacket::HEADER_EOF, self.capabilities);
            } else {
                EofPacket { warnings: 0, status }.encode(body);
            }
        });
        Ok(self.client.write_all(&out).await?)
    }

    fn own_status(&self) -> StatusFlags {
        self.status.without(StatusFlags::SESSION_STATE_CHANGED)
    }

    /// A command's bytes are not what they should be.
    pub(super) async fn refuse_command(&mut self, error: ReadError) -> Closed {
        let own = self.worker.shared.config.proxy.max_packet_bytes;
        let limit = match &error {
            ReadError::TooLarge { limit, .. } if *limit < own => {
                format!("max_allowed_packet = {limit} on the primary")
            }
            _ => format!("[proxy] max_packet_bytes = {own}"),
        };
        let seq = self.reply_seq();
        self.refuse_input(error, seq, &limit).await
    }

    /// The client's bytes are not what they should be: the error MySQL gives, then the end. `seq` is the number
    /// that was due next; `limit` says of a packet that is too large which limit it is over.
    pub(super) async fn refuse_input(&mut self, error: ReadError, seq: u8, limit: &str) -> Closed {
        let (mut seq, packet) = match &error {
            // Clients expect the number after that of the last packet that they sent.
            ReadError::TooLarge { seq, .. } => {
                let words =
                    format!("Got a packet bigger than 'max_allowed_packet' bytes ({limit})");
                (seq.wrapping_add(1), codes::PACKET_TOO_LARGE.packet(words))
            }
            ReadError::OutOfOrder { .. } => {
                (seq, codes::PACKETS_OUT_OF_ORDER.packet("Got packets out of order"))
            }
            ReadError::Closed | ReadError::Io(_) => return Closed::ByClient,
        };
        let _ = self.write_error(&packet, &mut seq).await;
        let _ = tokio::time::timeout(LINGER, drop_input(&mut self.client)).await;
        Closed::from(error)
    }

    /// `SELECT CONNECTION_ID()`, as text or prepared.
    pub(super) async fn answer_connection_id(&mut self, work: Work) -> Result<(), Closed> {
        let name = self
            .text_of(work)
            .and_then(sql::select_connection_id_alias)
            .unwrap_or_else(|| b"CONNECTION_ID()".to_vec());
        let column = ColumnDefinition::bigint(name);
        self.answer_number(work, column, &self.id.to_string()).await
    }

    /// ROW_COUNT() or FOUND_ROWS() of the last statement, as its answer told, where they are all
    /// that is asked for.
    pub(super) fn known_diagnostics(&self, work: Work) -> Option<(ColumnDefinition, String)> {
        let text = self.text_of(work)?;
        if let (Some(name), Some(count)) =
            (sql::select_call_alias(text, "row_count"), self.row_count)
        {
            let column = ColumnDefinition::bigint(name);
            return Some((column.with_flags(FLAG_NOT_NULL | FLAG_BINARY), count.to_string()));
        }
        let name = sql::select_call_alias(text, "found_rows")?;
        Some((ColumnDefinition::bigint(name), self.found_rows?.to_string()))
    }

    /// One row with one number, as text or binary as the command asks.
    pub(super) async fn answer_number(
        &mut self,
        work: Work,
        mut column: ColumnDefinition,
        value: &str,
    ) -> Result<(), Closed> {
        column.length = 21;
        let rows = [vec![Some(value.as_bytes().to_vec())]];
        let (caps, status) = (self.capabilities, self.own_status());
        let mut out = Vec::with_capacity(128);
        if matches!(work, Work::Prepared { shape: Shape::Query, .. }) {
            encode_binary_result(&mut out, &mut self.reply_seq(), caps, status, &[column], &rows)
                .map_err(|error| Closed::ByWeir(error.to_string()))?;
        } else {
            encode_text_result(&mut out, &mut self.reply_seq(), caps, status, &[column], &rows);
        }
        Ok(self.client.write_all(&out).await?)
    }

    /// The SQL text of a command that has one.
    pub(super) fn text_of(&self, work: Work) -> Option<&[u8]> {
        match work {
            Work::Message(Shape::Query) => {
                let body = self.client.payload(self.message?).get(1..)?;
                Some(QueryCommand::decode(body, self.server_bits).ok()?.sql)
            }
            Work::Prepared { client_id, .. } => self.prepared.text(client_id),
            _ => None,
        }
    }

    /// COM_STATISTICS: one packet of text, as `mysqladmin status` prints it.
    pub(super) async fn answer_statistics(&mut self) -> Result<(), Closed> {
        let shared = &self.worker.shared;
        let uptime = shared.started.elapsed().as_secs();
        let text = statistics(uptime, shared.registry.len(), shared.registry.questions());
        let mut out = Vec::with_capacity(text.len() + 4);
        frame(&mut out, &mut self.reply_seq(), text.as_bytes());
        Ok(self.client.write_all(&out).await?)
    }
}

/// Reads what the client still sends: closing with unread bytes would reset the connection, and take
/// the error from a client that has not read it yet.
pub(super) async fn drop_input(client: &mut PacketStream) {
    loop {
        client.consume(client.bytes().len());
        if !matches!(client.fill().await, Ok(read) if read > 0) {
            return;
        }
    }
}

/// The words of COM_STATISTICS, as a server puts them; `uptime` in seconds.
fn statistics(uptime: u64, threads: usize, questions: u64) -> String {
    let average = questions.checked_div(uptime).unwrap_or(questions);
    format!(
        "Uptime: {uptime}  Threads: {threads}  Questions: {questions}  Slow queries: 0  Opens: 0  \
         Flush tables: 0  Open tables: 0  Queries per second avg: {average}.000"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_a_servers_words() {
        assert_eq!(
            statistics(10, 2, 35),
            "Uptime: 10  Threads: 2  Questions: 35  Slow queries: 0  Opens: 0  Flush tables: 0  \
             Open tables: 0  Queries per second avg: 3.000"
        );
        assert!(statistics(0, 0, 7).ends_with("avg: 7.000"), "in the first second");
    }
}
