//! Services: the main one, one per live revision behind a gateway, the preview, and the peers.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use pointsman_core::rollout::Revision;

use super::Owner;
use crate::rollout::ports::Ports;

/// A Service of sessions, over one revision or over all of them.
#[must_use]
pub fn serving(
    owner: &Owner,
    name: String,
    revision: Option<&Revision>,
    label: Option<&Revision>,
    ports: &Ports,
) -> Service {
    Service {
        metadata: owner.metadata(name, label),
        spec: Some(ServiceSpec {
            selector: Some(owner.selector(revision)),
            ports: Some(
                ports
                    .all
                    .iter()
                    .map(|(name, number)| port(name, *number))
                    .collect(),
            ),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The headless Service by which pods of all revisions find each other. A draining pod is still a peer.
#[must_use]
pub fn peers(owner: &Owner, control: u16) -> Service {
    Service {
        metadata: owner.metadata(owner.peers(), None),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(owner.selector(None)),
            ports: Some(vec![port("control", control)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
