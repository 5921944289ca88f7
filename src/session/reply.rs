//! Passing a server's response to the client as it comes, looking only at the packets that end it.

use std::cell::Cell;
use std::io;

use crate::backend::connection::Connection;
use crate::net::response::{Event, Step, Walker};
use crate::net::stream::{PacketStream, ReadError};
use crate::session::trackers::{self, Told, Wants};
use crate::wire::{
    Capabilities, EofPacket, ErrPacket, HEADER_LEN, Header, OkPacket, PrepareOk, StatusFlags, frame,
};

/// What a response said, over all its results.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Of the last packet that had flags.
    pub(super) status: StatusFlags,
    /// Whether any packet had flags (an error alone has none).
    pub(super) has_status: bool,
    pub(super) warnings: u16,
    pub(super) affected_rows: u64,
    /// The last insert id that an OK packet named, 0 for none.
    pub(super) last_insert_id: u64,
    pub(super) error: Option<u16>,
    pub(super) rows: u64,
    /// It held a result set.
    pub(super) result_set: bool,
    pub(super) told: Told,
    /// COM_STMT_PREPARE's answer, with the server's own statement id.
    pub(super) prepared: Option<PrepareOk>,
}

/// How the passing ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The response was seen to its end.
    Done,
    /// The server asks for a local file; the request was passed on.
    LocalInfile,
    /// The first packet was an error that another server need not give; nothing was passed on.
    Refused(ErrPacket),
    /// The server is gone or spoke nonsense. `passed`: the client has seen some of the response;
    /// `seq`: an error packet with this number can still end it, unless a packet is half sent.
    Lost { why: String, passed: bool, seq: Option<u8> },
    /// The client is gone.
    ClientGone,
    /// What the client sent is no piece of the file that it was asked for; `seq` is due next.
    BadFile { error: ReadError, seq: u8 },
}

/// What the client is to see of a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'v> {
    pub(super) capabilities: Capabilities,
    pub(super) wants: Wants,
    /// The statement id that stands in for the server's in COM_STMT_PREPARE's answer.
    pub(super) statement_id: u32,
    /// The command may be run elsewhere while the client has seen nothing of its answer.
    pub(super) retry: bool,
    /// Errors that are not passed on then.
    pub(super) withheld: &'v [u16],
    /// Set before the client gets its first byte.
    pub(super) passed: &'v Cell<bool>,
}

/// Passes one response. Dropping the future leaves the server connection busy: it is closed then.
pub(super) async fn pass(
    server: &mut Connection,
    client: &mut PacketStream,
    walker: &mut Walker,
    view: View<'_>,
    reply: &mut Reply,
) -> Ending {
    let mut passed = false;
    // Bytes at the front that were looked at and may go, but wait for what follows: one write for all
    // that came in one read.
    let mut ready = 0;
    loop {
        let bytes = server.stream.bytes().get(ready..).unwrap_or_default();
        let step = walker.step(bytes);
        let (ending, replaced) = match look(walker, bytes, step, view, reply, passed || ready > 0) {
            Ok(seen) => seen,
            Err(why) => return Ending::Lost { why, passed, seq: None },
        };
        let seen = ready + step.pass + step.packet;
        if let Some(Ending::Refused(_)) = &ending {
            server.stream.consume(seen);
            return ending.unwrap_or(Ending::Done);
        }
        if ending.is_none() && replaced.is_none() && step.event != Event::More {
            ready = seen;
            continue;
        }
        let end = if replaced.is_some() { ready + step.pass } else { seen };
        let front = server.stream.bytes().get(..end).unwrap_or_default();
        if !front.is_empty() || replaced.is_some() {
            view.passed.set(true);
        }
        if let Err(error) = write(client, front, replaced).await {
            tracing::debug!(%error, "client gone in the middle of a response");
            return Ending::ClientGone;
        }
        passed |= seen > 0;
        server.stream.consume(seen);
        ready = 0;
        if let Some(ending) = ending {
            return ending;
        }
        if step.event == Event::More
            && let Err(why) = more(server).await
        {
            let seq = walker.is_at_boundary().then(|| walker.next_seq());
            return Ending::Lost {
                why,
                passed,
                seq: seq.filter(|_| server.stream.bytes().is_empty()),
            };
        }
    }
}

async fn more(server: &mut Connection) -> Result<(), String> {
    match server.stream.fill().await {
        Ok(0) => Err("the server closed the connection".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the link to the server failed: {error}")),
    }
}

/// One write for what may be passed as it is and for what stands in for the packet after it.
async fn write(
    client: &mut PacketStream,
    front: &[u8],
    replaced: Option<Vec<u8>>,
) -> io::Result<()> {
    match replaced {
        None if front.is_empty() => Ok(()),
        None => client.write_all(front).await,
        Some(packet) if front.is_empty() => client.write_all(&packet).await,
        Some(packet) => client.write_all(&[front, &packet].concat()).await,
    }
}

type Seen = (Option<Ending>, Option<Vec<u8>>);

/// Reads the packet of the step: how it ends the response, and what the client gets instead of it.
fn look(
    walker: &mut Walker,
    bytes: &[u8],
    step: Step,
    view: View<'_>,
    reply: &mut Reply,
    passed: bool,
) -> Result<Seen, String> {
    let packet = bytes.get(step.pass..step.pass + step.packet).unwrap_or_default();
    let payload = packet.get(HEADER_LEN..).unwrap_or_default();
    let seq = Header::parse(packet).map_or(0, |header| header.seq);
    match step.event {
        Event::More => return Ok((None, None)),
        Event::Ok => {
            let (status, replaced) = read_ok(payload, seq, view, reply)?;
            reply.result_set |= walker.rows() > 0;
            walker.ended(status);
            reply.rows = walker.rows();
            return Ok((walker.is_done().then_some(Ending::Done), replaced));
        }
        Event::Eof | Event::MiddleEof => {
            let eof = EofPacket::decode(payload).map_err(|error| error.to_string())?;
            reply.result_set = true;
            reply.status = eof.status;
            reply.has_status = true;
            reply.warnings = eof.warnings;
            match step.event {
                Event::Eof => walker.ended(eof.status),
                _ => walker.middle(eof.status),
            }
            reply.rows = walker.rows();
        }
        Event::PrepareOk => {
            let mut ok = PrepareOk::decode(payload).map_err(|error| error.to_string())?;
            walker.prepared(ok.params, ok.columns);
            reply.prepared = Some(ok);
            reply.warnings = ok.warnings;
            ok.statement_id = view.statement_id;
            let mut body = Vec::with_capacity(payload.len());
            ok.encode(&mut body);
            let mut replaced = Vec::with_capacity(packet.len());
            frame(&mut replaced, &mut { seq }, &body);
            return Ok((walker.is_done().then_some(Ending::Done), Some(replaced)));
        }
        Event::Err => {
            let error = ErrPacket::decode(payload).map_err(|error| error.to_string())?;
            reply.error = Some(error.code);
            // A read may be run again as long as the client has seen nothing; other statements have done
            // nothing only when the error comes first.
            let untouched = (!passed && step.pass == 0) || (view.retry && !view.passed.get());
            if untouched && view.withheld.contains(&error.code) {
                return Ok((Some(Ending::Refused(error)), None));
            }
        }
        Event::LocalInfile => return Ok((Some(Ending::LocalInfile), None)),
        Event::End => {}
        Event::Broken(why) => return Err(format!("the server broke the protocol: {why}")),
    }
    Ok((walker.is_done().then_some(Ending::Done), None))
}

/// Reads an OK packet; what the client gets instead where it may not see all of it.
fn read_ok(
    payload: &[u8],
    seq: u8,
    view: View<'_>,
    reply: &mut Reply,
) -> Result<(StatusFlags, Option<Vec<u8>>), String> {
    // Server connections always track, so their packets have that form.
    let ok = OkPacket::decode(payload, Capabilities::SESSION_TRACK).map_err(|e| e.to_string())?;
    reply.status = ok.status;
    reply.has_status = true;
    reply.warnings = ok.warnings;
    reply.affected_rows = ok.affected_rows;
    if ok.last_insert_id != 0 {
        reply.last_insert_id = ok.last_insert_id;
    }
    let Some(kept) = trackers::read(&ok, view.wants, &mut reply.told)? else {
        return Ok((ok.status, None));
    };
    let mut shown = ok;
    shown.session_state = &kept;
    if kept.is_empty() {
        shown.status = ok.status.without(StatusFlags::SESSION_STATE_CHANGED);
    }
    let mut body = Vec::with_capacity(payload.len());
    shown.encode(&mut body, payload.first().copied().unwrap_or_default(), view.capabilities);
    let mut replaced = Vec::with_capacity(body.len() + HEADER_LEN);
    frame(&mut replaced, &mut { seq }, &body);
    Ok((ok.status, Some(replaced)))
}
