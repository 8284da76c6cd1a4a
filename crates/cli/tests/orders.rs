//! Orders against an API server that plays a script: what is asked, in what order, and what is made of the answers.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use pointsman_cli::arguments::DryRun;
use pointsman_cli::cluster::Cluster;
use pointsman_cli::error::Error;
use pointsman_cli::intent;
use serde_json::{Value, json};

/// What was asked: method, path with query, kind of patch, body.
type Asked = (String, String, String, Value);

/// A cluster that gives these answers, one after the other, and what it was asked.
fn cluster(answers: Vec<(u16, Value)>) -> (Cluster, Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let seen = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let kind = head
                .headers
                .get("content-type")
                .map(|kind| kind.to_str().unwrap().to_owned());
            seen.lock().unwrap().push((
                head.method.to_string(),
                head.uri.to_string(),
                kind.unwrap_or_default(),
                serde_json::from_slice(&body).unwrap_or(Value::Null),
            ));
            let (code, answer) = answers
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or((500, json!("script is over")));
            let text = match answer {
                Value::String(text) => text,
                other => other.to_string(),
            };
            Ok::<_, std::convert::Infallible>(
                Response::builder()
                    .status(code)
                    .body(Body::from(text.into_bytes()))
                    .unwrap(),
            )
        }
    });
    let cluster = Cluster {
        client: Client::new(service, "shop"),
        server: "https://script".to_owned(),
        namespace: "shop".to_owned(),
    };
    (cluster, asked)
}

fn rollout(version: &str, phase: &str, step: i32) -> Value {
    json!({
        "apiVersion": "pointsman.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "chat", "namespace": "shop", "resourceVersion": version, "generation": 3},
        "spec": {"template": {"v": 2}, "strategy": {"canary": {"steps": [{"pause": {}}, {"pause": {}}]}}},
        "status": {"phase": phase, "stableRevision": "old", "candidateRevision": "new", "currentStep": step, "observedGeneration": 3},
    })
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
           "details": {"name": "chat", "kind": "rollouts"}})
}

fn promote(rollout: &pointsman_api::rollout::Rollout) -> Result<intent::Change, intent::Refusal> {
    intent::promote(rollout, false)
}

const PATH: &str = "/apis/pointsman.dev/v1alpha1/namespaces/shop/rollouts/chat";

#[tokio::test]
async fn a_promotion_is_one_read_and_one_patch() {
    let (cluster, asked) = cluster(vec![
        (200, rollout("7", "Stepping", 0)),
        (200, rollout("8", "Stepping", 0)),
    ]);
    let (change, after) = cluster.change("chat", DryRun::None, promote).await.unwrap();
    assert_eq!(
        change.said,
        "revision new goes past step 1 of 2 (pause until promoted)"
    );
    assert_eq!(after.metadata.resource_version.as_deref(), Some("8"));
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].0.as_str(), asked[0].1.as_str()), ("GET", PATH));
    assert_eq!(
        asked[1],
        (
            "PATCH".to_owned(),
            format!("{PATH}?&fieldManager=kubectl-pointsman"),
            "application/merge-patch+json".to_owned(),
            json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"promotion": {"revision": "new", "through": "step", "step": 0}},
            })
        )
    );
}

#[tokio::test]
async fn a_lost_race_is_decided_anew_on_what_is_there_then() {
    let conflict = status(409, "Conflict", "the object has been modified");
    let (cluster, asked) = cluster(vec![
        (200, rollout("7", "Stepping", 0)),
        (409, conflict),
        (200, rollout("9", "Stepping", 1)),
        (200, rollout("10", "Stepping", 1)),
    ]);
    cluster.change("chat", DryRun::None, promote).await.unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked[3].3["metadata"]["resourceVersion"], "9");
    assert_eq!(asked[3].3["spec"]["promotion"]["step"], 1);
}

#[tokio::test]
async fn a_lost_race_may_end_in_a_refusal() {
    let conflict = status(409, "Conflict", "the object has been modified");
    let (cluster, asked) = cluster(vec![
        (200, rollout("7", "Stepping", 0)),
        (409, conflict),
        (200, rollout("9", "Stable", 0)),
    ]);
    let error = cluster.change("chat", DryRun::None, promote).await.unwrap_err();
    assert_eq!(error.line(), "rollout chat is Stable; nothing to promote");
    assert_eq!(asked.lock().unwrap().len(), 3, "nothing is written");
}

#[tokio::test]
async fn races_are_not_run_for_ever() {
    let round = || {
        [
            (200, rollout("7", "Stepping", 0)),
            (409, status(409, "Conflict", "the object has been modified")),
        ]
    };
    let (cluster, asked) = cluster((0..20).flat_map(|_| round()).collect());
    let error = cluster.change("chat", DryRun::None, promote).await.unwrap_err();
    assert!(matches!(error, Error::Contended { tries: 5, .. }), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn a_dry_run_asks_the_server_and_keeps_nothing() {
    let (cluster, asked) = cluster(vec![
        (200, rollout("7", "Stepping", 0)),
        (200, rollout("7", "Stepping", 0)),
    ]);
    cluster.change("chat", DryRun::Server, promote).await.unwrap();
    assert_eq!(
        asked.lock().unwrap()[1].1,
        format!("{PATH}?&dryRun=All&fieldManager=kubectl-pointsman")
    );
}

#[tokio::test]
async fn an_undo_replaces_the_template_on_the_version_that_was_read() {
    let past = [intent::Past {
        revision: "old".to_owned(),
        ordinal: 1,
        served: true,
        template: Some(json!({"v": 1})),
    }];
    let (cluster, asked) = cluster(vec![
        (200, rollout("7", "Stepping", 0)),
        (409, status(409, "Conflict", "the object has been modified")),
        (200, rollout("9", "Stepping", 0)),
        (200, rollout("10", "Stepping", 0)),
    ]);
    let (change, _) = cluster
        .change("chat", DryRun::None, |rollout| intent::undo(rollout, &past, None))
        .await
        .unwrap();
    assert_eq!(change.ends_with.as_deref(), Some("old"));
    let asked = asked.lock().unwrap();
    assert_eq!(asked[3].2, "application/json-patch+json");
    assert_eq!(
        asked[3].3,
        json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": "9"},
            {"op": "replace", "path": "/spec/template", "value": {"v": 1}},
        ])
    );
}

#[tokio::test]
async fn a_broken_rule_and_a_missing_right_are_said_in_one_line() {
    for (code, said, expected) in [
        (
            422,
            "spec.promotion: set it",
            "the API server refused: spec.promotion: set it",
        ),
        (
            403,
            "rollouts.pointsman.dev \"chat\" is forbidden: User \"eve\" cannot patch resource \"rollouts\" in API group \
             \"pointsman.dev\" in the namespace \"shop\"",
            "not allowed: eve needs the verb patch on rollouts.pointsman.dev in namespace shop",
        ),
    ] {
        let (cluster, asked) = cluster(vec![
            (200, rollout("7", "Stepping", 0)),
            (code, status(code, "", said)),
        ]);
        let error = cluster.change("chat", DryRun::None, promote).await.unwrap_err();
        assert_eq!(error.line(), expected);
        assert_eq!(asked.lock().unwrap().len(), 2, "it is not tried again");
    }
}

#[tokio::test]
async fn a_name_that_is_not_there_finds_its_like_or_its_place() {
    let missing = || {
        (
            404,
            status(404, "NotFound", "rollouts.pointsman.dev \"chat\" not found"),
        )
    };
    let list = |names: &[(&str, &str)]| {
        let items: Vec<Value> = names
            .iter()
            .map(|(namespace, name)| json!({"metadata": {"name": name, "namespace": namespace}}))
            .collect();
        (
            200,
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items}),
        )
    };
    let (near, _) = cluster(vec![missing(), list(&[("shop", "chats"), ("shop", "billing")])]);
    assert_eq!(
        near.rollout("chat").await.unwrap_err().line(),
        "rollout chat is not in namespace shop; did you mean chats?"
    );
    let (far, _) = cluster(vec![missing(), list(&[]), list(&[("lounge", "chat")])]);
    assert_eq!(
        far.rollout("chat").await.unwrap_err().line(),
        "rollout chat is not in namespace shop; there is one with -n lounge"
    );
    let (none, _) = cluster(vec![missing(), list(&[]), list(&[])]);
    assert!(
        none.rollout("chat")
            .await
            .unwrap_err()
            .line()
            .ends_with("kubectl pointsman list -n shop")
    );
}

#[tokio::test]
async fn a_cluster_without_the_definitions_is_told_from_one_without_the_rollout() {
    let page = || (404, json!("404 page not found"));
    let (cluster, _) = cluster(vec![page(), page()]);
    let error = cluster.rollout("chat").await.unwrap_err();
    assert!(matches!(error, Error::NoDefinition), "{error}");
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let page = |name: &str, token: Value| {
        (
            200,
            json!({"kind": "RolloutList", "apiVersion": "pointsman.dev/v1alpha1", "metadata": {"continue": token},
                     "items": [{"apiVersion": "pointsman.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": {"later": true}}]}),
        )
    };
    let (cluster, asked) = cluster(vec![page("one", json!("next")), page("two", Value::Null)]);
    let found = cluster.list(true, Some("app=chat")).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[1].data["spec"]["later"], true,
        "fields that are not known are kept"
    );
    let asked = asked.lock().unwrap();
    assert_eq!(
        asked[1].1,
        "/apis/pointsman.dev/v1alpha1/rollouts?&labelSelector=app%3Dchat&limit=500&continue=next"
    );
}
