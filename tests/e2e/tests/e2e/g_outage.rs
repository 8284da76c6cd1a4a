//! The API server and the whole node go away. Only on the local cluster, whose parts can be killed.

use std::time::Duration;

use pointsman_e2e::load::Load;
use pointsman_e2e::rollout::canary;
use serde_json::json;

use super::{CLIENTS, MINUTE, done, number, run, service, serving};

#[test]
fn sessions_live_through_a_minute_without_the_api_server() {
    run(async {
        let service = service("e2e-api", 3).await?;
        if !service.cluster.local {
            return done(&service).await;
        }
        let strategy = canary(&[30], None);
        let first = service.manifest(&service.template("v1", &[]), &strategy, true);
        let (old, mut load) = serving(&service, &first, CLIENTS).await?;
        let second = service.manifest(&service.template("v2", &[]), &strategy, true);
        service.apply(&second).await?;
        let paused = service
            .wait(2 * MINUTE, "the pause is not reached", |status| {
                status.current_step == Some(1)
            })
            .await?;
        load.phase("outage").await?;
        service.cluster.tool(&["stop-apiserver"]).await?;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let during = load.snapshot().await?;
        service.cluster.tool(&["start-apiserver"]).await?;
        assert_eq!(number(&during, "/connected"), CLIENTS as f64, "{during}");
        // The node counts as lost for a moment, and its pods with it.
        let ready = [
            "-n",
            &service.namespace,
            "wait",
            "--for=condition=Ready",
            "pods",
            "--all",
            "--timeout=3m",
        ];
        service.cluster.kubectl(&ready).await?;
        let outage = load.phase("after").await?;
        assert_eq!(number(&outage, "/disconnectsPerClient/max"), 0.0, "{outage}");
        assert_eq!(number(&outage, "/writesLost"), 0.0, "{outage}");
        let order = json!({"revision": paused.candidate_revision, "through": "full"});
        service.patch(&json!({"spec": {"promotion": order}})).await?;
        service.wait_promoted(&old, 5 * MINUTE).await?;
        let report = load.stop().await?;
        assert_eq!(number(&report, "/writesLost"), 0.0, "{report}");
        assert!(number(&report, "/disconnectsPerClient/max") <= 1.0, "{report}");
        done(&service).await
    });
}

#[test]
fn z_the_whole_node_is_killed_and_the_rollout_goes_on() {
    run(async {
        let service = service("e2e-node", 2).await?;
        if !service.cluster.local {
            return done(&service).await;
        }
        let strategy = canary(&[50], Some("30s"));
        let (old, load) = serving(
            &service,
            &service.manifest(&service.template("v1", &[]), &strategy, true),
            20,
        )
        .await?;
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, true))
            .await?;
        service
            .wait(2 * MINUTE, "the canary is not at its pause", |status| {
                status.current_step == Some(1)
            })
            .await?;
        drop(load);
        service.cluster.tool(&["restart", "--kill"]).await?;
        service.wait_promoted(&old, 5 * MINUTE).await?;
        let load = Load::start(&service.cluster, &service.host(), 20).await?;
        let report = load.stop().await?;
        assert_eq!(number(&report, "/failedHandshakes"), 0.0, "{report}");
        done(&service).await
    });
}
