//! The operator dies, fails over and is upgraded, and rollouts go on from their status.

use std::collections::BTreeSet;
use std::time::Duration;

use pointsman_api::rollout::PhaseName;
use pointsman_e2e::install::{self, NAMESPACE, operators};
use pointsman_e2e::rollout::{Service, blue_green, canary};
use serde_json::{Value, json};

use super::{CLIENTS, MINUTE, assert_kind, done, images, number, run, service, serving};

/// Kills the leader as a crash would: no time to end, nothing given back.
async fn kill_leader(service: &Service) -> anyhow::Result<()> {
    let names = operators(&service.cluster).await?;
    let Some(leader) = names.first() else {
        return Ok(());
    };
    let command = [
        "-n",
        NAMESPACE,
        "delete",
        "pod",
        leader,
        "--grace-period=0",
        "--force",
    ];
    service.cluster.kubectl(&command).await.map(drop)
}

#[test]
fn killed_at_every_step_the_rollout_goes_on() {
    run(async {
        let service = service("e2e-kill", 3).await?;
        let strategy = canary(&[20, 60], Some("1s"));
        let (old, load) = serving(
            &service,
            &service.manifest(&service.template("v1", &[]), &strategy, true),
            CLIENTS,
        )
        .await?;
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, true))
            .await?;
        let mut places = BTreeSet::new();
        let end = tokio::time::Instant::now() + 10 * MINUTE;
        loop {
            let status = service.status().await?;
            if status.phase == Some(PhaseName::Stable) && status.stable_revision.as_deref() != Some(&old) {
                break;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "the rollout does not end: {status:?}"
            );
            let stage = status.memory.as_ref().and_then(|memory| memory.stage);
            let place = format!("{:?} {:?} {stage:?}", status.phase, status.current_step);
            let started = status.phase.is_some_and(|phase| phase != PhaseName::Stable);
            if started && places.insert(place) {
                kill_leader(&service).await?;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(places.len() >= 6, "killed at {places:?} only");
        let report = load.stop().await?;
        assert_kind(&report);
        assert_eq!(number(&report, "/disconnectsPerClient/mean"), 1.0, "{report}");
        done(&service).await
    });
}

#[test]
fn another_replica_takes_over_when_the_leader_goes() {
    run(async {
        let service = service("e2e-leader", 1).await?;
        let strategy = blue_green(true, "1s");
        service
            .apply(&service.manifest(&service.template("v1", &[]), &strategy, true))
            .await?;
        let old = service
            .wait_phase(PhaseName::Stable, 3 * MINUTE)
            .await?
            .stable_revision
            .unwrap_or_default();
        let before = operators(&service.cluster).await?;
        assert!(before.len() >= 2, "{before:?}");
        service
            .cluster
            .kubectl(&[
                "-n",
                NAMESPACE,
                "delete",
                "pod",
                &before[0],
                "--grace-period=0",
                "--force",
            ])
            .await?;
        service
            .apply(&service.manifest(&service.template("v2", &[]), &strategy, true))
            .await?;
        service.wait_promoted(&old, 3 * MINUTE).await?;
        let after = operators(&service.cluster).await?;
        assert_ne!(after.first(), before.first(), "the dead leader still leads");
        done(&service).await
    });
}

#[test]
fn an_upgrade_of_the_operator_starts_no_rollout_and_rest_writes_nothing() {
    run(async {
        let service = service("e2e-upgrade", 2).await?;
        service
            .apply(&service.manifest(&service.template("v1", &[]), &canary(&[20], None), true))
            .await?;
        service.wait_phase(PhaseName::Stable, 3 * MINUTE).await?;
        let versions = || async {
            let kinds = "rollouts.pointsman.dev,services,secrets,httproutes,pods";
            let json = service
                .cluster
                .kubectl(&["-n", &service.namespace, "get", kinds, "-o", "json"])
                .await?;
            let list: Value = serde_json::from_str(&json)?;
            let items = list
                .pointer("/items")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let of = |item: &Value, pointer: &str| {
                item.pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            // A pod's status may change by itself; that it is the same pod is what counts.
            let version = |item: &Value| {
                if of(item, "/kind") == "Pod" {
                    String::new()
                } else {
                    of(item, "/metadata/resourceVersion")
                }
            };
            let all: BTreeSet<String> = items
                .iter()
                // A gateway writes its own status into a route.
                .filter(|item| of(item, "/kind") != "HTTPRoute")
                .map(|item| {
                    format!(
                        "{} {} {} {}",
                        of(item, "/kind"),
                        of(item, "/metadata/name"),
                        of(item, "/metadata/uid"),
                        version(item)
                    )
                })
                .collect();
            anyhow::Ok(all)
        };
        let before = versions().await?;
        // Another build of the operator, for all that Kubernetes knows.
        let annotation = "podAnnotations.restarted=again";
        let upgrade = [
            "upgrade",
            "pointsman",
            "charts/pointsman",
            "-n",
            NAMESPACE,
            "--reuse-values",
            "--wait",
            "--timeout",
            "3m",
            "--set",
            annotation,
        ];
        service.cluster.helm(&upgrade).await?;
        // The new leader has looked once it has the lease and a reconcile is done; a change of the spec shows that.
        service
            .patch(&json!({"spec": {"revisionHistoryLimit": 4}}))
            .await?;
        service
            .wait(2 * MINUTE, "the new operator does not look", |status| {
                status.phase == Some(PhaseName::Stable)
            })
            .await?;
        let after = versions().await?;
        let rest = |all: &BTreeSet<String>| -> BTreeSet<String> {
            all.iter()
                .filter(|line| !line.starts_with("Rollout "))
                .cloned()
                .collect()
        };
        assert_eq!(rest(&before), rest(&after));
        assert_eq!(service.status().await?.phase, Some(PhaseName::Stable));
        let _ = install::operator(&service.cluster, &images().await?).await;
        done(&service).await
    });
}
