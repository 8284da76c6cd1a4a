//! The whole picture of one rollout.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use pointsman_api::rollout::{PhaseName, Rollout, RolloutStatus};

use super::revisions::revisions;
use super::steps::steps;
use super::{Family, behind, percent, phase, since, status, tone};
use crate::paint::{Line, Tone};

const BAR_CELLS: i32 = 20;

/// The rollout, its steps, and its revisions with their pods.
#[must_use]
pub fn tree(family: &Family, now: Timestamp) -> Vec<Line> {
    let rollout = &family.rollout;
    let status = status(rollout);
    let mut lines = vec![heading(rollout, &status, now)];
    if let Some(weights) = &status.weights {
        lines.push(Line::new(format!(
            "  weight    asked {}   routed {}   live {}",
            percent(weights.desired),
            percent(weights.routed),
            percent(weights.live)
        )));
    }
    lines.extend(sessions(rollout, &status));
    let message = status
        .message
        .as_deref()
        .unwrap_or("not looked at yet; is the operator running?");
    lines.push(Line::new(format!("  message   {message}")));
    if status.phase.is_some() && behind(rollout) {
        let text = "  note      the operator has not seen the last change of the spec yet";
        lines.push(Line::default().tone(Tone::Active, text));
    }
    lines.extend(steps(rollout, &status, now));
    lines.extend(revisions(family, &status, now));
    for note in &family.notes {
        lines.push(Line::default().tone(Tone::Bad, format!("  not shown: {note}")));
    }
    lines
}

fn heading(rollout: &Rollout, status: &RolloutStatus, now: Timestamp) -> Line {
    let (shade, mark) = tone(status.phase);
    let name = format!(
        "{}/{}",
        rollout.namespace().unwrap_or_default(),
        rollout.name_any()
    );
    let strategy = status.strategy.as_deref().unwrap_or("-");
    let mut line = Line::default()
        .tone(Tone::Strong, name)
        .text(format!("   {strategy}   "))
        .tone(shade, format!("{mark} {}", phase(status)));
    if rollout.spec.paused == Some(true) {
        line = line.text("   ").tone(Tone::Bad, "‖ paused");
    }
    let attempt = status.memory.as_ref().and_then(|memory| memory.attempt);
    if let Some(attempt) = attempt.filter(|attempt| *attempt > 1 && status.candidate_revision.is_some()) {
        line = line.text(format!("   attempt {attempt}"));
    }
    line.text(format!("   {}", since(&rollout.metadata, now)))
}

/// Where the live sessions are. Unknown is said, never drawn as none.
fn sessions(rollout: &Rollout, status: &RolloutStatus) -> Option<Line> {
    rollout.spec.sessions.as_ref()?;
    status.phase?;
    let counts = status.sessions.clone().unwrap_or_default();
    let on_its_way = matches!(
        status.phase,
        Some(PhaseName::Stepping | PhaseName::Previewing | PhaseName::Promoting | PhaseName::Aborting)
    );
    let line = Line::new("  sessions  ");
    let (Some(stable), Some(candidate)) = (counts.stable, counts.candidate) else {
        // At rest nobody needs a count, so the operator may not ask for one.
        return match (on_its_way, counts.stable) {
            (true, _) => Some(line.text("cannot be counted")),
            (false, stable) => stable.map(|stable| line.text(format!("{stable} live"))),
        };
    };
    let total = stable.saturating_add(candidate);
    if !on_its_way {
        return Some(line.text(format!("{total} live")));
    }
    let mut text = format!("  {candidate} of {total} on the candidate");
    if let Some(left) = counts.remaining.filter(|left| *left > 0) {
        text.push_str(&format!(", {left} still to move"));
    }
    if let Some(moved) = counts.drained.filter(|moved| *moved > 0) {
        text.push_str(&format!(", {moved} moved so far"));
    }
    Some(line.tone(Tone::Active, bar(candidate, total)).text(text))
}

/// A bar of the candidate's share. It is full, or empty, only when the share is.
fn bar(part: i32, total: i32) -> String {
    let full = i64::from(part)
        .saturating_mul(i64::from(BAR_CELLS))
        .checked_div(i64::from(total))
        .unwrap_or(0);
    let full = if part > 0 { full.max(1) } else { 0 };
    let cells = usize::try_from(full.clamp(0, i64::from(BAR_CELLS))).unwrap_or(0);
    let all = usize::try_from(BAR_CELLS).unwrap_or(0);
    format!("[{}{}]", "█".repeat(cells), "░".repeat(all.saturating_sub(cells)))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_is_full_or_empty_only_when_the_share_is() {
        assert_eq!(bar(0, 200), "[░░░░░░░░░░░░░░░░░░░░]");
        assert_eq!(bar(1, 200), "[█░░░░░░░░░░░░░░░░░░░]");
        assert_eq!(bar(199, 200), "[███████████████████░]");
        assert_eq!(bar(200, 200), "[████████████████████]");
        assert_eq!(bar(0, 0), "[░░░░░░░░░░░░░░░░░░░░]");
    }
}
