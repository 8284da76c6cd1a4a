//! Live clients: one `syncload` process that is steered over its standard input and answers in JSON lines.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::cluster::Cluster;
use crate::command::root;

/// An answer takes as long as the slowest read at the end of a phase.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Clients that are connected.
pub struct Load {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Connects `clients` quiet clients to `host` through the gateway. Returns once all of them are connected.
    pub async fn start(cluster: &Cluster, host: &str, clients: usize) -> anyhow::Result<Self> {
        let address = cluster.gateway.clone();
        Self::start_at(cluster, &address, host, clients).await
    }

    /// The same at another address than the gateway's.
    pub async fn start_at(
        cluster: &Cluster,
        address: &str,
        host: &str,
        clients: usize,
    ) -> anyhow::Result<Self> {
        let program = root().join("target/images/bin/syncload");
        let program = program.to_string_lossy().into_owned();
        let (url, clients) = (format!("ws://{host}/"), clients.to_string());
        let command = ["run", "--url", &url, "--connect", address, "--clients", &clients];
        let command: Vec<&str> = std::iter::once(program.as_str()).chain(command).collect();
        let all = cluster.inside(&command);
        let (first, rest) = all.split_first().context("no command")?;
        let mut child = Command::new(if first.contains('/') {
            root().join(first)
        } else {
            first.into()
        })
        .args(rest)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("syncload could not be started")?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut load = Self {
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        };
        load.answer().await.context("the clients did not connect")?;
        Ok(load)
    }

    async fn answer(&mut self) -> anyhow::Result<Value> {
        let line = tokio::time::timeout(ANSWER_WITHIN, self.lines.next_line())
            .await
            .context("syncload does not answer")??;
        match line {
            Some(line) => serde_json::from_str(&line).with_context(|| format!("syncload said: {line}")),
            None => bail!("syncload ended with {}", self.child.wait().await?),
        }
    }

    async fn ask(&mut self, command: &str) -> anyhow::Result<Value> {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await?;
        self.answer().await
    }

    /// Sessions now, by revision.
    pub async fn snapshot(&mut self) -> anyhow::Result<Value> {
        self.ask("snapshot").await
    }

    /// Ends the phase that runs, and starts another; returns the report of the one that ended.
    pub async fn phase(&mut self, next: &str) -> anyhow::Result<Value> {
        self.ask(&format!("phase {next}")).await
    }

    /// Reads every acknowledged write back, ends, and returns the last report.
    pub async fn stop(mut self) -> anyhow::Result<Value> {
        let report = self.ask("stop").await?;
        tokio::time::timeout(ANSWER_WITHIN, self.child.wait())
            .await
            .context("syncload does not end")??;
        Ok(report)
    }
}
