//! The `weir` program: arguments, log, one call, exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use weir::cli::Cli;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong usage ends the program inside `parse`, with clap's own exit code 2.
    let cli = Cli::parse();
    let mut stderr = std::io::stderr();
    if let Err(error) = install_log() {
        return fail(&mut stderr, &error);
    }
    match weir::cli::run(cli) {
        Ok(code) => code,
        Err(error) => fail(&mut stderr, &error),
    }
}

/// Sends the log to stderr, filtered by `WEIR_LOG`, else `RUST_LOG`, else at level info.
fn install_log() -> anyhow::Result<()> {
    let (name, filter) = ["WEIR_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| Some((name, std::env::var(name).ok().filter(|text| !text.is_empty())?)))
        .unwrap_or_else(|| ("", "info".to_owned()));
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        anyhow::anyhow!(
            "{name}={filter:?} is no log filter: {error}; write a level such as \"debug\", \
             or module=level pairs such as \"info,weir::session=debug\""
        )
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

/// Prints the error with its causes; a stderr that is gone leaves only the exit code to tell.
fn fail(stderr: &mut impl Write, error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(stderr, "weir: {error:#}");
    ExitCode::FAILURE
}
