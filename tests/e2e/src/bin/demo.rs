//! The demo: live clients while versions change under them, on a real cluster; then a table of what happened to them.
// Indexing a JSON value gives null where there is nothing; it does not panic.
#![allow(clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::Context as _;
use pointsman_api::rollout::{PhaseName, Rollout, RolloutStatus};
use pointsman_e2e::cluster::{Cluster, until};
use pointsman_e2e::command::{root, run};
use pointsman_e2e::load::Load;
use pointsman_e2e::rollout::{NAME, Service, blue_green, canary};
use pointsman_e2e::screen::{Branch, Picture, Screen};
use pointsman_e2e::{install, plain, report};
use serde_json::{Value, json};

const CLIENTS: usize = 200;
const REPLICAS: u32 = 6;
const MINUTE: Duration = Duration::from_secs(60);
const PLUGIN: &str = "target/images/bin/kubectl-pointsman";

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match Demo::run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

struct Demo {
    service: Service,
    load: Load,
    screen: Screen,
    title: String,
    /// Names for people by revision.
    versions: Vec<(String, String)>,
    weights: Vec<Value>,
    reports: Vec<Value>,
}

impl Demo {
    async fn run() -> anyhow::Result<()> {
        let mut screen = Screen::default();
        screen.heading("building images and installing the operator by Helm");
        let cluster = Cluster::connect().await?;
        let images = install::images().await?;
        install::operator(&cluster, &images).await?;
        for namespace in ["demo", "demo-plain"] {
            cluster.clear_namespace(namespace, 3 * MINUTE).await?;
            cluster.namespace(namespace).await?;
        }
        let service = Service {
            cluster: cluster.clone(),
            namespace: "demo".to_owned(),
            image: images.sync,
            replicas: REPLICAS,
        };
        screen.heading(&format!("v1 comes up on {REPLICAS} pods"));
        let strategy = canary(&[20, 50], None);
        service
            .apply(&service.manifest(&service.template("v1", &[]), &strategy, true))
            .await?;
        let status = service.wait_phase(PhaseName::Stable, 3 * MINUTE).await?;
        let load = Load::start(&cluster, &service.host(), CLIENTS).await?;
        screen.say(&format!(
            "{CLIENTS} clients are connected through the gateway, each writes once a second"
        ));
        let mut demo = Self {
            service,
            load,
            screen,
            title: String::new(),
            versions: vec![(status.stable_revision.unwrap_or_default(), "v1".to_owned())],
            weights: Vec::new(),
            reports: Vec::new(),
        };
        demo.canary(&strategy).await?;
        demo.bad(&strategy).await?;
        demo.blue_green().await?;
        demo.finish(&cluster).await
    }

    async fn canary(&mut self, strategy: &Value) -> anyhow::Result<()> {
        self.begin("canary", "v2 by canary: 20 %, 50 %, all").await?;
        let old = self.stable().await?;
        self.release("v2", &[], strategy).await?;
        for (step, percent) in [(1, 20), (3, 50)] {
            self.watch(|status| status.current_step == Some(step)).await?;
            self.weigh(percent).await?;
            self.plugin(&["promote", NAME]).await?;
        }
        self.watch(|status| promoted(status, &old)).await?;
        self.weigh(100).await
    }

    async fn bad(&mut self, strategy: &Value) -> anyhow::Result<()> {
        self.begin("bad-canary", "v3 fails half of its calls: its canary is aborted")
            .await?;
        self.release("v3", &["--fail-rate=50"], strategy).await?;
        self.watch(|status| status.current_step == Some(1)).await?;
        self.weigh(20).await?;
        let mut failed = 0.0;
        for _ in 0..100 {
            let snapshot = self.load.snapshot().await?;
            failed = snapshot
                .pointer("/errorReplies")
                .and_then(Value::as_f64)
                .unwrap_or(0.0);
            if failed >= 20.0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.screen
            .say(&format!("the clients saw {failed} error replies"));
        self.plugin(&["abort", NAME, "--reason", "half of the calls fail"])
            .await?;
        self.watch(|status| status.phase == Some(PhaseName::Aborted))
            .await?;
        self.weigh(0).await
    }

    async fn blue_green(&mut self) -> anyhow::Result<()> {
        self.begin("blue-green", "v4 blue-green: a preview, then the switch")
            .await?;
        let old = self.stable().await?;
        self.release("v4", &[], &blue_green(false, "10m")).await?;
        self.watch(|status| {
            status
                .memory
                .as_ref()
                .is_some_and(|memory| memory.ready == Some(true))
        })
        .await?;
        self.plugin(&["promote", NAME]).await?;
        self.watch(|status| promoted(status, &old)).await?;
        self.weigh(100).await?;
        self.begin("blue-green-rollback", "and back: the old pods are still up")
            .await?;
        let new = self.stable().await?;
        self.plugin(&["undo", NAME]).await?;
        self.watch(|status| promoted(status, &new)).await?;
        self.weigh(100).await
    }

    async fn finish(mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let last = self.load.stop().await?;
        close(&mut self.reports, &mut self.weights, last);
        self.screen
            .heading("the same service as a plain Deployment, rolled by Kubernetes");
        self.service.delete().await?;
        let row = plain::rolling_update(cluster, &self.service.image, REPLICAS, CLIENTS).await?;
        self.reports.push(row);
        cluster.clear_namespace("demo-plain", 3 * MINUTE).await?;
        let path = root().join("target/demo/report.json");
        tokio::fs::create_dir_all(path.parent().context("no folder")?).await?;
        tokio::fs::write(&path, serde_json::to_string_pretty(&self.reports)?).await?;
        self.screen.heading("what happened to the clients");
        println!("{}", report::table(&self.reports));
        println!("\nalso in target/demo/report.json");
        let broken = report::broken_promises(&self.reports);
        anyhow::ensure!(
            broken.is_empty(),
            "promises that did not hold:\n  {}",
            broken.join("\n  ")
        );
        Ok(())
    }

    /// Ends the phase that runs and begins another.
    async fn begin(&mut self, phase: &str, title: &str) -> anyhow::Result<()> {
        let ended = self.load.phase(phase).await?;
        // The first one is only the time until everybody was connected.
        if ended.get("phase").and_then(Value::as_str) != Some("start") {
            close(&mut self.reports, &mut self.weights, ended);
        }
        title.clone_into(&mut self.title);
        self.screen.heading(title);
        Ok(())
    }

    async fn stable(&self) -> anyhow::Result<String> {
        Ok(self.service.status().await?.stable_revision.unwrap_or_default())
    }

    async fn release(&mut self, version: &str, arguments: &[&str], strategy: &Value) -> anyhow::Result<()> {
        let before = self.service.get().await?;
        self.service
            .apply(
                &self
                    .service
                    .manifest(&self.service.template(version, arguments), strategy, true),
            )
            .await?;
        let taken = |rollout: &Rollout| rollout.status.clone().unwrap_or_default().candidate_revision;
        let old = taken(&before);
        let service = self.service.clone();
        let revision = until(MINUTE, "the new version is not taken", || async {
            let now = service.get().await?;
            Ok(taken(&now).filter(|revision| Some(revision) != old.as_ref()))
        })
        .await?;
        self.versions.push((revision, version.to_owned()));
        Ok(())
    }

    async fn plugin(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let kubeconfig = run("deploy/local/cluster", &["kubeconfig"], MINUTE).await?;
        let mut all = vec!["--kubeconfig", kubeconfig.trim(), "-n", "demo"];
        all.splice(0..0, arguments.iter().copied());
        self.screen
            .say(&format!("$ kubectl pointsman {} -n demo", arguments.join(" ")));
        let said = run(PLUGIN, &all, MINUTE).await?;
        if let Some(line) = said.lines().next() {
            self.screen.say(&format!("  {line}"));
        }
        Ok(())
    }

    /// Draws until the status is as wanted.
    async fn watch(&mut self, wanted: impl Fn(&RolloutStatus) -> bool) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + 5 * MINUTE;
        loop {
            let rollout = self.service.get().await?;
            let status = rollout.status.clone().unwrap_or_default();
            let snapshot = self.load.snapshot().await?;
            let picture = self.picture(&status, &snapshot).await?;
            self.screen.show(&picture);
            if status.observed_generation == rollout.metadata.generation && wanted(&status) {
                return Ok(());
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < end,
                "no end in sight: {}",
                picture.message
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Notes the share that the clients have against what was asked.
    async fn weigh(&mut self, asked: u64) -> anyhow::Result<()> {
        let status = self.service.status().await?;
        let snapshot = self.load.snapshot().await?;
        let settled = status.phase == Some(PhaseName::Stable);
        let revision = if settled {
            status.stable_revision
        } else {
            status.candidate_revision
        };
        let live = snapshot
            .pointer(&format!("/revisions/{}", revision.unwrap_or_default()))
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        let connected = snapshot
            .pointer("/connected")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        let share = if connected > 0.0 {
            (1_000.0 * live / connected).round() / 10.0
        } else {
            0.0
        };
        let routed = if settled {
            Some(100)
        } else {
            status.weights.and_then(|weights| weights.routed)
        };
        self.weights
            .push(json!({"asked": asked, "routed": routed.unwrap_or(0), "live": share}));
        self.screen
            .say(&format!("asked {asked} %, live {share} % of {connected} clients"));
        Ok(())
    }

    async fn picture(&self, status: &RolloutStatus, snapshot: &Value) -> anyhow::Result<Picture> {
        let pods = self.service.cluster.client.clone();
        let deployments: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
            kube::Api::namespaced(pods, "demo");
        let list = deployments.list(&kube::api::ListParams::default()).await?;
        let mut branches = Vec::new();
        for (revision, version) in &self.versions {
            let name = format!("{NAME}-{revision}");
            let Some(found) = list
                .items
                .iter()
                .find(|found| found.metadata.name.as_deref() == Some(&name))
            else {
                continue;
            };
            let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            let ready = found
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0);
            let clients = snapshot
                .pointer(&format!("/revisions/{revision}"))
                .and_then(Value::as_u64)
                .unwrap_or(0);
            if wanted == 0 && ready == 0 && clients == 0 {
                continue;
            }
            let role = if status.stable_revision.as_ref() == Some(revision) {
                "stable"
            } else if status.candidate_revision.as_ref() == Some(revision) {
                "candidate"
            } else {
                "leaving"
            };
            let number = |count: i32| u32::try_from(count).unwrap_or(0);
            branches.push(Branch {
                version: version.clone(),
                revision: revision.clone(),
                role: role.to_owned(),
                pods: (number(ready), number(wanted.max(ready))),
                clients,
            });
        }
        let phase = status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default();
        let percent = |value: Option<i32>| value.map_or_else(|| "?".to_owned(), |value| format!("{value} %"));
        let weights = status.weights.as_ref().map(|weights| {
            format!(
                "asked {} routed {} live {}",
                percent(weights.desired),
                percent(weights.routed),
                percent(weights.live)
            )
        });
        Ok(Picture {
            title: self.title.clone(),
            phase: format!("{phase} {}", status.step.as_deref().unwrap_or_default())
                .trim()
                .to_owned(),
            weights: weights.unwrap_or_default(),
            message: status.message.clone().unwrap_or_default(),
            branches,
            clients: snapshot
                .pointer("/connected")
                .and_then(Value::as_u64)
                .unwrap_or(0),
            disconnects: snapshot
                .pointer("/disconnects")
                .and_then(Value::as_u64)
                .unwrap_or(0),
        })
    }
}

fn promoted(status: &RolloutStatus, old: &str) -> bool {
    status.phase == Some(PhaseName::Stable) && status.stable_revision.as_deref() != Some(old)
}

fn close(reports: &mut Vec<Value>, weights: &mut Vec<Value>, mut report: Value) {
    report["weights"] = Value::Array(std::mem::take(weights));
    reports.push(report);
}
