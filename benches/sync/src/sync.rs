//! The service beside the servers of others: the same clients for each, in one run. Prints one table, with what the
//! other benches of the run wrote, and writes `target/bench/sync.json`.
//!
//! `bench-sync [--only NAME] [--subscribers N] [--seconds N] [--rounds N] [--idle N]`

mod crowd;
mod dialect;
mod fan_out;
mod memory;
mod server;

use anyhow::{Context as _, Result, bail};
use fan_out::Cost;
use pointsman_bench_sync::table::{self, Row};
use server::Subject;

/// How much is measured.
pub struct Plan {
    only: Option<String>,
    subscribers: usize,
    /// Of each pace and burst.
    seconds: u64,
    rounds: usize,
    idle: usize,
}

impl Plan {
    fn read() -> Result<Self> {
        let mut plan = Self {
            only: None,
            subscribers: 500,
            seconds: 5,
            rounds: 5,
            idle: 10_000,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{name}: give a value"))?;
            match name.as_str() {
                "--only" => plan.only = Some(value),
                "--subscribers" => plan.subscribers = value.parse().context(name)?,
                "--seconds" => plan.seconds = value.parse().context(name)?,
                "--rounds" => plan.rounds = value.parse().context(name)?,
                "--idle" => plan.idle = value.parse().context(name)?,
                _ => bail!(
                    "{name} is no option; there are --only, --subscribers, --seconds, --rounds and --idle"
                ),
            }
        }
        Ok(plan)
    }

    fn subjects(&self) -> Vec<Subject> {
        let wanted = |subject: &Subject| self.only.as_deref().is_none_or(|only| only == subject.name());
        Subject::ALL.into_iter().filter(wanted).collect()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let plan = Plan::read()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the machine before: {}", load.trim());
    let mut rows = fan_out_rows(&plan).await?;
    if plan.idle > 0 {
        for subject in plan.subjects() {
            let measured = memory::measure(subject, plan.idle).await;
            let bytes = measured.with_context(|| format!("{}: memory", subject.name()))?;
            for (metric, bytes) in [
                "memory per idle connection",
                "memory per connection, document open",
            ]
            .iter()
            .zip(bytes)
            {
                rows.push(row("memory", subject, metric, bytes, "B", "lower"));
            }
        }
    }
    let of_others = table::read("crdt")
        .into_iter()
        .chain(table::read("wire"))
        .map(as_column);
    rows.extend(of_others);
    table::write("sync", &rows)?;
    // What it takes to read and write a packet is in wire.json; here are their sizes.
    let shown = rows
        .iter()
        .filter(|row| row.bench != "wire" || row.unit == "bytes");
    println!("{}", table::table(&shown.cloned().collect::<Vec<_>>()));
    goals(&rows);
    Ok(())
}

fn row(bench: &str, subject: Subject, metric: &str, value: f64, unit: &str, better: &str) -> Row {
    Row {
        bench: bench.to_owned(),
        subject: subject.name().to_owned(),
        metric: metric.to_owned(),
        value,
        unit: unit.to_owned(),
        better: better.to_owned(),
    }
}

/// Packets of Metacom's dialect are another column than ours.
fn as_column(mut row: Row) -> Row {
    if row.bench == "wire" {
        for (dialect, subject) in [
            ("binary", "pointsman"),
            ("metacom-integer", "metacom"),
            ("metacom-text", "metacom-text"),
        ] {
            let part = format!(", {dialect}, ");
            if let Some((packet, what)) = row.metric.split_once(part.as_str()) {
                let metric = format!("packet {packet}, {what}");
                row.subject = subject.to_owned();
                row.metric = metric;
                break;
            }
        }
    }
    row
}

/// Rounds are interleaved, so that what disturbs the machine disturbs all; each number is the median.
async fn fan_out_rows(plan: &Plan) -> Result<Vec<Row>> {
    let subjects = plan.subjects();
    let mut costs: Vec<Vec<[Cost; 2]>> = vec![Vec::new(); subjects.len()];
    for round in 1..=plan.rounds {
        for (subject, costs) in subjects.iter().zip(&mut costs) {
            let measured = fan_out::measure(*subject, plan).await;
            let cost = measured.with_context(|| format!("{}: fan-out", subject.name()))?;
            let [paced, burst] = &cost;
            println!(
                "round {round}: {:<12} paced {:>6.2} µs, burst {:>6.2} µs a delivery; {:>9.0} deliveries/s, {:.1} in a \
                 message; the load generator used {:.2} cores",
                subject.name(),
                paced.cpu_us_per_delivery,
                burst.cpu_us_per_delivery,
                burst.deliveries_per_second,
                burst.deliveries_per_message,
                burst.generator_cores,
            );
            costs.push(cost);
        }
    }
    let mut rows = Vec::new();
    for (subject, costs) in subjects.iter().zip(&costs) {
        if costs.is_empty() {
            continue;
        }
        let mut push = |metric: &str, unit: &str, better: &str, of: fn(&[Cost; 2]) -> f64| {
            let value = median(costs.iter().map(of).collect());
            rows.push(row("fan-out", *subject, metric, value, unit, better));
        };
        push("fan-out paced, CPU per delivery", "µs", "lower", |[paced, _]| {
            paced.cpu_us_per_delivery
        });
        push("fan-out burst, CPU per delivery", "µs", "lower", |[_, burst]| {
            burst.cpu_us_per_delivery
        });
        push("fan-out burst, deliveries", "1/s", "higher", |[_, burst]| {
            burst.deliveries_per_second
        });
        push("fan-out paced, bytes per delivery", "B", "lower", |[paced, _]| {
            paced.bytes_per_delivery
        });
        push("fan-out burst, bytes per delivery", "B", "lower", |[_, burst]| {
            burst.bytes_per_delivery
        });
    }
    Ok(rows)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What we want to reach, and whether this run did.
fn goals(rows: &[Row]) {
    let goals = [
        ("merge alone, decoded before", "at least", 3e6),
        ("delta of a flip", "at most", 16.0),
        ("fan-out burst, CPU per delivery", "at most", 0.7),
        ("fan-out paced, CPU per delivery", "at most", 4.5),
        ("memory per idle connection", "at most", 10e3),
    ];
    for (metric, bound, goal) in goals {
        let ours = rows
            .iter()
            .find(|row| row.subject == "pointsman" && row.metric == metric);
        let Some(ours) = ours else { continue };
        let met = match bound {
            "at least" => ours.value >= goal,
            _ => ours.value <= goal,
        };
        let verdict = if met { "met" } else { "missed" };
        println!(
            "goal {verdict}: {metric} {bound} {goal} {}; here {:.2}",
            ours.unit, ours.value
        );
    }
}
