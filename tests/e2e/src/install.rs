//! Images of this working tree, and the charts, in the cluster.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::command::run;

/// Where the operator runs.
pub const NAMESPACE: &str = "pointsman-system";
const BUILD_WITHIN: Duration = Duration::from_secs(1_800);

/// Names of the images that this working tree gives.
#[derive(Clone, Debug)]
pub struct Images {
    /// The operator's.
    pub operator: String,
    /// The sync service's.
    pub sync: String,
}

/// Builds both images, unless they are built already, and brings them into the cluster. Another cluster takes them from
/// where its nodes can: `POINTSMAN_IMAGES="pointsman=REGISTRY/pointsman:TAG pointsman-sync=REGISTRY/pointsman-sync:TAG"`.
pub async fn images() -> anyhow::Result<Images> {
    let said = match std::env::var("POINTSMAN_IMAGES") {
        Ok(given) => given.split_whitespace().collect::<Vec<_>>().join("\n"),
        Err(_) => run("deploy/images/build", &["--import"], BUILD_WITHIN).await?,
    };
    let find = |name: &str| {
        let prefix = format!("{name}=");
        let found = said
            .lines()
            .find_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
        found.with_context(|| format!("deploy/images/build did not name the image {name}"))
    };
    Ok(Images {
        operator: find("pointsman")?,
        sync: find("pointsman-sync")?,
    })
}

/// Installs or upgrades both charts and waits until the operator serves.
pub async fn operator(cluster: &Cluster, images: &Images) -> anyhow::Result<()> {
    let (repository, tag) = images
        .operator
        .rsplit_once(':')
        .context("an image without a tag")?;
    cluster.namespace(NAMESPACE).await?;
    let crds = [
        "upgrade",
        "--install",
        "pointsman-crds",
        "charts/pointsman-crds",
        "-n",
        NAMESPACE,
        "--wait",
        "--timeout",
        "2m",
    ];
    cluster.helm(&crds).await?;
    let image = format!("image.repository={repository}");
    let tag = format!("image.tag={tag}");
    let class = "priorityClassName=";
    let chart = [
        "upgrade",
        "--install",
        "pointsman",
        "charts/pointsman",
        "-n",
        NAMESPACE,
        "--wait",
        "--timeout",
        "3m",
        "--set",
        &image,
        "--set-string",
        &tag,
        "--set",
        class,
    ];
    cluster.helm(&chart).await?;
    Ok(())
}

/// Names of the operator's pods that run, the leader first.
pub async fn operators(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let lease = cluster
        .kubectl(&["-n", NAMESPACE, "get", "lease", "pointsman-leader", "-o", "json"])
        .await?;
    let lease: Value = serde_json::from_str(&lease)?;
    let leader = lease
        .pointer("/spec/holderIdentity")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let pods = cluster
        .kubectl(&[
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=pointsman",
            "-o",
            "name",
        ])
        .await?;
    let mut names: Vec<String> = pods
        .lines()
        .filter_map(|line| line.strip_prefix("pod/"))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| *name != leader);
    Ok(names)
}
