//! Rows of numbers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// One number of one subject.
#[derive(Clone, Debug)]
pub struct Row {
    /// `crdt`, `wire` or `fan-out`.
    pub bench: String,
    /// Whose number it is; ours is `pointsman`.
    pub subject: String,
    pub metric: String,
    pub value: f64,
    pub unit: String,
    /// `lower` or `higher`.
    pub better: String,
}

/// Where the numbers go.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench")
}

/// One line a metric, one column a subject.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let (mut metrics, mut subjects) = (Vec::<&Row>::new(), Vec::<&str>::new());
    for row in rows {
        if !metrics.iter().any(|seen| seen.metric == row.metric) {
            metrics.push(row);
        }
        if !subjects.contains(&row.subject.as_str()) {
            subjects.push(&row.subject);
        }
    }
    let mut text = format!("{:<46}", "");
    for subject in &subjects {
        write!(text, " {subject:>12}").expect("text");
    }
    for metric in metrics {
        let unit = &metric.unit;
        write!(text, "\n{:<46}", format!("{} [{unit}]", metric.metric)).expect("text");
        for subject in &subjects {
            let found = rows
                .iter()
                .find(|row| row.metric == metric.metric && row.subject == *subject);
            match found {
                Some(row) if row.value >= 100.0 => write!(text, " {:>12.0}", row.value),
                Some(row) => write!(text, " {:>12.2}", row.value),
                None => write!(text, " {:>12}", "-"),
            }
            .expect("text");
        }
    }
    text
}

/// Writes `target/bench/<name>.json`.
pub fn write(name: &str, rows: &[Row]) -> std::io::Result<()> {
    let rows = rows.iter().map(|row| {
        json!({
            "bench": row.bench, "subject": row.subject, "metric": row.metric, "value": row.value, "unit": row.unit,
            "better": row.better,
        })
    });
    std::fs::create_dir_all(folder())?;
    let json = Value::Array(rows.collect());
    std::fs::write(folder().join(format!("{name}.json")), format!("{json}\n"))
}

/// Reads what another bench of the same run wrote; none when it was not run.
#[must_use]
pub fn read(name: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap_or_default();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    rows.iter().filter_map(row).collect()
}

fn row(json: &Value) -> Option<Row> {
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Row {
        bench: text("bench")?,
        subject: text("subject")?,
        metric: text("metric")?,
        value: json.get("value").and_then(Value::as_f64)?,
        unit: text("unit")?,
        better: text("better")?,
    })
}
