//! Without a gateway: plain Services. And workloads that come from elsewhere or are scaled by others.

use std::time::Duration;

use pointsman_api::rollout::PhaseName;
use pointsman_e2e::cluster::until;
use pointsman_e2e::rollout::{NAME, blue_green};
use serde_json::{Value, json};

use super::{MINUTE, done, run, service};

async fn object(service: &pointsman_e2e::rollout::Service, kind: &str, name: &str) -> anyhow::Result<Value> {
    let json = service
        .cluster
        .kubectl(&["-n", &service.namespace, "get", kind, name, "-o", "json"])
        .await?;
    Ok(serde_json::from_str(&json)?)
}

#[test]
fn a_canary_by_replica_ratio_ends_with_the_selector_on_the_new_revision() {
    run(async {
        let service = service("e2e-ratio", 4).await?;
        let strategy = json!({"canary": {"steps": [{"setWeight": {"percent": 25}}, {"pause": {}}]}});
        service
            .apply(&service.manifest(&service.template("v1", &[]), &strategy, false))
            .await?;
        let old = service
            .wait_phase(PhaseName::Stable, 2 * MINUTE)
            .await?
            .stable_revision
            .unwrap_or_default();
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, false))
            .await?;
        let status = service
            .wait(2 * MINUTE, "the pause is not reached", |status| {
                status.current_step == Some(1)
            })
            .await?;
        let new = status.candidate_revision.unwrap_or_default();
        let selector = object(&service, "service", NAME).await?;
        assert_eq!(
            selector.pointer("/spec/selector"),
            Some(&json!({"pointsman.dev/rollout": NAME}))
        );
        // No old pod goes while it may have sessions, so one new pod stands beside all four: a fifth.
        super::until_scaled(&service, &old, 4).await?;
        super::until_scaled(&service, &new, 1).await?;
        service
            .patch(&json!({"spec": {"promotion": {"revision": new, "through": "full"}}}))
            .await?;
        service.wait_promoted(&old, 3 * MINUTE).await?;
        super::until_scaled(&service, &old, 0).await?;
        super::until_scaled(&service, &new, 4).await?;
        let selector = object(&service, "service", NAME).await?;
        assert_eq!(
            selector.pointer("/spec/selector/pointsman.dev~1revision"),
            Some(&json!(new))
        );
        done(&service).await
    });
}

#[test]
fn blue_green_by_selector_switch() {
    run(async {
        let service = service("e2e-selector", 2).await?;
        let strategy = blue_green(true, "1s");
        service
            .apply(&service.manifest(&service.template("v1", &[]), &strategy, false))
            .await?;
        let old = service
            .wait_phase(PhaseName::Stable, 2 * MINUTE)
            .await?
            .stable_revision
            .unwrap_or_default();
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, false))
            .await?;
        let new = service
            .wait_promoted(&old, 3 * MINUTE)
            .await?
            .stable_revision
            .unwrap_or_default();
        let selector = object(&service, "service", NAME).await?;
        assert_eq!(
            selector.pointer("/spec/selector/pointsman.dev~1revision"),
            Some(&json!(new))
        );
        super::until_scaled(&service, &old, 0).await?;
        done(&service).await
    });
}

#[test]
fn an_existing_deployment_is_taken_over_and_the_rollout_is_scaled() {
    run(async {
        let service = service("e2e-takeover", 2).await?;
        let template = service.template("v1", &[]);
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "legacy", "namespace": service.namespace},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": NAME}}, "template": template},
        });
        service.apply(&deployment).await?;
        let mut manifest = service.manifest(&template, &blue_green(true, "1s"), false);
        let spec = manifest["spec"].as_object_mut().unwrap();
        spec.remove("template");
        spec.insert(
            "workloadRef".to_owned(),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "legacy"}),
        );
        service.apply(&manifest).await?;
        let old = service
            .wait_phase(PhaseName::Stable, 2 * MINUTE)
            .await?
            .stable_revision
            .unwrap_or_default();
        until(MINUTE, "the old workload keeps its pods", || async {
            let legacy = object(&service, "deployment", "legacy").await?;
            Ok((legacy.pointer("/spec/replicas") == Some(&json!(0))).then_some(()))
        })
        .await?;
        // A change of the workload that is referred to is a new revision.
        let changed =
            json!({"spec": {"template": {"metadata": {"annotations": {"version": "v2"}}}}}).to_string();
        service
            .cluster
            .kubectl(&[
                "-n",
                &service.namespace,
                "patch",
                "deployment",
                "legacy",
                "-p",
                &changed,
            ])
            .await?;
        let new = service
            .wait_promoted(&old, 3 * MINUTE)
            .await?
            .stable_revision
            .unwrap_or_default();
        service
            .cluster
            .kubectl(&[
                "-n",
                &service.namespace,
                "scale",
                "rollout.pointsman.dev",
                NAME,
                "--replicas=3",
            ])
            .await?;
        super::until_scaled(&service, &new, 3).await?;
        service
            .wait(2 * MINUTE, "the scale is not reported", |status| {
                status.replicas == Some(3)
            })
            .await?;
        done(&service).await
    });
}

#[test]
fn deleting_a_rollout_or_its_namespace_leaves_nothing() {
    run(async {
        let service = service("e2e-delete", 1).await?;
        let manifest = service.manifest(&service.template("v1", &[]), &blue_green(true, "1s"), true);
        service.apply(&manifest).await?;
        service.wait_phase(PhaseName::Stable, 2 * MINUTE).await?;
        service.delete().await?;
        until(2 * MINUTE, "children are left", || async {
            let left = service
                .cluster
                .kubectl(&[
                    "-n",
                    &service.namespace,
                    "get",
                    "deployments,services,secrets,pods,httproutes",
                    "-o",
                    "name",
                ])
                .await?;
            Ok(left.trim().is_empty().then_some(()))
        })
        .await?;
        service.apply(&manifest).await?;
        service.wait_phase(PhaseName::Stable, 2 * MINUTE).await?;
        service
            .cluster
            .delete_namespace(&service.namespace, Duration::from_secs(120))
            .await
    });
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    run(async {
        let service = service("e2e-taken", 1).await?;
        let taken = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": service.namespace},
            "spec": {"selector": {"somebody": "else"}, "ports": [{"port": 80}]},
        });
        service.apply(&taken).await?;
        service
            .apply(&service.manifest(&service.template("v1", &[]), &blue_green(true, "1s"), false))
            .await?;
        let told = service.wait(MINUTE, "the conflict is not told", |status| {
            status
                .message
                .as_deref()
                .is_some_and(|message| message.starts_with("Service chat exists and does not belong"))
        });
        told.await?;
        let kept = object(&service, "service", NAME).await?;
        assert_eq!(kept.pointer("/spec/selector"), Some(&json!({"somebody": "else"})));
        service
            .cluster
            .kubectl(&["-n", &service.namespace, "delete", "service", NAME])
            .await?;
        service.wait_phase(PhaseName::Stable, 3 * MINUTE).await?;
        done(&service).await
    });
}
