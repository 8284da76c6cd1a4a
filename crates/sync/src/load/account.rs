//! The account of what happens to clients. No I/O; times come in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::report::{Report, Spread};

/// Changes of revision that are told of one client.
const HISTORY_MAX: usize = 32;

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
    writer: String,
    acknowledged: u64,
    /// Revisions with the times of their first sockets, the latest ones.
    history: VecDeque<(Instant, String)>,
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
    moves: u64,
    moves_back: u64,
    sent: u64,
    acknowledged: u64,
    refused: u64,
    unanswered: u64,
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
            moves: 0,
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
        writer: &str,
        now: Instant,
    ) {
        let Some(row) = self.rows.get_mut(index) else {
            return;
        };
        row.sockets += 1;
        row.room = room;
        writer.clone_into(&mut row.writer);
        if let Some(since) = row.down_since.take() {
            self.gaps.push(now.saturating_duration_since(since));
        }
        if row.revision.as_deref() != Some(revision) {
            if row.history.len() >= HISTORY_MAX {
                row.history.pop_front();
            }
            row.history.push_back((now, revision.to_owned()));
            if row.left.contains(revision) {
                self.moves_back += 1;
            }
            if let Some(old) = row.revision.replace(revision.to_owned()) {
                row.left.insert(old);
            }
        }
    }

    pub(super) fn disconnected(&mut self, index: usize, moved: bool, now: Instant) {
        let Some(row) = self.rows.get_mut(index) else {
            return;
        };
        self.moves += u64::from(moved);
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
                .push((row.writer.clone(), row.acknowledged));
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

    pub(super) fn history(&self) -> Value {
        let row = |row: &Row| -> Vec<Value> {
            let since = |time: &Instant| time.saturating_duration_since(self.begin).as_millis();
            let changes = row.history.iter();
            changes
                .map(|(time, revision)| json!({"ms": u64::try_from(since(time)).unwrap_or(u64::MAX), "revision": revision}))
                .collect()
        };
        json!({"phase": self.phase, "clients": self.rows.iter().map(row).collect::<Vec<_>>()})
    }

    /// Ends the phase that runs and begins another.
    pub(super) fn phase(&mut self, next: &str, lost: u64, now: Instant) -> Report {
        let mut counts: Vec<u64> = self.rows.iter().map(|row| row.disconnects).collect();
        counts.sort_unstable();
        let total: u64 = counts.iter().sum();
        let down = self.rows.iter().filter_map(|row| row.down_since);
        let down: Vec<Duration> = down.map(|since| now.saturating_duration_since(since)).collect();
        let ended = u64::try_from(self.ends.len()).unwrap_or(u64::MAX);
        let mut gaps: Vec<u64> = self
            .gaps
            .iter()
            .chain(&down)
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
            moves: self.moves,
            cuts: ended.saturating_sub(self.moves),
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
            down: self.rows.len() - self.connected(),
            revisions: self.revisions(),
            seconds: (now.saturating_duration_since(self.begin).as_secs_f64() * 10.0).round() / 10.0,
        };
        next.clone_into(&mut self.phase);
        self.begin = now;
        self.ends.clear();
        self.gaps.clear();
        (self.moves, self.moves_back) = (0, 0);
        (self.sent, self.acknowledged, self.refused, self.unanswered) = (0, 0, 0, 0);
        for row in &mut self.rows {
            row.disconnects = 0;
            row.left.clear();
            // What it is on now is where the next phase begins.
            row.history.drain(..row.history.len().saturating_sub(1));
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
        account.disconnected(0, true, at(11));
        account.disconnected(1, false, at(20));
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
        assert_eq!((report.moves, report.cuts, report.down), (1, 1, 0));
        assert_eq!((report.moves_back, report.peak_disconnects_per_second), (0, 2));
        assert_eq!(report.revisions, [("b".to_owned(), 2)].into());
        assert_eq!(account.phase("last", 0, at(2_000)).disconnects_per_client.max, 0);
    }

    #[test]
    fn a_gap_that_has_not_ended_is_told() {
        let begin = Instant::now();
        let mut account = Account::new(1, begin);
        account.connected_to(0, 0, "a", "t", begin);
        account.disconnected(0, false, begin);
        let report = account.phase("next", 0, begin + Duration::from_millis(700));
        assert_eq!((report.down, report.gap_ms.max), (1, 700));
    }

    #[test]
    fn history_has_each_change_once_and_begins_a_phase_with_what_is() {
        let begin = Instant::now();
        let mut account = Account::new(1, begin);
        for (millis, revision) in [(0, "a"), (5, "a"), (7, "b")] {
            account.connected_to(0, 0, revision, "t", begin + Duration::from_millis(millis));
        }
        let change = |ms: u64, revision: &str| json!({"ms": ms, "revision": revision});
        assert_eq!(
            account.history()["clients"],
            json!([[change(0, "a"), change(7, "b")]])
        );
        account.phase("next", 0, begin + Duration::from_millis(9));
        assert_eq!(account.history()["clients"], json!([[change(0, "b")]]));
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
