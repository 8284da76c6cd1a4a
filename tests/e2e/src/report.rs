//! The table of what happened to the clients, and the promises that it must keep.

use serde_json::Value;

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

fn name(report: &Value) -> &str {
    report.get("phase").and_then(Value::as_str).unwrap_or("?")
}

/// A row per phase.
#[must_use]
pub fn table(reports: &[Value]) -> String {
    let heads = [
        "phase",
        "seconds",
        "disconnects per client",
        "peak in 1 s",
        "gap ms",
        "failed",
        "moves",
        "writes",
        "writes",
        "asked → live %",
    ];
    let under = [
        "",
        "",
        "mean / p99 / max",
        "",
        "p50 / p99 / max",
        "handshakes",
        "back",
        "acknowledged",
        "lost",
        "",
    ];
    let mut rows = vec![heads.map(str::to_owned), under.map(str::to_owned)];
    rows.extend(reports.iter().map(row));
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |row: &[String; 10]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.insert(
        2,
        widths
            .iter()
            .map(|width| "─".repeat(*width))
            .collect::<Vec<_>>()
            .join("  "),
    );
    lines.join("\n")
}

fn row(report: &Value) -> [String; 10] {
    let weights = report
        .get("weights")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let weights: Vec<String> = weights
        .iter()
        .map(|weight| format!("{} → {}", number(weight, "/asked"), number(weight, "/live")))
        .collect();
    let three = |field: &str, first: &str, digits: usize| {
        format!(
            "{:.digits$} / {:.0} / {:.0}",
            number(report, &format!("{field}/{first}")),
            number(report, &format!("{field}/p99")),
            number(report, &format!("{field}/max"))
        )
    };
    [
        name(report).to_owned(),
        format!("{:.0}", number(report, "/seconds")),
        three("/disconnectsPerClient", "mean", 2),
        format!("{:.0}", number(report, "/peakDisconnectsPerSecond")),
        three("/gapMs", "p50", 0),
        format!("{:.0}", number(report, "/failedHandshakes")),
        format!("{:.0}", number(report, "/movesBack")),
        format!("{:.0}", number(report, "/writesAcknowledged")),
        format!("{:.0}", number(report, "/writesLost")),
        weights.join(", "),
    ]
}

/// What was promised and did not hold. The plain Deployment promises nothing.
#[must_use]
pub fn broken_promises(reports: &[Value]) -> Vec<String> {
    let mut broken = Vec::new();
    for report in reports.iter().filter(|report| name(report) != "plain-deployment") {
        let mut promise = |holds: bool, text: String| {
            if !holds {
                broken.push(format!("{}: {text}", name(report)));
            }
        };
        let clients = number(report, "/clients");
        let (max, mean) = (
            number(report, "/disconnectsPerClient/max"),
            number(report, "/disconnectsPerClient/mean"),
        );
        // Those who were moved onto a bad version are moved away from it again.
        let (most, on_average) = if name(report) == "bad-canary" {
            (2.0, 0.45)
        } else {
            (1.0, 1.0)
        };
        promise(max <= most, format!("{max} disconnects of one client"));
        promise(mean <= on_average, format!("{mean} disconnects per client"));
        let peak = number(report, "/peakDisconnectsPerSecond");
        promise(
            peak <= clients / 10.0,
            format!("{peak} disconnects in one second"),
        );
        for (field, what) in [
            ("/failedHandshakes", "failed handshakes"),
            ("/writesLost", "acknowledged writes lost"),
        ] {
            promise(
                number(report, field) == 0.0,
                format!("{} {what}", number(report, field)),
            );
        }
        if name(report) != "bad-canary" {
            promise(
                number(report, "/movesBack") == 0.0,
                format!("{} moves back", number(report, "/movesBack")),
            );
        }
        for weight in report
            .get("weights")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let (asked, live) = (number(weight, "/asked"), number(weight, "/live"));
            promise(
                (asked - live).abs() <= 2.0,
                format!("{live} % live of {asked} % asked"),
            );
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "phase": "canary", "clients": 200, "disconnectsPerClient": {"mean": 1.0, "p99": 1, "max": 1},
            "peakDisconnectsPerSecond": 15, "gapMs": {"p50": 0, "p99": 3, "max": 9}, "failedHandshakes": 0, "movesBack": 0,
            "writesAcknowledged": 9000, "writesLost": 0, "seconds": 40.2, "weights": [{"asked": 20, "routed": 20, "live": 20.5}],
        })
    }

    #[test]
    fn a_kept_promise_is_no_complaint_and_each_broken_one_is() {
        assert_eq!(broken_promises(&[report()]), Vec::<String>::new());
        for (field, value) in [
            ("/disconnectsPerClient/max", json!(2)),
            ("/peakDisconnectsPerSecond", json!(21)),
            ("/failedHandshakes", json!(1)),
            ("/movesBack", json!(1)),
            ("/writesLost", json!(1)),
            ("/weights/0/live", json!(23)),
        ] {
            let mut bad = report();
            *bad.pointer_mut(field).unwrap() = value;
            assert_eq!(broken_promises(&[bad]).len(), 1, "{field}");
        }
    }

    #[test]
    fn a_row_holds_the_numbers() {
        let table = table(&[report()]);
        assert!(
            table.contains("1.00 / 1 / 1") && table.contains("20 → 20.5"),
            "{table}"
        );
    }
}
