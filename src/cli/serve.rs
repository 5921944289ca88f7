//! `weir serve`: runs the proxy.

use std::path::Path;
use std::process::ExitCode;

/// Runs the proxy of that configuration until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is wrong, or what it names cannot be had.
pub fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let path = config.to_owned();
    crate::app::run(super::load_config(config)?, Box::new(move || super::load_config(&path)))?;
    Ok(ExitCode::SUCCESS)
}
