//! What a command in a running container writes.

use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;

use super::super::error::ClusterError;
use super::{Engine, refused};

/// What a short command may write, bytes.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

impl Engine {
    /// What a command in the running container writes to its standard output; empty when it cannot run.
    pub(in crate::cluster) async fn output(
        &self,
        name: &str,
        command: &[&str],
    ) -> Result<String, ClusterError> {
        let bytes = self.output_bytes(name, command, MAX_OUTPUT_BYTES).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`Self::output`], byte for byte; an error when it is more than `most` bytes.
    pub(in crate::cluster) async fn output_bytes(
        &self,
        name: &str,
        command: &[&str],
        most: usize,
    ) -> Result<Vec<u8>, ClusterError> {
        let doing = || format!("running {} in container {name}", command.first().unwrap_or(&""));
        let config = ExecConfig {
            attach_stdout: Some(true),
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            ..ExecConfig::default()
        };
        let made = self.docker.create_exec(name, config).await;
        let made = made.map_err(|error| refused(doing(), &error))?;
        let started = self.docker.start_exec(&made.id, None).await;
        let mut all = Vec::new();
        if let StartExecResults::Attached { mut output, .. } =
            started.map_err(|error| refused(doing(), &error))?
        {
            while let Some(chunk) = output.next().await {
                all.extend_from_slice(
                    &chunk.map_err(|error| refused(doing(), &error))?.into_bytes(),
                );
                if all.len() > most {
                    let cause = format!("it wrote more than {most} bytes");
                    return Err(ClusterError::Engine { doing: doing(), cause });
                }
            }
        }
        Ok(all)
    }
}
