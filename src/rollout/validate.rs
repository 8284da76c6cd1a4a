//! Step 2, pure: from the custom resource to what the core decides on. Parse, don't validate.

use pointsman_api::duration::parse_ms;
use pointsman_api::rollout as api;
use pointsman_core::rollout as core;
use serde_json::Value;

use super::ports::{self, Ports};
use crate::revision::revision_of;

const MINUTE_MS: i64 = 60_000;
/// What the API server's schema allows too; an old schema may still be installed.
const STEPS_MAX: usize = 50;

/// A field that cannot be used, and what would be right. Retrying does not help; the next change of the spec may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fix}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// What to write instead.
    pub fix: String,
}

impl Invalid {
    /// A field and what to write instead.
    pub fn new(field: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            fix: fix.into(),
        }
    }
}

/// A spec that can be acted upon.
#[derive(Clone, Debug)]
pub struct Checked {
    /// For the core.
    pub spec: core::Spec,
    /// The pod template of the spec's revision.
    pub template: Value,
    /// Its ports.
    pub ports: Ports,
    /// Gateways to attach a route to.
    pub gateway: Option<api::GatewayTraffic>,
    /// Name of the workload whose pods this Rollout replaces.
    pub takes_over: Option<String>,
}

/// Checks a spec whose pod template is `template`.
pub fn validate(spec: &api::RolloutSpec, template: Value) -> Result<Checked, Invalid> {
    check_template(&template)?;
    let ports = ports::of(spec, &template)?;
    let gateway = spec.traffic.as_ref().and_then(|traffic| traffic.gateway.clone());
    if gateway
        .as_ref()
        .is_some_and(|gateway| gateway.parent_refs.is_empty())
    {
        return Err(Invalid::new(
            "spec.traffic.gateway.parentRefs",
            "name at least one Gateway",
        ));
    }
    let checked = core::Spec {
        target: revision_of(&template),
        replicas: count("spec.replicas", spec.replicas, 1)?,
        strategy: strategy(spec)?,
        traffic: match gateway {
            Some(_) => core::Traffic::Gateway,
            None => core::Traffic::Service,
        },
        sessions: spec.sessions.as_ref().map(drain).transpose()?,
        progress_deadline_ms: duration(
            "spec.progressDeadline",
            spec.progress_deadline.as_deref(),
            10 * MINUTE_MS,
        )?,
        revision_history_limit: count("spec.revisionHistoryLimit", spec.revision_history_limit, 5)?,
        paused: spec.paused.unwrap_or(false),
        promotion: spec.promotion.as_ref().map(promotion).transpose()?,
        abort: spec.abort.as_ref().map(|abort| core::Abort {
            revision: core::Revision(abort.revision.clone()),
            reason: abort.reason.clone(),
        }),
        retry: match &spec.retry {
            None => None,
            Some(retry) => Some(core::Retry {
                revision: core::Revision(retry.revision.clone()),
                attempt: count("spec.retry.attempt", Some(retry.attempt), 1)?,
            }),
        },
    };
    Ok(Checked {
        spec: checked,
        template,
        ports,
        gateway,
        takes_over: spec.workload_ref.as_ref().map(|reference| reference.name.clone()),
    })
}

fn check_template(template: &Value) -> Result<(), Invalid> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    if containers.is_none_or(Vec::is_empty) {
        return Err(Invalid::new(
            "spec.template.spec.containers",
            "give at least one container",
        ));
    }
    if let Some(policy) = template.pointer("/spec/restartPolicy")
        && policy != "Always"
    {
        return Err(Invalid::new(
            "spec.template.spec.restartPolicy",
            "leave it out or write Always",
        ));
    }
    Ok(())
}

fn strategy(spec: &api::RolloutSpec) -> Result<core::Strategy, Invalid> {
    match (&spec.strategy.canary, &spec.strategy.blue_green) {
        (Some(canary), None) => {
            if canary.steps.len() > STEPS_MAX {
                return Err(Invalid::new(
                    "spec.strategy.canary.steps",
                    format!("at most {STEPS_MAX} steps"),
                ));
            }
            let steps = canary
                .steps
                .iter()
                .enumerate()
                .map(|(index, step)| canary_step(spec, index, step));
            Ok(core::Strategy::Canary {
                steps: steps.collect::<Result<_, _>>()?,
            })
        }
        (None, Some(blue_green)) => Ok(core::Strategy::BlueGreen {
            preview_replicas: match blue_green.preview_replicas {
                None => None,
                given => Some(count("spec.strategy.blueGreen.previewReplicas", given, 1)?),
            },
            auto_promote: blue_green.auto_promote.unwrap_or(false),
            scale_down_delay_ms: duration(
                "spec.strategy.blueGreen.scaleDownDelay",
                blue_green.scale_down_delay.as_deref(),
                MINUTE_MS / 2,
            )?,
        }),
        (None, None) | (Some(_), Some(_)) => Err(Invalid::new(
            "spec.strategy",
            "set exactly one of canary and blueGreen",
        )),
    }
}

fn canary_step(
    spec: &api::RolloutSpec,
    index: usize,
    step: &api::CanaryStep,
) -> Result<core::CanaryStep, Invalid> {
    let place = format!("spec.strategy.canary.steps[{index}]");
    match (&step.set_weight, &step.pause) {
        (Some(weight), None) => {
            let percent = u8::try_from(weight.percent)
                .ok()
                .filter(|percent| *percent <= 100);
            let of = match weight.of {
                Some(api::WeightUnit::Sessions) => core::WeightUnit::Sessions,
                Some(api::WeightUnit::Connections) | None => core::WeightUnit::Connections,
            };
            if of == core::WeightUnit::Sessions && spec.sessions.is_none() {
                let fix =
                    "a weight of sessions needs spec.sessions; add spec.sessions or write `of: connections`";
                return Err(Invalid::new(format!("{place}.setWeight.of"), fix));
            }
            Ok(core::CanaryStep::SetWeight {
                percent: percent
                    .ok_or_else(|| Invalid::new(format!("{place}.setWeight.percent"), "give 0 to 100"))?,
                of,
            })
        }
        (None, Some(pause)) => Ok(core::CanaryStep::Pause {
            duration_ms: match pause.duration.as_deref() {
                None => None,
                given => Some(duration(&format!("{place}.pause.duration"), given, 0)?),
            },
        }),
        (None, None) | (Some(_), Some(_)) => {
            Err(Invalid::new(place, "set exactly one of setWeight and pause"))
        }
    }
}

fn drain(sessions: &api::Sessions) -> Result<core::Drain, Invalid> {
    let drain = sessions.drain.clone().unwrap_or_default();
    Ok(core::Drain {
        rate_per_second: count("spec.sessions.drain.ratePerSecond", drain.rate_per_second, 10)?.max(1),
        deadline_ms: duration(
            "spec.sessions.drain.deadline",
            drain.deadline.as_deref(),
            10 * MINUTE_MS,
        )?,
    })
}

fn promotion(promotion: &api::Promotion) -> Result<core::Promotion, Invalid> {
    let through = match (promotion.through, promotion.step) {
        (api::Through::Full, _) => core::Through::Full,
        (api::Through::Step, given @ Some(_)) => core::Through::Step(count("spec.promotion.step", given, 0)?),
        (api::Through::Step, None) => {
            let fix = "set the index of the step to go past when through is step";
            return Err(Invalid::new("spec.promotion.step", fix));
        }
    };
    Ok(core::Promotion {
        revision: core::Revision(promotion.revision.clone()),
        through,
    })
}

fn count(field: &str, given: Option<i32>, default: u32) -> Result<u32, Invalid> {
    given.map_or(Ok(default), |given| {
        u32::try_from(given).map_err(|_| Invalid::new(field, format!("{given} is negative; give 0 or more")))
    })
}

fn duration(field: &str, given: Option<&str>, default_ms: i64) -> Result<i64, Invalid> {
    given.map_or(Ok(default_ms), |text| {
        parse_ms(text).map_err(|fix| Invalid::new(field, fix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(yaml: &str) -> api::RolloutSpec {
        serde_norway::from_str(yaml).unwrap()
    }

    fn checked(spec: &api::RolloutSpec) -> Result<Checked, Invalid> {
        validate(spec, spec.template.clone().unwrap_or_default())
    }

    const TEMPLATE: &str =
        "template: {spec: {containers: [{name: a, image: b, ports: [{containerPort: 80}]}]}}\n";

    #[test]
    fn defaults_are_those_of_the_schema() {
        let checked = checked(&spec(&format!(
            "{TEMPLATE}strategy: {{canary: {{steps: [{{setWeight: {{percent: 5}}}}, {{pause: {{}}}}]}}}}"
        )))
        .unwrap();
        assert_eq!(checked.spec.replicas, 1);
        assert_eq!(checked.spec.progress_deadline_ms, 600_000);
        assert_eq!(checked.spec.traffic, core::Traffic::Service);
        let steps = vec![
            core::CanaryStep::SetWeight {
                percent: 5,
                of: core::WeightUnit::Connections,
            },
            core::CanaryStep::Pause { duration_ms: None },
        ];
        assert_eq!(checked.spec.strategy, core::Strategy::Canary { steps });
    }

    #[test]
    fn every_refusal_names_field_and_fix() {
        for (yaml, wanted) in [
            ("strategy: {}", "spec.strategy: set exactly one"),
            (
                "strategy: {canary: {steps: [{}]}}",
                "spec.strategy.canary.steps[0]: set exactly one",
            ),
            (
                "strategy: {canary: {steps: [{setWeight: {percent: 101}}]}}",
                "spec.strategy.canary.steps[0].setWeight.percent: give 0 to 100",
            ),
            (
                "strategy: {canary: {steps: [{setWeight: {percent: 1, of: sessions}}]}}",
                "spec.strategy.canary.steps[0].setWeight.of: a weight of sessions needs spec.sessions",
            ),
            (
                "replicas: -1\nstrategy: {blueGreen: {}}",
                "spec.replicas: -1 is negative",
            ),
            (
                "progressDeadline: 5\nstrategy: {blueGreen: {}}",
                "spec.progressDeadline: \"5\" is not a duration",
            ),
            (
                "strategy: {blueGreen: {}}\ntraffic: {gateway: {parentRefs: []}}",
                "spec.traffic.gateway.parentRefs: name at least one Gateway",
            ),
            (
                "strategy: {blueGreen: {}}\nsessions: {port: 80, controlPort: 80}",
                "spec.sessions.controlPort: must differ",
            ),
            (
                "strategy: {blueGreen: {}}\npromotion: {revision: x, through: step}",
                "spec.promotion.step: set the index",
            ),
        ] {
            let error = checked(&spec(
                &format!("{TEMPLATE}{yaml}").replace("Deadline: 5", "Deadline: \"5\""),
            ))
            .unwrap_err();
            assert!(error.to_string().starts_with(wanted), "{error}\nwanted {wanted}");
        }
        let error = validate(&spec("strategy: {blueGreen: {}}"), json!({"spec": {}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "spec.template.spec.containers: give at least one container"
        );
    }
}
