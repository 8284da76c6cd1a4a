//! Logs and metrics. One registry, made here and passed down.

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tracing_subscriber::EnvFilter;

/// Sends logs to standard error, filtered by `RUST_LOG`, as JSON unless somebody looks at a terminal.
pub fn logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        logs.init();
    } else {
        logs.json().flatten_event(true).init();
    }
}

/// Every metric of the operator.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What is scraped.
    pub registry: Registry,
    /// Requests to the API server by verb and resource.
    pub api_requests: IntCounterVec,
    /// Length of reconciles in seconds by controller.
    pub reconcile_seconds: HistogramVec,
    /// Failed reconciles by controller and category.
    pub reconcile_errors: IntCounterVec,
    /// Statuses that somebody else had changed meanwhile.
    pub status_conflicts: IntCounter,
    /// 1 while this replica leads.
    pub leader: IntGauge,
    /// 1 for the phase that a rollout is in.
    pub phase: IntGaugeVec,
    /// Share of the candidate in percent by kind: desired, routed, live.
    pub weight: IntGaugeVec,
    /// Live sessions by revision's role, as last counted.
    pub sessions: IntGaugeVec,
    /// What happened to rollouts, by reason.
    pub notes: IntCounterVec,
    /// Drain orders sent to pods by outcome.
    pub drain_orders: IntCounterVec,
}

impl Metrics {
    /// Registers everything. Fails only when two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let reconcile_seconds = HistogramVec::new(
            HistogramOpts::new("pointsman_reconcile_seconds", "Length of reconciles.").buckets(vec![
                0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0,
            ]),
            &["controller"],
        )?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        let status_conflicts = IntCounter::new(
            "pointsman_status_conflicts_total",
            "Statuses that somebody else had changed meanwhile.",
        )?;
        registry.register(Box::new(status_conflicts.clone()))?;
        let leader = IntGauge::new("pointsman_leader", "1 while this replica leads.")?;
        registry.register(Box::new(leader.clone()))?;
        // Memory, CPU and file descriptors of this process, where the system tells them.
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = Gauge::with_opts(
            Opts::new("pointsman_build_info", "Always 1.").const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1.0);
        registry.register(Box::new(build))?;
        let rollout = ["namespace", "rollout"];
        Ok(Self {
            api_requests: counters(
                "pointsman_api_requests_total",
                "Requests to the API server.",
                &["verb", "resource"],
            )?,
            reconcile_seconds,
            reconcile_errors: counters(
                "pointsman_reconcile_errors_total",
                "Failed reconciles.",
                &["controller", "category"],
            )?,
            status_conflicts,
            leader,
            phase: gauges(
                "pointsman_rollout_phase",
                "1 for the phase that a rollout is in.",
                &[rollout[0], rollout[1], "phase"],
            )?,
            weight: gauges(
                "pointsman_rollout_weight_percent",
                "Share of the candidate: desired, routed, live.",
                &[rollout[0], rollout[1], "kind"],
            )?,
            sessions: gauges(
                "pointsman_rollout_sessions",
                "Live sessions as last counted.",
                &[rollout[0], rollout[1], "role"],
            )?,
            notes: counters(
                "pointsman_rollout_notes_total",
                "What happened to rollouts.",
                &["reason"],
            )?,
            drain_orders: counters(
                "pointsman_drain_orders_total",
                "Drain orders sent to pods.",
                &["outcome"],
            )?,
            registry,
        })
    }
}
