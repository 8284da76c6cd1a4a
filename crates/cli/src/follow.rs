//! Following a rollout: redrawn in place on a terminal, a line per change elsewhere. Survives an API server that goes.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::{Duration, Instant};

use crossterm::{cursor, queue, terminal};
use k8s_openapi::jiff::Timestamp;
use pointsman_api::rollout::{PhaseName, Rollout, RolloutStatus};

use crate::arguments::{Until, Watch};
use crate::cluster::{Cluster, Error};
use crate::paint::Paint;
use crate::view::{Family, fingerprint, line, tree};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(10);

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it was wanted.
    Reached,
    /// The revision was aborted.
    Aborted,
    /// Not in time.
    Timeout,
}

/// Follows a rollout until it is where `watch` wants it.
pub async fn follow(cluster: &Cluster, watch: &Watch) -> Result<Ended, Error> {
    let begin = Instant::now();
    let mut screen = Screen::default();
    let mut wait = LOOK_EVERY;
    let mut generation = None;
    loop {
        match cluster.family(&watch.name).await {
            Ok(family) => {
                wait = LOOK_EVERY;
                screen.show(&family);
                if let Some(rollout) = &family.rollout {
                    // A spec that was just changed is not answered yet.
                    let answered = rollout
                        .status
                        .as_ref()
                        .and_then(|status| status.observed_generation);
                    generation = generation.max(rollout.metadata.generation);
                    if answered >= generation
                        && let Some(ended) = ended(rollout, watch.until)
                    {
                        return Ok(ended);
                    }
                }
            }
            Err(error @ (Error::NotFound { .. } | Error::NoDefinition | Error::Forbidden(_))) => {
                return Err(error);
            }
            Err(error) => {
                screen.say(&format!("reconnecting: {error}"));
                wait = wait.saturating_mul(2).min(LOOK_EVERY_MAX);
            }
        }
        if watch.timeout.is_some_and(|timeout| begin.elapsed() >= timeout) {
            return Ok(Ended::Timeout);
        }
        tokio::time::sleep(wait).await;
    }
}

fn ended(rollout: &Rollout, until: Until) -> Option<Ended> {
    let status = rollout.status.clone().unwrap_or_default();
    match status.phase? {
        PhaseName::Stable => Some(Ended::Reached),
        PhaseName::Aborted if until == Until::Aborted => Some(Ended::Reached),
        PhaseName::Aborted => Some(Ended::Aborted),
        PhaseName::Stepping | PhaseName::Previewing if until == Until::Paused && waits(rollout, &status) => {
            Some(Ended::Reached)
        }
        PhaseName::Pending
        | PhaseName::Initializing
        | PhaseName::Stepping
        | PhaseName::Previewing
        | PhaseName::Promoting
        | PhaseName::Aborting => None,
    }
}

/// True when only a promotion goes on.
fn waits(rollout: &Rollout, status: &RolloutStatus) -> bool {
    if rollout.spec.strategy.blue_green.is_some() {
        return status
            .memory
            .as_ref()
            .is_some_and(|memory| memory.ready == Some(true));
    }
    let step = status.current_step.and_then(|step| usize::try_from(step).ok());
    let canary = rollout.spec.strategy.canary.as_ref();
    let step = canary.zip(step).and_then(|(canary, step)| canary.steps.get(step));
    step.is_some_and(|step| step.pause.as_ref().is_some_and(|pause| pause.duration.is_none()))
}

struct Screen {
    terminal: bool,
    drawn: u16,
    last: String,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            terminal: stdout().is_terminal(),
            drawn: 0,
            last: String::new(),
        }
    }
}

impl Screen {
    fn wipe(&mut self) {
        if self.drawn > 0 {
            let mut out = stdout();
            let _ = queue!(
                out,
                cursor::MoveToPreviousLine(self.drawn),
                terminal::Clear(terminal::ClearType::FromCursorDown)
            );
            let _ = out.flush();
            self.drawn = 0;
        }
    }

    fn say(&mut self, text: &str) {
        self.wipe();
        eprintln!("{text}");
    }

    fn show(&mut self, family: &Family) {
        let now = Timestamp::now();
        if self.terminal {
            self.wipe();
            let height = usize::from(terminal::size().map_or(40, |(_, height)| height)).saturating_sub(1);
            let mut lines = tree(family, now, Paint::detect());
            lines.truncate(height.max(5));
            println!("{}", lines.join("\n"));
            self.drawn = u16::try_from(lines.len()).unwrap_or(0);
            return;
        }
        let Some(rollout) = &family.rollout else { return };
        let text = line(rollout);
        let seen = format!("{text} {:?}", fingerprint(family));
        if seen != self.last {
            println!("{} {text}", now.strftime("%H:%M:%S"));
            self.last = seen;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(phase: PhaseName, step: i32) -> Rollout {
        let spec = json!({"strategy": {"canary": {"steps": [{"setWeight": {"percent": 5}}, {"pause": {}}]}}});
        let mut rollout = Rollout::new("chat", serde_json::from_value(spec).unwrap());
        rollout.status = Some(RolloutStatus {
            phase: Some(phase),
            current_step: Some(step),
            ..RolloutStatus::default()
        });
        rollout
    }

    #[test]
    fn it_ends_where_it_is_told_to() {
        assert_eq!(ended(&rollout(PhaseName::Stepping, 1), Until::Stable), None);
        assert_eq!(
            ended(&rollout(PhaseName::Stepping, 1), Until::Paused),
            Some(Ended::Reached)
        );
        assert_eq!(ended(&rollout(PhaseName::Stepping, 0), Until::Paused), None);
        assert_eq!(
            ended(&rollout(PhaseName::Aborted, 0), Until::Stable),
            Some(Ended::Aborted)
        );
        assert_eq!(
            ended(&rollout(PhaseName::Aborted, 0), Until::Aborted),
            Some(Ended::Reached)
        );
        assert_eq!(
            ended(&rollout(PhaseName::Stable, 0), Until::Stable),
            Some(Ended::Reached)
        );
    }
}
