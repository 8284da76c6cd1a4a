//! The ports of one revision, kept with it: an old revision goes on with the ports that it came with.

use pointsman_api::rollout::RolloutSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::validate::Invalid;

/// Container port of sessions when the spec names none.
pub const SESSIONS: u16 = 8080;
/// Container port of the control endpoints when the spec names none.
pub const CONTROL: u16 = 8081;

/// Ports of a revision's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// What routes lead to.
    pub main: u16,
    /// Where sessions are counted and moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<u16>,
    /// Name and number of every port of the Services.
    pub all: Vec<(String, u16)>,
}

/// The ports that a spec and its pod template ask for.
pub fn of(spec: &RolloutSpec, template: &Value) -> Result<Ports, Invalid> {
    let number = |port: Option<i32>, default| port.map_or(Some(default), |port| u16::try_from(port).ok());
    let control = match &spec.sessions {
        None => None,
        Some(sessions) => Some(
            number(sessions.control_port, CONTROL)
                .ok_or_else(|| Invalid::new("spec.sessions.controlPort", "give a port from 1 to 65535"))?,
        ),
    };
    let mut all = declared(template);
    all.retain(|(_, port)| Some(*port) != control);
    let main = match &spec.sessions {
        Some(sessions) => number(sessions.port, SESSIONS)
            .ok_or_else(|| Invalid::new("spec.sessions.port", "give a port from 1 to 65535"))?,
        None => all.first().map(|(_, port)| *port).ok_or_else(|| {
            Invalid::new(
                "spec.template.spec.containers[].ports",
                "declare the port that serves, or set spec.sessions.port",
            )
        })?,
    };
    if Some(main) == control {
        return Err(Invalid::new(
            "spec.sessions.controlPort",
            "must differ from spec.sessions.port: whoever reaches the sessions must not reach the control endpoints",
        ));
    }
    if !all.iter().any(|(_, port)| *port == main) {
        all.insert(0, ("sessions".to_owned(), main));
    }
    Ok(Ports { main, control, all })
}

/// TCP ports that containers declare, each number once.
fn declared(template: &Value) -> Vec<(String, u16)> {
    let mut found: Vec<(String, u16)> = Vec::new();
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    for port in containers
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten()
    {
        let tcp = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP") == "TCP";
        let number = port
            .get("containerPort")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok());
        let (true, Some(number)) = (tcp, number) else {
            continue;
        };
        if found.iter().any(|(_, known)| *known == number) {
            continue;
        }
        let name = port
            .get("name")
            .and_then(Value::as_str)
            .map_or_else(|| format!("port-{number}"), str::to_owned);
        found.push((name, number));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_api::rollout::Sessions;
    use serde_json::json;

    fn template() -> Value {
        json!({"spec": {"containers": [{"ports": [{"name": "ws", "containerPort": 9000}, {"containerPort": 8081}, {"containerPort": 53, "protocol": "UDP"}]}]}})
    }

    #[test]
    fn a_plain_workload_serves_on_its_first_port() {
        let ports = of(&RolloutSpec::default(), &template()).unwrap();
        assert_eq!(ports.main, 9000);
        assert_eq!(
            ports.all,
            [("ws".to_owned(), 9000), ("port-8081".to_owned(), 8081)]
        );
    }

    #[test]
    fn the_control_port_is_in_no_service_of_sessions() {
        let spec = RolloutSpec {
            sessions: Some(Sessions {
                port: Some(9000),
                ..Sessions::default()
            }),
            ..RolloutSpec::default()
        };
        let ports = of(&spec, &template()).unwrap();
        assert_eq!((ports.main, ports.control), (9000, Some(8081)));
        assert_eq!(ports.all, [("ws".to_owned(), 9000)]);
    }

    #[test]
    fn no_port_is_an_error_that_names_the_field() {
        let error = of(&RolloutSpec::default(), &json!({})).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("spec.template.spec.containers[].ports: "),
            "{error}"
        );
    }
}
