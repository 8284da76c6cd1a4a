//! One Deployment per revision. It is made once and afterwards only scaled: a later operator that would build the pods
//! of a revision differently must not restart them.

use k8s_openapi::api::apps::v1::Deployment;
use pointsman_api::labels;
use pointsman_core::rollout::Revision;
use serde_json::{Map, Value, json};

use super::Owner;
use crate::rollout::ports::Ports;

const VOLUME: &str = "pointsman-control";
/// Seconds that a pod has beyond its drain, to hand over its documents and end.
const AFTER_DRAIN_SECONDS: i64 = 15;
const GRACE_SECONDS_MAX: i64 = 3_600;

/// What a revision's workload is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Which revision.
    pub revision: &'a Revision,
    /// The pod template as its owner wrote it.
    pub template: &'a Value,
    /// Its ports.
    pub ports: &'a Ports,
    /// Place in the history, from 1.
    pub ordinal: u32,
    /// Pods at first.
    pub replicas: u32,
    /// How long a drain may take, when the pods implement the session contract.
    pub drain_deadline_ms: Option<i64>,
}

/// Builds the workload; the error says which part of the template is not a pod template.
pub fn build(owner: &Owner, parts: &Parts<'_>) -> Result<Deployment, serde_json::Error> {
    let mut metadata = owner.metadata(owner.child(parts.revision), Some(parts.revision));
    metadata.annotations = Some(
        [
            (labels::ORDINAL.to_owned(), parts.ordinal.to_string()),
            (labels::TEMPLATE.to_owned(), parts.template.to_string()),
            (labels::PORTS.to_owned(), serde_json::to_string(parts.ports)?),
        ]
        .into(),
    );
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": parts.replicas,
            "revisionHistoryLimit": 1,
            "selector": { "matchLabels": owner.selector(Some(parts.revision)) },
            "template": pods(owner, parts),
        },
    });
    serde_json::from_value(deployment)
}

/// The owner's template with our labels, and what the session contract needs.
fn pods(owner: &Owner, parts: &Parts<'_>) -> Value {
    let mut template = parts.template.clone();
    let mut ours = owner.selector(Some(parts.revision));
    ours.insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    let metadata = object(field(&mut template, "metadata"));
    let pod_labels = object(metadata.entry("labels").or_insert_with(|| json!({})));
    for (name, value) in ours {
        pod_labels.insert(name, Value::from(value));
    }
    let spec = object(field(&mut template, "spec"));
    let mut variables = vec![json!({"name": labels::REVISION_VARIABLE, "value": parts.revision.0})];
    if let Some(control) = parts.ports.control {
        let file = format!("{}/{}", labels::TOKEN_DIRECTORY, labels::TOKEN_FILE);
        let peers = format!("{}.{}.svc:{control}", owner.peers(), owner.namespace);
        variables.push(json!({"name": labels::PEERS_VARIABLE, "value": peers}));
        variables.push(json!({"name": labels::TOKEN_FILE_VARIABLE, "value": file}));
        let volume = json!({"name": VOLUME, "secret": {"secretName": owner.secret(), "defaultMode": 0o444}});
        list(spec, "volumes").push(volume);
        if let Some(deadline_ms) = parts.drain_deadline_ms {
            let seconds = (deadline_ms / 1_000)
                .saturating_add(AFTER_DRAIN_SECONDS)
                .min(GRACE_SECONDS_MAX);
            spec.entry("terminationGracePeriodSeconds")
                .or_insert_with(|| json!(seconds));
        }
    }
    for container in list(spec, "containers") {
        let container = object(container);
        if parts.ports.control.is_some() {
            let mount = json!({"name": VOLUME, "mountPath": labels::TOKEN_DIRECTORY, "readOnly": true});
            list(container, "volumeMounts").push(mount);
        }
        let given = list(container, "env");
        for variable in &variables {
            // What the owner sets himself, he keeps.
            if !given
                .iter()
                .any(|known| known.get("name") == variable.get("name"))
            {
                given.push(variable.clone());
            }
        }
    }
    template
}

fn field<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    object(value).entry(name.to_owned()).or_insert_with(|| json!({}))
}

/// What should be an object; anything else is replaced, and was refused before by the API server's own check.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("made an object above"),
    }
}

fn list<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let value = fields.entry(name.to_owned()).or_insert_with(|| json!([]));
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(items) => items,
        _ => unreachable!("made a list above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            name: "chat".to_owned(),
            namespace: "shop".to_owned(),
            uid: "u".to_owned(),
        }
    }

    fn built(template: &Value, control: Option<u16>) -> Value {
        let revision = Revision("a1".to_owned());
        let ports = Ports {
            main: 80,
            control,
            all: vec![("http".to_owned(), 80)],
        };
        let parts = Parts {
            revision: &revision,
            template,
            ports: &ports,
            ordinal: 3,
            replicas: 2,
            drain_deadline_ms: control.map(|_| 60_000),
        };
        serde_json::to_value(build(&owner(), &parts).unwrap()).unwrap()
    }

    #[test]
    fn pods_learn_revision_peers_and_token() {
        let template = json!({"metadata": {"labels": {"app": "chat"}}, "spec": {"containers": [{"name": "a", "env": [{"name": "POINTSMAN_REVISION", "value": "own"}]}]}});
        let made = built(&template, Some(8081));
        assert_eq!(made.pointer("/metadata/name").unwrap(), "chat-a1");
        assert_eq!(
            made.pointer("/spec/template/metadata/labels/app").unwrap(),
            "chat"
        );
        assert_eq!(
            made.pointer("/spec/template/metadata/labels/pointsman.dev~1revision")
                .unwrap(),
            "a1"
        );
        let variables = made.pointer("/spec/template/spec/containers/0/env").unwrap();
        assert_eq!(
            variables,
            &json!([
                {"name": "POINTSMAN_REVISION", "value": "own"},
                {"name": "POINTSMAN_PEERS_DNS", "value": "chat-peers.shop.svc:8081"},
                {"name": "POINTSMAN_CONTROL_TOKEN_FILE", "value": "/var/run/pointsman/token"},
            ])
        );
        assert_eq!(
            made.pointer("/spec/template/spec/terminationGracePeriodSeconds")
                .unwrap(),
            75
        );
        let annotations = made.pointer("/metadata/annotations").unwrap();
        assert_eq!(
            annotations.get(labels::TEMPLATE).unwrap().as_str().unwrap(),
            template.to_string()
        );
        assert_eq!(annotations.get(labels::ORDINAL).unwrap(), "3");
    }

    #[test]
    fn a_plain_workload_gets_no_secret() {
        let made = built(&json!({"spec": {"containers": [{"name": "a"}]}}), None);
        assert_eq!(made.pointer("/spec/template/spec/volumes"), None);
        assert_eq!(
            made.pointer("/spec/template/spec/terminationGracePeriodSeconds"),
            None
        );
    }
}
