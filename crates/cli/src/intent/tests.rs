use super::*;
use pointsman_api::rollout::{Abort, Memory, Promotion, Retry};

fn rollout(phase: PhaseName) -> Rollout {
    let spec = json!({"strategy": {"canary": {"steps": [
        {"setWeight": {"percent": 20, "of": "sessions"}}, {"pause": {}}, {"pause": {"duration": "10m"}}, {"setWeight": {"percent": 50}},
    ]}}});
    let mut rollout = Rollout::new("chat", serde_json::from_value(spec).unwrap());
    rollout.metadata.resource_version = Some("7".to_owned());
    rollout.status = Some(RolloutStatus {
        phase: Some(phase),
        stable_revision: Some("old".to_owned()),
        candidate_revision: Some("new".to_owned()),
        current_step: Some(1),
        steps_total: Some(4),
        memory: Some(Memory {
            attempt: Some(1),
            ..Memory::default()
        }),
        ..RolloutStatus::default()
    });
    rollout
}

fn at(step: i32) -> Rollout {
    let mut rollout = rollout(PhaseName::Stepping);
    rollout.status.as_mut().unwrap().current_step = Some(step);
    rollout
}

fn merged(change: Result<Change, Refusal>) -> Value {
    match change.unwrap().edit {
        Edit::Merge(value) => value,
        Edit::Operations(_) => panic!("not a merge patch"),
    }
}

fn refused(change: Result<Change, Refusal>) -> String {
    change.unwrap_err().to_string()
}

#[test]
fn a_promotion_is_fenced_by_revision_step_and_version() {
    let change = promote(&at(1), false);
    assert_eq!(
        change.as_ref().unwrap().said,
        "revision new goes past step 2 of 4 (pause until promoted)"
    );
    assert_eq!(
        merged(change),
        json!({"metadata": {"resourceVersion": "7"}, "spec": {"promotion": {"revision": "new", "through": "step", "step": 1}}})
    );
    let full = json!({"metadata": {"resourceVersion": "7"}, "spec": {"promotion": {"revision": "new", "through": "full", "step": null}}});
    assert_eq!(merged(promote(&at(0), true)), full);
    assert_eq!(merged(promote(&rollout(PhaseName::Previewing), false)), full);
}

#[test]
fn a_weight_needs_no_promotion() {
    assert_eq!(
        refused(promote(&at(0), false)),
        "rollout chat is Stepping; step 1 of 4 (weight 20 % of sessions) goes on by itself when it is done; --full promotes to the end"
    );
}

#[test]
fn an_order_that_is_in_the_spec_is_not_given_again() {
    let order = |through, step| {
        let mut rollout = at(1);
        rollout.spec.promotion = Some(Promotion {
            revision: "new".to_owned(),
            through,
            step,
        });
        rollout
    };
    assert!(refused(promote(&order(Through::Step, Some(1)), false)).contains("already"));
    assert!(promote(&order(Through::Step, Some(0)), false).is_ok());
    assert!(promote(&order(Through::Step, Some(1)), true).is_ok());
    assert!(refused(promote(&order(Through::Full, None), true)).contains("already"));
    let mut aborted = at(1);
    aborted.spec.abort = Some(Abort {
        revision: "new".to_owned(),
        reason: String::new(),
    });
    assert!(refused(abort(&aborted, None)).contains("already"));
    let mut retried = rollout(PhaseName::Aborted);
    retried.spec.retry = Some(Retry {
        revision: "new".to_owned(),
        attempt: 2,
    });
    assert!(refused(retry(&retried)).contains("already"));
}

#[test]
fn an_abort_names_the_revision_and_the_reason() {
    assert_eq!(
        merged(abort(&at(1), Some("too slow"))),
        json!({"metadata": {"resourceVersion": "7"}, "spec": {"abort": {"revision": "new", "reason": "too slow"}}})
    );
    assert_eq!(
        merged(abort(&rollout(PhaseName::Promoting), None)),
        json!({"metadata": {"resourceVersion": "7"}, "spec": {"abort": {"revision": "new", "reason": null}}})
    );
}

#[test]
fn a_retry_takes_orders_out_that_would_act_again() {
    assert_eq!(
        merged(retry(&rollout(PhaseName::Aborted))),
        json!({"metadata": {"resourceVersion": "7"}, "spec": {
            "retry": {"revision": "new", "attempt": 2}, "abort": null, "promotion": null,
        }})
    );
    let mut blocked = rollout(PhaseName::Aborted);
    blocked.spec.retry = Some(Retry {
        revision: "new".to_owned(),
        attempt: 2,
    });
    blocked.spec.abort = Some(Abort {
        revision: "new".to_owned(),
        reason: String::new(),
    });
    assert!(retry(&blocked).is_ok(), "only taking spec.abort out lets it act");
}

#[test]
fn what_cannot_be_done_is_refused_with_what_can() {
    assert_eq!(
        refused(promote(&rollout(PhaseName::Stable), false)),
        "rollout chat is Stable; nothing to promote"
    );
    for (said, part) in [
        (refused(abort(&rollout(PhaseName::Stable), None)), "undo"),
        (refused(abort(&rollout(PhaseName::Aborting), None)), "already"),
        (
            refused(abort(&rollout(PhaseName::Initializing), None)),
            "change the spec",
        ),
        (refused(promote(&rollout(PhaseName::Promoting), true)), "already"),
        (refused(promote(&rollout(PhaseName::Aborted), false)), "retry"),
        (refused(retry(&rollout(PhaseName::Stepping))), "only an aborted"),
        (refused(pause(&rollout(PhaseName::Stepping), false)), "promote"),
    ] {
        assert!(said.contains(part), "{said}");
    }
    let mut paused = at(1);
    paused.spec.paused = Some(true);
    assert!(refused(promote(&paused, false)).contains("resume"));
    assert!(abort(&paused, None).is_ok(), "a way back is never held up");
    let mut new = rollout(PhaseName::Stable);
    new.metadata.generation = Some(2);
    assert!(refused(promote(&new, false)).contains("not seen the last change"));
    new.status = None;
    assert!(refused(promote(&new, false)).contains("is the operator running?"));
}

#[test]
fn a_pause_of_everything_is_one_field() {
    assert_eq!(
        merged(pause(&at(0), true)),
        json!({"metadata": {"resourceVersion": "7"}, "spec": {"paused": true}})
    );
}

fn past() -> Vec<Past> {
    [
        ("first", 1, true),
        ("second", 2, true),
        ("failed", 3, false),
        ("old", 4, true),
        ("new", 5, false),
    ]
    .map(|(revision, ordinal, served)| Past {
        revision: revision.to_owned(),
        ordinal,
        served,
        template: Some(json!({"of": revision})),
    })
    .to_vec()
}

#[test]
fn undo_takes_the_newest_before_the_stable_one_or_the_stable_one_while_on_the_way() {
    let target = |phase, to| undo(&rollout(phase), &past(), to).map(|change| change.ends_with.unwrap());
    assert_eq!(target(PhaseName::Stable, None).unwrap(), "second");
    assert_eq!(target(PhaseName::Stepping, None).unwrap(), "old");
    assert_eq!(target(PhaseName::Aborted, None).unwrap(), "old");
    assert_eq!(target(PhaseName::Stable, Some("1")).unwrap(), "first");
    assert_eq!(target(PhaseName::Stable, Some("failed")).unwrap(), "failed");
    for (to, part) in [("9", "1, 2, 3, 4, 5"), ("old", "serves already")] {
        let said = target(PhaseName::Stable, Some(to)).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
    let alone = past().split_off(3);
    let said = undo(&rollout(PhaseName::Stable), &alone, None)
        .unwrap_err()
        .to_string();
    assert!(said.contains("no earlier revision"), "{said}");
}

#[test]
fn undo_replaces_the_template_and_takes_out_orders_that_name_it() {
    let mut rollout = rollout(PhaseName::Stable);
    rollout.spec.abort = Some(Abort {
        revision: "second".to_owned(),
        reason: String::new(),
    });
    rollout.spec.promotion = Some(Promotion {
        revision: "old".to_owned(),
        through: Through::Full,
        step: None,
    });
    assert_eq!(
        undo(&rollout, &past(), None).unwrap().edit,
        Edit::Operations(json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "replace", "path": "/spec/template", "value": {"of": "second"}},
            {"op": "remove", "path": "/spec/abort"},
        ]))
    );
}

#[test]
fn undo_refuses_what_it_cannot_put_back() {
    let mut referring = rollout(PhaseName::Stable);
    referring.spec.workload_ref = Some(pointsman_api::rollout::WorkloadRef {
        name: "backend".to_owned(),
        ..Default::default()
    });
    assert!(refused(undo(&referring, &past(), None)).contains("kubectl rollout undo deployment/backend"));
    let mut forgotten = past();
    forgotten.iter_mut().for_each(|past| past.template = None);
    assert!(refused(undo(&rollout(PhaseName::Stable), &forgotten, None)).contains("was not kept"));
    let mut same = rollout(PhaseName::Aborting);
    same.spec.template = Some(json!({"of": "old"}));
    assert!(refused(undo(&same, &past(), None)).contains("already"));
}
