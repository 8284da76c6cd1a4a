//! The steps of a strategy, and which is the present one.

use k8s_openapi::jiff::Timestamp;
use pointsman_api::duration::parse_ms;
use pointsman_api::rollout::{
    BlueGreen, CanaryStep, Memory, PhaseName, Rollout, RolloutStatus, StageName, WeightUnit,
};

use crate::paint::{Line, Tone};
use crate::table::age;

/// A step in words.
#[must_use]
pub fn step_text(step: &CanaryStep) -> String {
    match (&step.set_weight, &step.pause) {
        (Some(weight), _) => {
            let of = match weight.of {
                Some(WeightUnit::Sessions) => "of sessions",
                Some(WeightUnit::Connections) | None => "of new connections",
            };
            format!("weight {} % {of}", weight.percent)
        }
        (None, Some(pause)) => match &pause.duration {
            Some(duration) => format!("pause {duration}"),
            None => "pause until promoted".to_owned(),
        },
        (None, None) => "unknown step".to_owned(),
    }
}

pub(super) fn steps(rollout: &Rollout, status: &RolloutStatus, now: Timestamp) -> Vec<Line> {
    let strategy = &rollout.spec.strategy;
    match (&strategy.canary, &strategy.blue_green) {
        (Some(canary), _) => {
            let mut texts: Vec<String> = canary.steps.iter().map(step_text).collect();
            texts.push("promotion".to_owned());
            marked(
                &texts,
                canary_at(status, canary.steps.len()),
                status,
                |at| match canary.steps.get(at) {
                    Some(step) => step_waits(step, status, now),
                    None => promotion_waits(status).to_owned(),
                },
            )
        }
        (None, Some(blue_green)) => marked(&switch(blue_green), switch_at(status), status, |at| match at {
            0 => preview_waits(blue_green, status).to_owned(),
            _ => promotion_waits(status).to_owned(),
        }),
        (None, None) => Vec::new(),
    }
}

/// Index of the present step; the promotion comes after the last.
fn canary_at(status: &RolloutStatus, total: usize) -> Option<usize> {
    match status.phase {
        Some(PhaseName::Stepping) => usize::try_from(status.current_step?).ok(),
        Some(PhaseName::Promoting) => Some(total),
        _ => None,
    }
}

fn switch_at(status: &RolloutStatus) -> Option<usize> {
    match status.phase {
        Some(PhaseName::Previewing) => Some(0),
        Some(PhaseName::Promoting) => Some(1),
        _ => None,
    }
}

fn switch(blue_green: &BlueGreen) -> Vec<String> {
    let preview = blue_green.preview_replicas.map_or_else(
        || "preview at full size".to_owned(),
        |replicas| match replicas {
            1 => "preview of 1 pod".to_owned(),
            many => format!("preview of {many} pods"),
        },
    );
    let by = if blue_green.auto_promote == Some(true) {
        "as soon as the preview is ready"
    } else {
        "when promoted"
    };
    let delay = blue_green.scale_down_delay.as_deref().unwrap_or("30s");
    vec![preview, format!("switch {by}; the old side stays up for {delay}")]
}

fn marked(
    texts: &[String],
    at: Option<usize>,
    status: &RolloutStatus,
    waits: impl Fn(usize) -> String,
) -> Vec<Line> {
    let mut lines = vec![Line::new("  steps")];
    for (index, text) in texts.iter().enumerate() {
        let text = format!("{} {text}", index.saturating_add(1));
        lines.push(match at {
            Some(at) if index < at => Line::new("    ").tone(Tone::Good, format!("✓ {text}")),
            Some(at) if index == at => Line::new("    ")
                .tone(Tone::Active, format!("▶ {text}"))
                .text(format!("   {}", held(status).unwrap_or_else(|| waits(at)))),
            Some(_) | None => Line::new("      ").text(text),
        });
    }
    lines
}

fn held(status: &RolloutStatus) -> Option<String> {
    memory(status)
        .paused_since_ms
        .is_some()
        .then(|| "held by spec.paused".to_owned())
}

fn memory(status: &RolloutStatus) -> Memory {
    status.memory.clone().unwrap_or_default()
}

fn step_waits(step: &CanaryStep, status: &RolloutStatus, now: Timestamp) -> String {
    let Some(pause) = &step.pause else {
        return match memory(status).stage {
            Some(StageName::Scaling) => "pods are coming up",
            Some(StageName::Routing) => "the gateway takes the route",
            Some(StageName::Moving) => "sessions are moving",
            Some(StageName::Recovering) => "pods are coming back",
            None => "",
        }
        .to_owned();
    };
    let Some(duration) = &pause.duration else {
        return "waits for promote".to_owned();
    };
    let end = parse_ms(duration)
        .ok()
        .zip(memory(status).since_ms)
        .map(|(span_ms, since_ms)| since_ms.saturating_add(span_ms));
    end.map_or_else(String::new, |end| {
        let left_ms = end.saturating_sub(now.as_millisecond()).max(0);
        format!("{} left", age(left_ms.saturating_add(999) / 1_000))
    })
}

fn preview_waits(blue_green: &BlueGreen, status: &RolloutStatus) -> &'static str {
    match (memory(status).ready, blue_green.auto_promote) {
        (Some(true), Some(true)) => "ready",
        (Some(true), _) => "ready, waits for promote",
        _ => "pods are coming up",
    }
}

fn promotion_waits(status: &RolloutStatus) -> &'static str {
    match memory(status).stage {
        Some(StageName::Scaling) => "pods are coming up",
        Some(StageName::Routing) => "the gateway takes the route",
        Some(StageName::Moving) => "the old side empties",
        Some(StageName::Recovering) => "pods are coming back",
        None => "",
    }
}
