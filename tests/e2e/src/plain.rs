//! The row to compare with: the same service as a plain Deployment, rolled by Kubernetes at its defaults.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::load::Load;
use crate::rollout::Service;

const MINUTE: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "demo-plain";

/// Rolls a plain Deployment under live clients and reports what they saw.
pub async fn rolling_update(
    cluster: &Cluster,
    image: &str,
    replicas: u32,
    clients: usize,
) -> anyhow::Result<Value> {
    let service = Service {
        cluster: cluster.clone(),
        namespace: NAMESPACE.to_owned(),
        image: image.to_owned(),
        replicas,
    };
    // Most servers close their sockets as soon as they are told to end.
    let abrupt = [
        "--drain-delay-ms=0",
        "--drain-interval-ms=0",
        "--drain-deadline-ms=0",
    ];
    let deployment = |version: &str| {
        let mut template = service.template(version, &abrupt);
        template["spec"]["containers"][0]["env"] = json!([
            {"name": "POINTSMAN_REVISION", "value": version},
            {"name": "POINTSMAN_PEERS_DNS", "value": format!("plain-peers.{NAMESPACE}.svc:8081")},
        ]);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "plain", "namespace": NAMESPACE},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "chat"}}, "template": template},
        })
    };
    let route = service.manifest(&json!({}), &json!({}), true)["spec"]["traffic"]["gateway"].clone();
    let others = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "plain", "namespace": NAMESPACE},
         "spec": {"selector": {"app": "chat"}, "ports": [{"port": 80, "targetPort": 8080}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "plain-peers", "namespace": NAMESPACE},
         "spec": {"clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app": "chat"}, "ports": [{"port": 8081}]}},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "plain", "namespace": NAMESPACE},
         "spec": {"parentRefs": route["parentRefs"], "hostnames": route["hostnames"], "rules": [{"backendRefs": [{"name": "plain", "port": 80}]}]}},
    ]});
    service.apply(&others).await?;
    service.apply(&deployment("plain-v1")).await?;
    rolled(cluster).await?;
    accepted(cluster).await?;
    let mut load = Load::start(cluster, &service.host(), clients).await?;
    load.phase("plain-deployment").await?;
    service.apply(&deployment("plain-v2")).await?;
    rolled(cluster).await?;
    // Rolled out, says Kubernetes; until the last old pod is gone there may still be somebody on it.
    until(3 * MINUTE, "old pods are left", || async {
        let pods = cluster
            .kubectl(&["-n", NAMESPACE, "get", "pods", "-o", "name"])
            .await?;
        let count = u32::try_from(pods.lines().count()).unwrap_or(u32::MAX);
        Ok((count == replicas).then_some(()))
    })
    .await?;
    let mut report = load.stop().await?;
    report["weights"] = json!([]);
    Ok(report)
}

async fn rolled(cluster: &Cluster) -> anyhow::Result<()> {
    cluster
        .kubectl(&[
            "-n",
            NAMESPACE,
            "rollout",
            "status",
            "deployment/plain",
            "--timeout=2m",
        ])
        .await
        .map(drop)
}

async fn accepted(cluster: &Cluster) -> anyhow::Result<()> {
    let condition = "--for=jsonpath={.status.parents[0].conditions[?(@.type=='Accepted')].status}=True";
    cluster
        .kubectl(&[
            "-n",
            NAMESPACE,
            "wait",
            "httproute/plain",
            condition,
            "--timeout=1m",
        ])
        .await
        .map(drop)
}
