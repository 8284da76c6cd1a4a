use super::*;

const OBJECTS: &str = include_str!("tests/family.yaml");

fn family() -> Family {
    let mut family = Family::default();
    for document in serde_norway::Deserializer::from_str(OBJECTS) {
        let value: serde_json::Value = serde::Deserialize::deserialize(document).unwrap();
        match value["kind"].as_str().unwrap() {
            "Rollout" => family.rollout = Some(serde_json::from_value(value).unwrap()),
            "Deployment" => family.deployments.push(serde_json::from_value(value).unwrap()),
            "Pod" => family.pods.push(serde_json::from_value(value).unwrap()),
            other => panic!("{other}"),
        }
    }
    family
}

fn now() -> Timestamp {
    "2026-11-24T10:00:00Z".parse().unwrap()
}

/// Compares with a committed file; `POINTSMAN_BLESS=1` rewrites it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/src/view/tests/{name}.golden", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(&path).unwrap_or_default(),
        "{path}; make bless rewrites it"
    );
}

#[test]
fn a_rollout_is_a_tree() {
    golden(
        "tree",
        &format!("{}\n", tree(&family(), now(), Paint::default()).join("\n")),
    );
}

#[test]
fn rollouts_are_a_table() {
    let rollouts = [family().rollout.unwrap()];
    let text = format!(
        "{}\n\n{}\n",
        list(&rollouts, false, false, now()),
        list(&rollouts, true, true, now())
    );
    golden("list", &text);
}

#[test]
fn the_past_is_a_table() {
    golden("history", &format!("{}\n", history(&family(), now())));
}

#[test]
fn a_change_is_a_line() {
    golden("line", &format!("{}\n", line(&family().rollout.unwrap())));
}
