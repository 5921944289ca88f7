//! A socket and the packets on it. The progress of every read lives in the struct: a dropped future loses nothing.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::net::buffer::{Buffer, BufferPool};
use crate::wire::{HEADER_LEN, Header, MAX_PAYLOAD};

/// One end of a connection, encrypted or not.
#[derive(Debug)]
pub enum Socket {
    /// TCP as it is.
    Plain(TcpStream),
    /// TLS towards a client.
    Accepted(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// TLS towards a server.
    Connected(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Socket {
    /// The TCP connection below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Accepted(tls) => tls.get_ref().0,
            Self::Connected(tls) => tls.get_ref().0,
        }
    }

    /// Whether the bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Accepted(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Connected(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Accepted(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Connected(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Accepted(tls) => Pin::new(tls).poll_flush(cx),
            Self::Connected(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Accepted(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Connected(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// A socket with the bytes that were read from it and not yet consumed.
#[derive(Debug)]
pub struct PacketStream {
    socket: Socket,
    input: Buffer,
}

/// Why a packet could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the link failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed between two packets.
    #[error("the peer closed the connection")]
    Closed,
    /// More than the limit, bytes; `seq` is the number of the packet that went over it.
    #[error("a packet of more than {limit} bytes")]
    TooLarge { limit: usize, seq: u8 },
    /// A sequence number that does not follow.
    #[error("packets out of order: number {got} where {expected} was due")]
    OutOfOrder { got: u8, expected: u8 },
}

/// A whole command or reply of the peer, one or more packets, at the front of the stream's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Bytes with all headers.
    pub raw_len: usize,
    /// Bytes of the first packet's payload.
    pub first_len: usize,
    /// The sequence number of the last packet.
    pub last_seq: u8,
}

impl Message {
    /// Whether the payload was cut into several packets (16 MiB and more).
    pub fn is_split(self) -> bool {
        self.raw_len != self.first_len + HEADER_LEN
    }
}

impl PacketStream {
    /// Wraps a socket; memory is lent from `pool` while bytes are there.
    pub fn new(socket: Socket, pool: Rc<BufferPool>) -> Self {
        Self { socket, input: Buffer::new(pool) }
    }

    /// The unconsumed bytes.
    pub fn bytes(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket alone; unconsumed bytes are lost.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Reads what is there, at least a byte; 0 at the end of the stream. Cancel safe.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, usize::MAX)).await
    }

    /// As `fill`, at most `most` bytes: what comes after them stays in the socket. Cancel safe.
    pub async fn fill_at_most(&mut self, most: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, most)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let space = self.input.space();
        let room = space.len().min(most);
        let mut target = ReadBuf::new(space.get_mut(..room).unwrap_or_default());
        match Pin::new(&mut self.socket).poll_read(cx, &mut target) {
            Poll::Ready(Ok(())) => {
                let count = target.filled().len();
                self.input.filled(count);
                self.input.release();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => {
                self.input.release();
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                self.input.release();
                Poll::Pending
            }
        }
    }

    /// Whether the idle socket is still open and silent, asked without a system call where the
    /// runtime has seen no event. Bytes or an end where nothing was asked mean that it is not.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.input.is_empty() && self.poll_fill(&mut cx, 1).is_pending()
    }

    /// What has come so far, without waiting for more; what goes beyond `enough` bytes may be missing.
    pub fn come(&mut self, enough: usize) -> &[u8] {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while self.input.len() < enough
            && matches!(self.poll_fill(&mut cx, usize::MAX), Poll::Ready(Ok(1..)))
        {}
        self.bytes()
    }

    /// Writes all of `bytes`. Not cancel safe: a dropped write leaves the peer in the middle of a packet.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        if self.socket.is_tls() {
            self.socket.flush().await?;
        }
        Ok(())
    }

    /// Waits until a whole message (all its packets) lies at the front, and measures it. `first_seq`
    /// is the number its first packet must have; its payload may have `limit` bytes, headers not
    /// counted, which is asked for when a packet has begun to come. Cancel safe.
    pub async fn message(
        &mut self,
        first_seq: u8,
        limit: impl Fn() -> usize,
    ) -> Result<Message, ReadError> {
        let mut raw_len = 0;
        let mut payload_len = 0;
        let mut first_len = None;
        let mut seq = first_seq;
        loop {
            while self.input.len() < raw_len + HEADER_LEN {
                self.more().await?;
            }
            let header = self.bytes().get(raw_len..).and_then(Header::parse);
            let Some(header) = header else { return Err(ReadError::Closed) };
            if header.seq != seq {
                return Err(ReadError::OutOfOrder { got: header.seq, expected: seq });
            }
            raw_len += HEADER_LEN + header.len;
            payload_len += header.len;
            let limit = limit();
            if payload_len > limit {
                return Err(ReadError::TooLarge { limit, seq });
            }
            first_len.get_or_insert(header.len);
            while self.input.len() < raw_len {
                self.more().await?;
            }
            if header.len < MAX_PAYLOAD {
                let first_len = first_len.unwrap_or_default();
                return Ok(Message { raw_len, first_len, last_seq: seq });
            }
            seq = seq.wrapping_add(1);
        }
    }

    async fn more(&mut self) -> Result<(), ReadError> {
        match self.fill().await? {
            0 if self.input.is_empty() => Err(ReadError::Closed),
            0 => Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    /// The payload of a message that is one packet (the first packet's of a split one).
    pub fn payload(&self, message: Message) -> &[u8] {
        self.bytes().get(HEADER_LEN..HEADER_LEN + message.first_len).unwrap_or_default()
    }

    /// Writes over the bytes at `at`, counted from the front; bytes that are not there stay away.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.input.bytes_mut().get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// The packets of a message, with their headers.
    pub fn raw(&self, message: Message) -> &[u8] {
        self.bytes().get(..message.raw_len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `message` makes of a payload of `len` bytes where `limit` is allowed.
    async fn measured(len: usize, limit: usize) -> Result<Message, ReadError> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sender = tokio::spawn(async move {
            let mut bytes = Vec::new();
            crate::wire::frame(&mut bytes, &mut 3, &vec![b'x'; len]);
            let mut socket = TcpStream::connect(address).await.unwrap();
            let _refused = socket.write_all(&bytes).await;
            socket
        });
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = PacketStream::new(Socket::Plain(socket), BufferPool::new());
        let message = stream.message(3, || limit).await;
        drop(stream);
        drop(sender.await.unwrap());
        message
    }

    #[tokio::test]
    async fn the_limit_counts_payload_and_no_headers() {
        for (len, packets) in [
            (0, 1),
            (100, 1),
            (MAX_PAYLOAD - 1, 1),
            (MAX_PAYLOAD, 2),
            (MAX_PAYLOAD + 1, 2),
            (2 * MAX_PAYLOAD, 3),
        ] {
            let message = measured(len, len).await.unwrap();
            assert_eq!(message.raw_len, len + packets * HEADER_LEN, "{len}");
            assert_eq!(message.first_len, len.min(MAX_PAYLOAD), "{len}");
            assert_eq!(usize::from(message.last_seq), 3 + packets - 1, "{len}");
            assert_eq!(message.is_split(), packets > 1, "{len}");
            let Some(less) = len.checked_sub(1) else { continue };
            let refused = measured(len, less).await;
            assert!(
                matches!(refused, Err(ReadError::TooLarge { limit, .. }) if limit == less),
                "{len}"
            );
        }
    }
}
