//! What the API server says to specs that cannot work.

use serde_json::{Value, json};

use super::{done, run, service};
use pointsman_e2e::rollout::{blue_green, canary};

#[test]
fn bad_specs_are_refused_with_field_and_fix() {
    run(async {
        let service = service("e2e-spec", 1).await?;
        let good = service.manifest(&service.template("v1", &[]), &canary(&[20], None), true);
        let with = |pointer: &str, value: Value| {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
            bad
        };
        let mut no_sessions = good.clone();
        no_sessions["spec"].as_object_mut().unwrap().remove("sessions");
        let mut both = good.clone();
        both["spec"]["workloadRef"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"});
        let mut two = canary(&[20], None);
        two["blueGreen"] = blue_green(true, "1s")["blueGreen"].clone();
        for (bad, wanted) in [
            (
                with("/spec/strategy", two),
                "spec.strategy: set exactly one of canary and blueGreen",
            ),
            (
                with("/spec/strategy/canary/steps/0/setWeight/percent", json!(101)),
                "percent",
            ),
            (
                with("/spec/strategy/canary/steps/0", json!({})),
                "each step sets exactly one of setWeight and pause",
            ),
            (
                no_sessions,
                "a weight of sessions needs spec.sessions; add spec.sessions or write `of: connections`",
            ),
            (both, "spec: set exactly one of template and workloadRef"),
            (
                with("/spec/progressDeadline", json!("soon")),
                "spec.progressDeadline",
            ),
            (
                with("/metadata/name", json!("with.dot")),
                "metadata.name: lower-case letters, digits and '-'",
            ),
            (with("/spec/replicas", json!(-1)), "spec.replicas"),
        ] {
            let said = format!(
                "{:#}",
                service.apply(&bad).await.expect_err("a bad spec was accepted")
            );
            assert!(said.contains(wanted), "wanted {wanted:?} in:\n{said}");
        }
        // What only the operator can see, it says in the status.
        let mut unusable = good.clone();
        unusable["spec"]["sessions"]["controlPort"] = json!(8080);
        service.apply(&unusable).await?;
        let told = service.wait(super::MINUTE, "the fault is not told", |status| {
            let message = status.message.clone().unwrap_or_default();
            message.starts_with("spec.sessions.controlPort: must differ")
                && status
                    .conditions
                    .iter()
                    .any(|condition| condition.type_ == "Stalled" && condition.status == "True")
        });
        told.await?;
        done(&service).await
    });
}
