//! The account of what happens to clients. No I/O; times come in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What happened to one client.
#[derive(Clone, Debug, Default)]
struct Row {
    sockets: usize,
    revision: Option<String>,
    /// Revisions that it was on earlier in this phase.
    left: BTreeSet<String>,
    disconnects: u64,
    down_since: Option<Instant>,
    room: usize,
    token: String,
    acknowledged: u64,
}

/// What happened to all clients in the phase that runs.
#[derive(Clone, Debug)]
pub struct Account {
    phase: String,
    begin: Instant,
    rows: Vec<Row>,
    ends: Vec<Instant>,
    gaps: Vec<Duration>,
    failed: BTreeMap<String, u64>,
    moves_back: u64,
    sent: u64,
    acknowledged: u64,
    refused: u64,
    unanswered: u64,
}

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
    /// The most sockets that ended in any one second.
    pub peak_disconnects_per_second: usize,
    /// Time without a socket, per socket that ended; 0 when the next one was up before.
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
    /// Clients by revision at the end.
    pub revisions: BTreeMap<String, usize>,
    /// Length.
    pub seconds: f64,
}

impl Account {
    pub(super) fn new(clients: usize, now: Instant) -> Self {
        Self {
            phase: "start".to_owned(),
            begin: now,
            rows: vec![Row::default(); clients],
            ends: Vec::new(),
            gaps: Vec::new(),
            failed: BTreeMap::new(),
            moves_back: 0,
            sent: 0,
            acknowledged: 0,
            refused: 0,
            unanswered: 0,
        }
    }

    pub(super) fn connected_to(
        &mut self,
        index: usize,
        room: usize,
        revision: &str,
        token: &str,
        now: Instant,
    ) {
        let Some(row) = self.rows.get_mut(index) else {
            return;
        };
        row.sockets += 1;
        row.room = room;
        token.clone_into(&mut row.token);
        if let Some(since) = row.down_since.take() {
            self.gaps.push(now.saturating_duration_since(since));
        }
        if row.revision.as_deref() != Some(revision) {
            if row.left.contains(revision) {
                self.moves_back += 1;
            }
            if let Some(old) = row.revision.replace(revision.to_owned()) {
                row.left.insert(old);
            }
        }
    }

    pub(super) fn disconnected(&mut self, index: usize, now: Instant) {
        let Some(row) = self.rows.get_mut(index) else {
            return;
        };
        row.sockets = row.sockets.saturating_sub(1);
        row.disconnects += 1;
        if row.sockets == 0 {
            row.down_since = Some(now);
        } else {
            self.gaps.push(Duration::ZERO);
        }
        self.ends.push(now);
    }

    pub(super) fn failed(&mut self, kind: &str) {
        *self.failed.entry(kind.to_owned()).or_insert(0) += 1;
    }

    pub(super) fn sent(&mut self) {
        self.sent += 1;
    }

    pub(super) fn acknowledge(&mut self, index: usize, count: u64) {
        self.acknowledged += 1;
        if let Some(row) = self.rows.get_mut(index) {
            row.acknowledged = count;
        }
    }

    pub(super) fn refused(&mut self) {
        self.refused += 1;
    }

    pub(super) fn unanswered(&mut self) {
        self.unanswered += 1;
    }

    pub(super) fn connected(&self) -> usize {
        self.rows.iter().filter(|row| row.sockets > 0).count()
    }

    /// Acknowledged totals of each writer, by room.
    pub(super) fn acknowledged(&self) -> BTreeMap<usize, Vec<(String, u64)>> {
        let mut rooms: BTreeMap<usize, Vec<(String, u64)>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.acknowledged > 0) {
            rooms
                .entry(row.room)
                .or_default()
                .push((row.token.clone(), row.acknowledged));
        }
        rooms
    }

    fn revisions(&self) -> BTreeMap<String, usize> {
        let mut revisions = BTreeMap::new();
        for revision in self
            .rows
            .iter()
            .filter(|row| row.sockets > 0)
            .filter_map(|row| row.revision.clone())
        {
            *revisions.entry(revision).or_insert(0) += 1;
        }
        revisions
    }

    pub(super) fn snapshot(&self) -> Value {
        json!({
            "phase": self.phase, "clients": self.rows.len(), "connected": self.connected(), "revisions": self.revisions(),
            "disconnects": self.ends.len(), "failedHandshakes": self.failed.values().sum::<u64>(), "errorReplies": self.refused,
            "writesAcknowledged": self.acknowledged,
        })
    }

    pub(super) fn phase(&mut self, next: &str, lost: u64, now: Instant) -> Report {
        let mut counts: Vec<u64> = self.rows.iter().map(|row| row.disconnects).collect();
        counts.sort_unstable();
        let total: u64 = counts.iter().sum();
        let mut gaps: Vec<u64> = self
            .gaps
            .iter()
            .map(|gap| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX))
            .collect();
        gaps.sort_unstable();
        let report = Report {
            phase: self.phase.clone(),
            clients: self.rows.len(),
            disconnects_per_client: Spread {
                mean: Some(rounded(total, counts.len())),
                p50: None,
                p99: percentile(&counts, 99),
                max: percentile(&counts, 100),
            },
            peak_disconnects_per_second: peak(&mut self.ends),
            gap_ms: Spread {
                mean: None,
                p50: Some(percentile(&gaps, 50)),
                p99: percentile(&gaps, 99),
                max: percentile(&gaps, 100),
            },
            failed_handshakes: self.failed.values().sum(),
            failed_by_kind: std::mem::take(&mut self.failed),
            moves_back: self.moves_back,
            writes_sent: self.sent,
            writes_acknowledged: self.acknowledged,
            writes_lost: lost,
            error_replies: self.refused,
            unanswered: self.unanswered,
            weights: Vec::new(),
            revisions: self.revisions(),
            seconds: (now.saturating_duration_since(self.begin).as_secs_f64() * 10.0).round() / 10.0,
        };
        next.clone_into(&mut self.phase);
        self.begin = now;
        self.ends.clear();
        self.gaps.clear();
        (
            self.moves_back,
            self.sent,
            self.acknowledged,
            self.refused,
            self.unanswered,
        ) = (0, 0, 0, 0, 0);
        for row in &mut self.rows {
            row.disconnects = 0;
            row.left.clear();
        }
        report
    }
}

/// A mean with two digits.
fn rounded(sum: u64, count: usize) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let sum = f64::from(u32::try_from(sum).unwrap_or(u32::MAX));
    (100.0 * sum / f64::from(count)).round() / 100.0
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

/// The most times within any window of one second, wherever that begins.
fn peak(times: &mut [Instant]) -> usize {
    times.sort_unstable();
    let (mut from, mut most) = (0, 0);
    for (index, time) in times.iter().enumerate() {
        while times
            .get(from)
            .is_some_and(|first| time.duration_since(*first) >= Duration::from_secs(1))
        {
            from += 1;
        }
        most = most.max(index + 1 - from);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_one_disconnect_without_a_gap_and_a_cut_has_one() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut account = Account::new(2, begin);
        for index in 0..2 {
            account.connected_to(index, 0, "a", "t", begin);
        }
        account.connected_to(0, 0, "b", "t", at(10));
        account.disconnected(0, at(11));
        account.disconnected(1, at(20));
        account.connected_to(1, 0, "b", "t", at(50));
        account.acknowledge(1, 1);
        assert_eq!(account.acknowledged()[&0], [("t".to_owned(), 1)]);
        let report = account.phase("next", 0, at(1_000));
        assert_eq!(
            report.disconnects_per_client,
            Spread {
                mean: Some(1.0),
                p50: None,
                p99: 1,
                max: 1
            }
        );
        assert_eq!((report.gap_ms.p50, report.gap_ms.max), (Some(0), 30));
        assert_eq!((report.moves_back, report.peak_disconnects_per_second), (0, 2));
        assert_eq!(report.revisions, [("b".to_owned(), 2)].into());
        assert_eq!(account.phase("last", 0, at(2_000)).disconnects_per_client.max, 0);
    }

    #[test]
    fn coming_back_in_the_same_phase_is_a_move_back() {
        let now = Instant::now();
        let mut account = Account::new(1, now);
        for revision in ["a", "b", "a"] {
            account.connected_to(0, 0, revision, "t", now);
        }
        assert_eq!(account.phase("next", 0, now).moves_back, 1);
        account.connected_to(0, 0, "b", "t", now);
        assert_eq!(account.phase("last", 0, now).moves_back, 0);
    }

    #[test]
    fn the_peak_slides() {
        let begin = Instant::now();
        let mut times: Vec<_> = [900, 950, 1_100, 1_950, 5_000]
            .map(|millis| begin + Duration::from_millis(millis))
            .to_vec();
        assert_eq!(peak(&mut times), 3);
        assert_eq!(peak(&mut []), 0);
    }
}
