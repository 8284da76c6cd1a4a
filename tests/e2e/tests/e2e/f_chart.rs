//! The charts: installed, upgraded, rolled back, uninstalled.

use pointsman_api::rollout::PhaseName;
use pointsman_e2e::install::{self, NAMESPACE};
use pointsman_e2e::rollout::blue_green;
use serde_json::{Value, json};

use super::{MINUTE, done, images, run, service};

#[test]
fn charts_come_and_go_and_leave_rollouts_in_place() {
    run(async {
        let service = service("e2e-chart", 1).await?;
        service
            .apply(&service.manifest(&service.template("v1", &[]), &blue_green(true, "1s"), true))
            .await?;
        service.wait_phase(PhaseName::Stable, 3 * MINUTE).await?;
        let helm = |arguments: Vec<&'static str>| {
            let cluster = service.cluster.clone();
            async move { cluster.helm(&arguments).await }
        };
        let wait = ["-n", NAMESPACE, "--wait", "--timeout", "3m"];
        let three = [
            &[
                "upgrade",
                "pointsman",
                "charts/pointsman",
                "--reuse-values",
                "--set",
                "replicas=3",
            ],
            &wait[..],
        ]
        .concat();
        helm(three).await?;
        let replicas = || async {
            let json = service
                .cluster
                .kubectl(&["-n", NAMESPACE, "get", "deployment", "pointsman", "-o", "json"])
                .await?;
            let deployment: Value = serde_json::from_str(&json)?;
            anyhow::Ok(
                deployment
                    .pointer("/status/readyReplicas")
                    .cloned()
                    .unwrap_or_default(),
            )
        };
        assert_eq!(replicas().await?, json!(3));
        helm([&["rollback", "pointsman"], &wait[..]].concat()).await?;
        assert_eq!(replicas().await?, json!(2));
        helm([&["uninstall", "pointsman"], &wait[..]].concat()).await?;
        helm([&["uninstall", "pointsman-crds"], &wait[..]].concat()).await?;
        // Definitions are kept, and with them every Rollout and its pods.
        service
            .cluster
            .kubectl(&["get", "crd", "rollouts.pointsman.dev"])
            .await?;
        let pods = service
            .cluster
            .kubectl(&["-n", &service.namespace, "get", "pods", "-o", "name"])
            .await?;
        assert_eq!(pods.lines().count(), 1, "{pods}");
        install::operator(&service.cluster, &images().await?).await?;
        service
            .apply(&service.manifest(&service.template("v2", &[]), &blue_green(true, "1s"), true))
            .await?;
        let old = service.status().await?.stable_revision.unwrap_or_default();
        service.wait_promoted(&old, 3 * MINUTE).await?;
        done(&service).await
    });
}
