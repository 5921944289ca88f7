//! Sockets and the bytes on them: buffers that are lent, packet streams, where a response ends, TLS.

pub mod buffer;
pub mod response;
pub mod stream;
pub mod tls;
