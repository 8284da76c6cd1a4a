//! Blue-green behind the gateway.

use pointsman_api::rollout::PhaseName;
use pointsman_e2e::rollout::{Service, blue_green};
use serde_json::{Value, json};

use super::{CLIENTS, MINUTE, assert_kind, done, number, run, service, serving};

/// Names of the pods of a revision.
async fn pods(service: &Service, revision: &str) -> anyhow::Result<String> {
    let label = format!("pointsman.dev/revision={revision}");
    let get = [
        "-n",
        &service.namespace,
        "get",
        "pods",
        "-l",
        &label,
        "-o",
        "name",
    ];
    service.cluster.kubectl(&get).await
}

#[test]
fn blue_green_switches_and_goes_back_within_the_delay() {
    run(async {
        let service = service("e2e-blue-green", 3).await?;
        let strategy = blue_green(false, "10m");
        let first = service.manifest(&service.template("v1", &[]), &strategy, true);
        let (old, mut load) = serving(&service, &first, CLIENTS).await?;
        let pods_before = pods(&service, &old).await?;
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, true))
            .await?;
        let status = service
            .wait(2 * MINUTE, "the preview is not ready", |status| {
                status.phase == Some(PhaseName::Previewing)
                    && status
                        .memory
                        .as_ref()
                        .is_some_and(|memory| memory.ready == Some(true))
            })
            .await?;
        let new = status.candidate_revision.unwrap_or_default();
        let preview = service
            .cluster
            .kubectl(&[
                "-n",
                &service.namespace,
                "get",
                "service",
                "chat-preview",
                "-o",
                "json",
            ])
            .await?;
        let preview: Value = serde_json::from_str(&preview)?;
        assert_eq!(
            preview.pointer("/spec/selector/pointsman.dev~1revision"),
            Some(&json!(new))
        );
        let before = load.snapshot().await?;
        assert_eq!(
            number(&before, &format!("/revisions/{old}")),
            CLIENTS as f64,
            "{before}"
        );

        service
            .patch(&json!({"spec": {"promotion": {"revision": new, "through": "full"}}}))
            .await?;
        service.wait_promoted(&old, 3 * MINUTE).await?;
        let switched = load.phase("back").await?;
        assert_kind(&switched);
        assert_eq!(number(&switched, "/disconnectsPerClient/mean"), 1.0, "{switched}");

        // The old pods are still up, so going back needs no preview and no promotion.
        service.apply(&first).await?;
        service
            .wait(2 * MINUTE, "the old revision is not back", |status| {
                status.phase == Some(PhaseName::Stable) && status.stable_revision.as_deref() == Some(&old)
            })
            .await?;
        let report = load.stop().await?;
        assert_eq!(number(&report, "/writesLost"), 0.0, "{report}");
        assert_eq!(number(&report, "/failedHandshakes"), 0.0, "{report}");
        assert_eq!(number(&report, "/disconnectsPerClient/max"), 1.0, "{report}");
        assert_eq!(
            pods(&service, &old).await?,
            pods_before,
            "going back did not use the old pods"
        );
        done(&service).await
    });
}
