//! The serving end: one task a connection, one request each.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

use super::work::{self, Subject};
use super::{Event, MAX_LINE, Request, Why};

/// How long a connection may take to ask.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the socket; one that an ended Weir left is replaced.
///
/// # Errors
/// When another Weir listens there, or the directory cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another Weir serves with this state_dir",
        ));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until it is dropped.
pub async fn serve(listener: UnixListener, subject: Arc<Subject>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let subject = Arc::clone(&subject);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &subject).await {
                        tracing::debug!(%error, "a control connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no control connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, subject: &Arc<Subject>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_LINE));
    match tokio::time::timeout(ASK_LIMIT, reader.read_line(&mut line)).await {
        Ok(read) => read?,
        Err(_elapsed) => return Ok(()),
    };
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            let text = format!("not a request of this Weir: {error}");
            return tell(&mut write, &Event::Failed { text, why: Why::Invalid }).await;
        }
    };
    let mut told = work::start(request, subject);
    while let Some(event) = told.recv().await {
        tell(&mut write, &event).await?;
    }
    Ok(())
}

async fn tell(write: &mut OwnedWriteHalf, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    write.write_all(&line).await
}
