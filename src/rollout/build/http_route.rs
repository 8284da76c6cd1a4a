//! The HTTPRoute that we own: a rule per live revision for clients that ask for it by name, then the weighted rule.
//!
//! Built as JSON because there are no ready-made types for this kube; see docs/adr/0003-versions.md.

use std::collections::BTreeMap;

use kube::api::{ApiResource, DynamicObject};
use pointsman_api::labels;
use pointsman_api::rollout::{GatewayTraffic, ParentRef};
use pointsman_core::rollout::{Desired, Revision, Routed};
use serde_json::{Value, json};

use super::Owner;
use crate::rollout::ports::Ports;

/// The kind, for dynamic clients.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource {
        group: "gateway.networking.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "gateway.networking.k8s.io/v1".to_owned(),
        kind: "HTTPRoute".to_owned(),
        plural: "httproutes".to_owned(),
    }
}

/// The route of a desired world, or `None` when nothing may be routed yet. `ports` knows each revision in the world.
#[must_use]
pub fn build(
    owner: &Owner,
    gateway: &GatewayTraffic,
    desired: &Desired,
    ports: &BTreeMap<Revision, Ports>,
) -> Option<DynamicObject> {
    if desired.weights.is_empty() {
        return None;
    }
    let backend = |revision: &Revision, weight: u8| {
        let port = ports.get(revision).map(|ports| ports.main);
        json!({"group": "", "kind": "Service", "name": owner.child(revision), "port": port, "weight": weight})
    };
    let everything = json!({"path": {"type": "PathPrefix", "value": "/"}});
    let mut rules: Vec<Value> = desired
        .pinned
        .iter()
        .map(|revision| {
            let named = json!({
                "path": {"type": "PathPrefix", "value": "/"},
                "queryParams": [{"type": "Exact", "name": labels::REVISION_PARAMETER, "value": revision.0}],
            });
            json!({"matches": [named], "backendRefs": [backend(revision, 1)]})
        })
        .collect();
    let weighted: Vec<Value> = desired
        .weights
        .iter()
        .map(|(revision, weight)| backend(revision, *weight))
        .collect();
    rules.push(json!({"matches": [everything], "backendRefs": weighted}));
    let parents: Vec<Value> = gateway.parent_refs.iter().map(parent).collect();
    let mut spec = json!({"parentRefs": parents, "rules": rules});
    if !gateway.hostnames.is_empty()
        && let Some(fields) = spec.as_object_mut()
    {
        fields.insert("hostnames".to_owned(), json!(gateway.hostnames));
    }
    let mut route = DynamicObject::new(&owner.name, &resource()).data(json!({"spec": spec}));
    route.metadata = owner.metadata(owner.name.clone(), None);
    Some(route)
}

fn parent(parent: &ParentRef) -> Value {
    let mut reference = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": parent.name});
    if let Some(fields) = reference.as_object_mut() {
        if let Some(namespace) = &parent.namespace {
            fields.insert("namespace".to_owned(), json!(namespace));
        }
        if let Some(section) = &parent.section_name {
            fields.insert("sectionName".to_owned(), json!(section));
        }
    }
    reference
}

/// The weights that a route has in force: known only when every gateway that it names has taken this very generation.
#[must_use]
pub fn in_force(owner: &Owner, route: &DynamicObject) -> Routed {
    let wanted = route
        .data
        .pointer("/spec/parentRefs")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let parents = route.data.pointer("/status/parents").and_then(Value::as_array);
    let took = parents
        .into_iter()
        .flatten()
        .filter(|parent| taken(parent, route.metadata.generation))
        .count();
    if wanted == 0 || took < wanted {
        return Routed::Unknown;
    }
    let rules = route.data.pointer("/spec/rules").and_then(Value::as_array);
    let backends = rules.and_then(|rules| rules.last()?.get("backendRefs")?.as_array());
    let prefix = format!("{}-", owner.name);
    let weights = backends.into_iter().flatten().filter_map(|backend| {
        let revision = backend.get("name")?.as_str()?.strip_prefix(&prefix)?;
        let weight = backend.get("weight").and_then(Value::as_u64).unwrap_or(1);
        Some((
            Revision(revision.to_owned()),
            u8::try_from(weight).unwrap_or(u8::MAX),
        ))
    });
    Routed::Known(weights.collect())
}

/// Why a gateway refuses the route, in its own words.
#[must_use]
pub fn refusal(route: &DynamicObject) -> Option<String> {
    let parents = route.data.pointer("/status/parents").and_then(Value::as_array);
    parents.into_iter().flatten().find_map(|parent| {
        let conditions = parent.get("conditions").and_then(Value::as_array)?;
        let refused = conditions
            .iter()
            .find(|condition| condition.get("status").is_some_and(|status| status == "False"))?;
        let text = |name: &str| refused.get(name).and_then(Value::as_str).unwrap_or_default();
        Some(format!("{}: {}", text("reason"), text("message")))
    })
}

fn taken(parent: &Value, generation: Option<i64>) -> bool {
    let conditions = parent.get("conditions").and_then(Value::as_array);
    ["Accepted", "ResolvedRefs"].iter().all(|kind| {
        conditions.into_iter().flatten().any(|condition| {
            condition.get("type").is_some_and(|found| found == kind)
                && condition.get("status").is_some_and(|status| status == "True")
                && condition.get("observedGeneration").and_then(Value::as_i64) == generation
        })
    })
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

    fn route() -> DynamicObject {
        let revision = |name: &str| Revision(name.to_owned());
        let desired = Desired {
            weights: [(revision("a1"), 80), (revision("b2"), 20)].into(),
            pinned: [revision("a1"), revision("b2")].into(),
            ..Desired::default()
        };
        let ports = Ports {
            main: 8080,
            control: None,
            all: Vec::new(),
        };
        let ports = [(revision("a1"), ports.clone()), (revision("b2"), ports)].into();
        let gateway = GatewayTraffic {
            parent_refs: vec![ParentRef {
                name: "gw".to_owned(),
                namespace: Some("infra".to_owned()),
                section_name: None,
            }],
            hostnames: vec!["chat.example".to_owned()],
        };
        build(&owner(), &gateway, &desired, &ports).unwrap()
    }

    #[test]
    fn named_revisions_come_before_the_weights() {
        let made = route();
        let rules = made.data.pointer("/spec/rules").unwrap().as_array().unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].pointer("/matches/0/queryParams/0/value").unwrap(), "a1");
        assert_eq!(rules[0].pointer("/backendRefs/0/name").unwrap(), "chat-a1");
        assert_eq!(rules[2].pointer("/backendRefs/0/weight").unwrap(), 80);
        assert_eq!(rules[2].pointer("/backendRefs/1/weight").unwrap(), 20);
        assert_eq!(
            made.data.pointer("/spec/parentRefs/0/namespace").unwrap(),
            "infra"
        );
    }

    #[test]
    fn only_this_generation_taken_by_every_gateway_is_in_force() {
        let condition = |kind: &str, status: &str, generation: i64| json!({"type": kind, "status": status, "observedGeneration": generation, "reason": "R", "message": "m"});
        let with = |conditions: Value| {
            let mut made = route();
            made.metadata.generation = Some(2);
            made.data["status"] = json!({"parents": [{"conditions": conditions}]});
            in_force(&owner(), &made)
        };
        assert_eq!(with(json!([])), Routed::Unknown);
        assert_eq!(
            with(json!([
                condition("Accepted", "True", 1),
                condition("ResolvedRefs", "True", 2)
            ])),
            Routed::Unknown
        );
        assert_eq!(
            with(json!([
                condition("Accepted", "True", 2),
                condition("ResolvedRefs", "False", 2)
            ])),
            Routed::Unknown
        );
        let known = with(json!([
            condition("Accepted", "True", 2),
            condition("ResolvedRefs", "True", 2)
        ]));
        assert_eq!(
            known,
            Routed::Known([(Revision("a1".to_owned()), 80), (Revision("b2".to_owned()), 20)].into())
        );
    }
}
