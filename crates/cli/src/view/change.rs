//! A rollout in one line, for logs.

use pointsman_api::rollout::{PhaseName, Rollout, Weights};

use super::{phase, status};

/// The line: where it is, the shares of the candidate (asked, routed, live), and why.
#[must_use]
pub fn line(rollout: &Rollout) -> String {
    let status = status(rollout);
    let weights = status.weights.as_ref().map_or_else(String::new, weights);
    let message = status.message.as_deref().unwrap_or("not looked at yet");
    format!("{}{weights}  {message}", phase(&status))
}

fn weights(weights: &Weights) -> String {
    let number = |value: Option<i32>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    format!(
        "  weight {}/{}/{} %",
        number(weights.desired),
        number(weights.routed),
        number(weights.live)
    )
}

/// What makes a line worth printing: everything but the numbers that run in the message, such as the time that is left.
#[must_use]
pub fn gist(rollout: &Rollout) -> (Option<PhaseName>, Option<String>, Option<Weights>, String) {
    let status = status(rollout);
    let message = status.message.unwrap_or_default();
    let numeric = |word: &&str| {
        word.trim_start_matches('(')
            .starts_with(|first: char| first.is_ascii_digit())
    };
    let still: Vec<&str> = message.split_whitespace().filter(|word| !numeric(word)).collect();
    (status.phase, status.step, status.weights, still.join(" "))
}
