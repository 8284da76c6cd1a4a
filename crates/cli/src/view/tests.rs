use super::*;
use crate::paint::{Line, Paint};
use pointsman_api::rollout::{Memory, RetiredRevision, StageName, Weights};
use serde_json::json;

const OBJECTS: &str = include_str!("tests/family.yaml");

/// A canary at an open pause: its candidate crashes.
pub(crate) fn family() -> Family {
    let mut family = Family::default();
    for document in serde_norway::Deserializer::from_str(OBJECTS) {
        let value: serde_json::Value = serde::Deserialize::deserialize(document).unwrap();
        match value["kind"].as_str().unwrap() {
            "Rollout" => family.rollout = serde_json::from_value(value).unwrap(),
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

fn now_ms() -> i64 {
    now().as_millisecond()
}

fn with(edit: impl FnOnce(&mut RolloutStatus)) -> Family {
    let mut family = family();
    edit(family.rollout.status.as_mut().unwrap());
    family
}

fn text(family: &Family) -> String {
    let lines: Vec<String> = tree(family, now())
        .iter()
        .map(|line: &Line| line.render(Paint::default(), None))
        .collect();
    format!("{}\n", lines.join("\n"))
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
    golden("tree", &text(&family()));
}

#[test]
fn colour_only_adds_to_the_marks_and_words() {
    let coloured: Vec<String> = tree(&family(), now())
        .iter()
        .map(|line| line.render(Paint::ON, None))
        .collect();
    let coloured = coloured.join("\n") + "\n";
    assert!(coloured.contains("\x1b[1;31m✗\x1b[0m"), "{coloured}");
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, text(&family()));
}

#[test]
fn a_timed_pause_says_what_is_left() {
    let family = with(|status| {
        status.step = Some("4/4".to_owned());
        status.current_step = Some(3);
        status.message = Some("step 4 of 4: pause of 10m, 9m30s left".to_owned());
        status.memory = Some(Memory {
            since_ms: Some(now_ms() - 30_000),
            stage: Some(StageName::Moving),
            attempt: Some(2),
            ..Memory::default()
        });
    });
    golden("pause", &text(&family));
}

#[test]
fn an_aborted_revision_keeps_its_mark_while_an_older_one_empties() {
    let family = with(|status| {
        status.phase = Some(PhaseName::Aborted);
        status.step = None;
        status.weights = None;
        status.message = Some("revision a6hb76kwpz was aborted: too slow".to_owned());
        status.sessions = Some(pointsman_api::rollout::SessionCounts {
            stable: Some(200),
            ..Default::default()
        });
        status.memory = Some(Memory {
            retired: vec![RetiredRevision {
                revision: "a2fm4kt7rd".to_owned(),
                ..RetiredRevision::default()
            }],
            ..Memory::default()
        });
    });
    let mut family = family;
    family.deployments[2].spec.as_mut().unwrap().replicas = Some(2);
    golden("aborted", &text(&family));
}

#[test]
fn a_blue_green_shows_its_preview_and_its_switch() {
    let mut family = with(|status| {
        status.phase = Some(PhaseName::Previewing);
        status.strategy = Some("blueGreen".to_owned());
        status.step = None;
        status.message = Some("preview is ready; switch with kubectl pointsman promote".to_owned());
        status.weights = Some(Weights {
            desired: Some(0),
            ..Weights::default()
        });
        status.sessions = None;
        status.memory = Some(Memory {
            ready: Some(true),
            ..Memory::default()
        });
    });
    family.rollout.spec.strategy =
        serde_json::from_value(json!({"blueGreen": {"previewReplicas": 1, "scaleDownDelay": "2m"}})).unwrap();
    golden("preview", &text(&family));
}

#[test]
fn nothing_is_made_up_before_the_first_look() {
    let mut family = family();
    family.rollout.status = None;
    family.deployments.clear();
    family.pods.clear();
    family.notes = vec!["eve needs the verb list on pods in namespace shop".to_owned()];
    golden("pending", &text(&family));
}

#[test]
fn rollouts_are_a_table() {
    let family = family();
    let mut behind = family.rollout.clone();
    behind.metadata.name = Some("billing".to_owned());
    behind.status = None;
    let rollouts = [behind, family.rollout.clone()];
    let children = Some(family.deployments.as_slice());
    let text = format!(
        "{}\n\n{}\n\n{}\n",
        list(&rollouts, children, false, false, now()),
        list(&rollouts, children, true, true, now()),
        list(&rollouts, None, false, false, now()),
    );
    golden("list", &text);
}

#[test]
fn the_past_is_a_table() {
    golden("history", &format!("{}\n", history(&family(), now())));
    let past = past(&family().deployments);
    assert_eq!(past[0].template, Some(json!({"spec": {}})));
    assert!(past[0].served && !past[1].served);
}

#[test]
fn a_change_is_a_line_and_running_numbers_are_none() {
    let rollout = |message: &str, live: i32| {
        with(|status| {
            status.message = Some(message.to_owned());
            status.weights.as_mut().unwrap().live = Some(live);
        })
        .rollout
    };
    let first = rollout(
        "step 2 of 4: moving sessions: 12 % of 20 % live (24 of 200), at most 2m more",
        12,
    );
    assert_eq!(
        line(&first),
        "Stepping 2/4  weight 20/20/12 %  step 2 of 4: moving sessions: 12 % of 20 % live (24 of 200), at most 2m more"
    );
    let later = rollout(
        "step 2 of 4: moving sessions: 12 % of 20 % live (25 of 200), at most 1m59s more",
        12,
    );
    assert_eq!(gist(&first), gist(&later));
    assert_ne!(gist(&first), gist(&rollout("step 2 of 4: moving sessions", 13)));
    assert_ne!(gist(&first), gist(&rollout("paused by spec.paused", 12)));
}
