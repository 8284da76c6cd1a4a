//! What is reported of a phase.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// Mean, 99th percentile and maximum.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean; absent for gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Median; absent for counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    /// 99 of 100 have at most that.
    pub p99: u64,
    /// Nobody has more.
    pub max: u64,
}

/// What happened in one phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its name.
    pub phase: String,
    /// Clients in all.
    pub clients: usize,
    /// Sockets that ended, per client; a move is one.
    pub disconnects_per_client: Spread,
    /// Sockets that ended because their clients were asked to move and had made the next one.
    pub moves: u64,
    /// Sockets that ended by themselves.
    pub cuts: u64,
    /// The most sockets that ended in any one second.
    pub peak_disconnects_per_second: usize,
    /// Time without a socket, per socket that ended; 0 when the next one was up before. Gaps that have not ended count
    /// as long as they are.
    pub gap_ms: Spread,
    /// Handshakes that failed.
    pub failed_handshakes: u64,
    /// The same by kind.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// Clients that came back to a revision that they had left.
    pub moves_back: u64,
    /// Writes that were tried.
    pub writes_sent: u64,
    /// Writes that were acknowledged.
    pub writes_acknowledged: u64,
    /// Acknowledged writes that could not be read back.
    pub writes_lost: u64,
    /// Calls that were answered with an error.
    pub error_replies: u64,
    /// Calls that were not answered in time.
    pub unanswered: u64,
    /// Shares asked, routed and live; filled in by whoever steers the phases.
    pub weights: Vec<Value>,
    /// Clients without a socket at the end.
    pub down: usize,
    /// Clients by revision at the end.
    pub revisions: BTreeMap<String, usize>,
    /// Length.
    pub seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = &self.gap_ms;
        writeln!(
            out,
            "phase          {} ({:.1} s, {} clients)",
            self.phase, self.seconds, self.clients
        )?;
        writeln!(
            out,
            "disconnects    mean {:.2}, p99 {}, max {} a client; {} moves, {} cuts; at most {} in one second",
            self.disconnects_per_client.mean.unwrap_or_default(),
            self.disconnects_per_client.p99,
            self.disconnects_per_client.max,
            self.moves,
            self.cuts,
            self.peak_disconnects_per_second
        )?;
        writeln!(
            out,
            "gap            p50 {} ms, p99 {} ms, max {} ms",
            gap.p50.unwrap_or_default(),
            gap.p99,
            gap.max
        )?;
        writeln!(
            out,
            "handshakes     {} failed {:?}",
            self.failed_handshakes, self.failed_by_kind
        )?;
        writeln!(out, "moves back     {}", self.moves_back)?;
        writeln!(
            out,
            "writes         {} acknowledged, {} lost, {} refused, {} unanswered",
            self.writes_acknowledged, self.writes_lost, self.error_replies, self.unanswered
        )?;
        write!(out, "now            {} down, {:?}", self.down, self.revisions)
    }
}
