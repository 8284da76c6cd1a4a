//! Canaries behind the gateway.

use pointsman_api::rollout::PhaseName;
use pointsman_e2e::load::Load;
use pointsman_e2e::rollout::{NAME, Service, canary};
use serde_json::{Value, json};

use super::{CLIENTS, MINUTE, assert_kind, done, number, run, service, serving};

/// Releases the pause that the rollout is in.
async fn promote_step(service: &Service) -> anyhow::Result<()> {
    let status = service.status().await?;
    let promotion =
        json!({"revision": status.candidate_revision, "through": "step", "step": status.current_step});
    service.patch(&json!({"spec": {"promotion": promotion}})).await
}

/// Waits for the open pause after a weight, and checks that the clients are where the weight says.
async fn paused_at(service: &Service, load: &mut Load, step: i32, percent: f64) -> anyhow::Result<()> {
    let status = service
        .wait(3 * MINUTE, &format!("step {step} is not reached"), |status| {
            status.phase == Some(PhaseName::Stepping) && status.current_step == Some(step)
        })
        .await?;
    let candidate = status.candidate_revision.unwrap_or_default();
    let snapshot = load.snapshot().await?;
    let live = snapshot
        .pointer(&format!("/revisions/{candidate}"))
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    let share = 100.0 * live / number(&snapshot, "/connected");
    assert!(
        (share - percent).abs() <= 2.0,
        "asked {percent} %, the clients say {share} %: {snapshot}"
    );
    let said = status.weights.unwrap_or_default();
    assert_eq!(said.routed, Some(percent as i32));
    Ok(())
}

/// Weights of the route's last rule by revision.
async fn routed(service: &Service) -> anyhow::Result<Value> {
    let route = service
        .cluster
        .kubectl(&["-n", &service.namespace, "get", "httproute", NAME, "-o", "json"])
        .await?;
    let route: Value = serde_json::from_str(&route)?;
    let rules = route
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    Ok(rules
        .last()
        .and_then(|rule| rule.get("backendRefs"))
        .cloned()
        .unwrap_or_default())
}

#[test]
fn a_canary_moves_the_asked_share_and_each_client_once() {
    run(async {
        let service = service("e2e-canary", 3).await?;
        let strategy = canary(&[20, 50], None);
        let (old, mut load) = serving(
            &service,
            &service.manifest(&service.template("v1", &[]), &strategy, true),
            CLIENTS,
        )
        .await?;
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, true))
            .await?;
        paused_at(&service, &mut load, 1, 20.0).await?;
        promote_step(&service).await?;
        paused_at(&service, &mut load, 3, 50.0).await?;
        promote_step(&service).await?;
        let status = service.wait_promoted(&old, 3 * MINUTE).await?;
        let report = load.stop().await?;
        assert_kind(&report);
        assert_eq!(number(&report, "/disconnectsPerClient/mean"), 1.0, "{report}");
        super::until_scaled(&service, &old, 0).await?;
        let new = status.stable_revision.unwrap_or_default();
        super::until_scaled(&service, &new, 3).await?;
        done(&service).await
    });
}

#[test]
fn an_aborted_canary_leaves_everything_on_the_stable_revision() {
    run(async {
        let service = service("e2e-abort", 3).await?;
        let strategy = canary(&[50], None);
        let (old, mut load) = serving(
            &service,
            &service.manifest(&service.template("v1", &[]), &strategy, true),
            CLIENTS,
        )
        .await?;
        service
            .apply(&service.manifest(&service.template("bad", &["--fail-rate=50"]), &strategy, true))
            .await?;
        paused_at(&service, &mut load, 1, 50.0).await?;
        let candidate = service.status().await?.candidate_revision.unwrap_or_default();
        service
            .patch(&json!({"spec": {"abort": {"revision": candidate, "reason": "half of the calls fail"}}}))
            .await?;
        let status = service.wait_phase(PhaseName::Aborted, 3 * MINUTE).await?;
        assert!(
            status
                .message
                .unwrap_or_default()
                .contains("half of the calls fail")
        );
        assert_eq!(status.stable_revision.as_deref(), Some(old.as_str()));
        super::until_scaled(&service, &candidate, 0).await?;
        let weights = routed(&service).await?;
        assert_eq!(weights.as_array().map(Vec::len), Some(1), "{weights}");
        assert_eq!(weights.pointer("/0/name"), Some(&json!(format!("{NAME}-{old}"))));
        let snapshot = load.snapshot().await?;
        assert_eq!(
            number(&snapshot, &format!("/revisions/{old}")),
            CLIENTS as f64,
            "{snapshot}"
        );
        let report = load.stop().await?;
        assert_eq!(number(&report, "/writesLost"), 0.0, "{report}");
        assert_eq!(number(&report, "/failedHandshakes"), 0.0, "{report}");
        // There and back again: two moves for those who were on the candidate, none for the others.
        assert!(number(&report, "/disconnectsPerClient/max") <= 2.0, "{report}");
        done(&service).await
    });
}

#[test]
fn a_newer_revision_replaces_the_canary() {
    run(async {
        let service = service("e2e-newer", 3).await?;
        let strategy = canary(&[30], None);
        let (old, mut load) = serving(
            &service,
            &service.manifest(&service.template("v1", &[]), &strategy, true),
            CLIENTS,
        )
        .await?;
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, true))
            .await?;
        paused_at(&service, &mut load, 1, 30.0).await?;
        let second = service.status().await?.candidate_revision.unwrap_or_default();
        service
            .apply(&service.manifest(&service.template("v3", &[]), &strategy, true))
            .await?;
        let status = service
            .wait(3 * MINUTE, "the newest revision is not at its pause", |status| {
                status
                    .candidate_revision
                    .as_ref()
                    .is_some_and(|candidate| *candidate != second)
                    && status.current_step == Some(1)
                    && status
                        .memory
                        .as_ref()
                        .is_some_and(|memory| memory.retired.is_empty())
            })
            .await?;
        assert_eq!(status.stable_revision.as_deref(), Some(old.as_str()));
        super::until_scaled(&service, &second, 0).await?;
        promote_step(&service).await?;
        let status = service.wait_promoted(&old, 3 * MINUTE).await?;
        assert_ne!(status.stable_revision.as_deref(), Some(second.as_str()));
        let report = load.stop().await?;
        assert_eq!(number(&report, "/writesLost"), 0.0, "{report}");
        assert_eq!(number(&report, "/failedHandshakes"), 0.0, "{report}");
        done(&service).await
    });
}

#[test]
fn pods_that_never_become_ready_end_the_canary_at_its_deadline() {
    run(async {
        let service = service("e2e-deadline", 2).await?;
        let strategy = canary(&[50], None);
        let mut first = service.manifest(&service.template("v1", &[]), &strategy, true);
        first["spec"]["progressDeadline"] = json!("10s");
        let (old, load) = serving(&service, &first, 10).await?;
        let mut second = first.clone();
        second["spec"]["template"] = service.template("v2", &["--no-such-flag"]);
        service.apply(&second).await?;
        let status = service.wait_phase(PhaseName::Aborted, 2 * MINUTE).await?;
        let message = status.message.unwrap_or_default();
        assert!(message.contains("0 of 1 pods ready after 10s"), "{message}");
        assert_eq!(status.stable_revision.as_deref(), Some(old.as_str()));
        let report = load.stop().await?;
        assert_eq!(number(&report, "/disconnectsPerClient/max"), 0.0, "{report}");
        done(&service).await
    });
}
