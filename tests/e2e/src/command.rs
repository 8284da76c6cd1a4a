//! Programs that are run to their end.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs a program of the repository or of the PATH; an error holds the end of what it said.
pub async fn run(program: &str, arguments: &[&str], within: Duration) -> anyhow::Result<String> {
    run_with(program, arguments, "", within).await
}

/// The same with something on its standard input.
pub async fn run_with(
    program: &str,
    arguments: &[&str],
    input: &str,
    within: Duration,
) -> anyhow::Result<String> {
    let path = if program.contains('/') {
        root().join(program)
    } else {
        PathBuf::from(program)
    };
    let mut child = Command::new(&path)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{program} could not be started"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let line = || format!("{program} {}", arguments.join(" "));
    let output = tokio::time::timeout(within, child.wait_with_output())
        .await
        .with_context(|| format!("{} did not end within {within:?}", line()))??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = error.lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!(
            "{} ended with {}\n{}\n{}",
            line(),
            output.status,
            said.trim_end(),
            tail.join("\n")
        );
    }
    Ok(said)
}
