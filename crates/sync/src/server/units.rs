//! Units: what clients may call. A unit is a name with methods; an application brings its own.
//!
//! ```
//! use futures::future::BoxFuture;
//! use pointsman_sync::server::units::{Arguments, Caller, Fault, Method, Unit};
//! use serde_json::{Value, json};
//!
//! struct Greeter;
//!
//! impl Unit for Greeter {
//!     fn name(&self) -> &'static str {
//!         "greeter"
//!     }
//!     fn methods(&self) -> &'static [Method] {
//!         const METHODS: &[Method] = &[Method::new("greet", &["name"])];
//!         METHODS
//!     }
//!     fn call<'a>(
//!         &'a self,
//!         _caller: &'a Caller,
//!         _method: &'static str,
//!         arguments: Arguments,
//!     ) -> BoxFuture<'a, Result<Value, Fault>> {
//!         Box::pin(async move { Ok(json!(format!("hello {}", arguments.text("name", 100)?))) })
//!     }
//! }
//! ```

mod arguments;
mod auth;
mod caller;
mod chat;
mod counters;
mod document;
mod events;
mod files;
mod invoke;
mod rooms;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

pub use arguments::Arguments;
pub use caller::Caller;
pub(super) use events::{Events, Published};
pub(super) use invoke::{invoke, public};

/// The unit of the service itself: `system/introspect`, and what has no unit in its name.
const SYSTEM: &str = "system";
const INTROSPECT: &str = "introspect";

/// One method of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Names of its arguments, in order.
    pub arguments: &'static [&'static str],
    /// Callable without an identity where authentication is required.
    pub public: bool,
    /// Takes what was sent as it is, whatever its form.
    pub whole: bool,
}

impl Method {
    /// A method that takes these arguments.
    #[must_use]
    pub const fn new(name: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            name,
            arguments,
            public: false,
            whole: false,
        }
    }

    /// The same, callable by whoever has not signed in.
    #[must_use]
    pub const fn public(self) -> Self {
        Self { public: true, ..self }
    }

    /// The same, taking what was sent as it is.
    #[must_use]
    pub const fn whole(self) -> Self {
        Self { whole: true, ..self }
    }
}

/// What may be done after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again.
    AfterChange,
    /// The same call may succeed later; this one did nothing that counts twice.
    Later,
    /// The call may have acted.
    Unknown,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Fault {
    /// Like HTTP's, 400 to 599.
    pub status: u16,
    /// Names the field and the fix. From 500 on it is for the log, and clients read a general text.
    pub message: String,
}

impl Fault {
    /// A fault. A status out of bounds becomes 500.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let status = if (400..600).contains(&status) { status } else { 500 };
        Self {
            status,
            message: message.into(),
        }
    }

    /// Whether sending the call again helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.status {
            429 | 503 => Retry::Later,
            408 | 500..600 => Retry::Unknown,
            _ => Retry::AfterChange,
        }
    }

    /// What clients read.
    pub(super) fn public_message(&self) -> &str {
        match self.status {
            503 => "not possible now; send the call again",
            501 => "this replica is not set up for that",
            507 => "no room for that here",
            500..600 => "the server failed",
            _ => &self.message,
        }
    }
}

/// A unit. Calls of one session come one after the other, those of several sessions at once.
pub trait Unit: Send + Sync + 'static {
    /// Its name: letters, digits, `-` and `_`.
    fn name(&self) -> &'static str;
    /// Its methods. What is not in here is answered with 404.
    fn methods(&self) -> &'static [Method];
    /// Answers a call of one of [`Unit::methods`]. It is dropped when it takes longer than
    /// [`Limits::call_within`](super::Limits::call_within), but not when its session ends.
    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'static str,
        arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>>;
}

/// Units by name.
#[derive(Clone, Default)]
pub(super) struct Registry {
    units: BTreeMap<&'static str, Arc<dyn Unit>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.units.keys()).finish()
    }
}

/// A method that was found.
pub(super) struct Found {
    pub(super) unit: Arc<dyn Unit>,
    pub(super) method: Method,
}

impl Registry {
    /// Units given later replace those of the same name.
    pub(super) fn new(units: impl IntoIterator<Item = Arc<dyn Unit>>) -> Self {
        let units = units.into_iter().map(|unit| (unit.name(), unit));
        Self {
            units: units.collect(),
        }
    }

    /// Finds `unit/method` or `unit.version/method`; a name without a unit is one of `system`.
    pub(super) fn find(&self, target: &str) -> Option<Found> {
        let (unit, method) = target.split_once('/').unwrap_or((SYSTEM, target));
        let unit = unit.split_once('.').map_or(unit, |(unit, _version)| unit);
        let unit = self.units.get(unit)?;
        let method = unit.methods().iter().find(|known| known.name == method)?;
        Some(Found {
            unit: Arc::clone(unit),
            method: *method,
        })
    }

    /// `{unit: {method: [argument]}}` of the named units, or of all.
    pub(super) fn introspect(&self, names: Option<&[&str]>) -> Value {
        let mut described = Map::new();
        for (name, unit) in &self.units {
            if names.is_none_or(|names| names.contains(name)) {
                let methods = unit.methods().iter();
                let methods = methods.map(|method| (method.name.to_owned(), method.arguments.into()));
                described.insert((*name).to_owned(), Value::Object(methods.collect()));
            }
        }
        Value::Object(described)
    }
}

/// The units that come with the service.
pub(super) fn bundled() -> Vec<Arc<dyn Unit>> {
    vec![
        Arc::new(System),
        Arc::new(auth::Auth),
        Arc::new(chat::Chat),
        Arc::new(files::Files),
        Arc::new(document::Document),
        Arc::new(rooms::Rooms),
        Arc::new(counters::Room),
        Arc::new(counters::Counter),
    ]
}

/// The service itself.
struct System;

impl Unit for System {
    fn name(&self) -> &'static str {
        SYSTEM
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[
            Method::new(INTROSPECT, &["units"]).public().whole(),
            Method::new("echo", &["value"]).whole(),
        ];
        METHODS
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'static str,
        arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            let value = arguments.into_value();
            if method != INTROSPECT {
                return Ok(value);
            }
            let names = names(&value);
            Ok(caller.registry().introspect(names.as_deref()))
        })
    }
}

/// The names in `["a", "b"]`, `[["a", "b"]]`, `{"units": ["a", "b"]}` or `"a"`; `None` when there are none.
fn names(value: &Value) -> Option<Vec<&str>> {
    let names: Vec<&str> = match value {
        Value::Array(values) => match values.as_slice() {
            [Value::Array(inner)] => inner.iter().filter_map(Value::as_str).collect(),
            values => values.iter().filter_map(Value::as_str).collect(),
        },
        Value::Object(fields) => return names(fields.get("units")?),
        Value::String(name) => vec![name],
        _ => Vec::new(),
    };
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_method_is_found_with_and_without_version_or_unit() {
        let registry = Registry::new(bundled());
        for (target, found) in [
            ("chat/say", true),
            ("chat.1/say", true),
            ("echo", true),
            ("system/echo", true),
            ("chat/no", false),
            ("no/say", false),
            ("", false),
            ("/", false),
        ] {
            assert_eq!(registry.find(target).is_some(), found, "{target}");
        }
    }

    #[test]
    fn introspection_tells_units_with_methods_and_arguments() {
        let registry = Registry::new(bundled());
        let asked = json!(["chat", "no"]);
        assert_eq!(
            registry.introspect(names(&asked).as_deref()),
            json!({"chat": {"say": ["text"]}})
        );
        for asked in [
            json!(["a", "b"]),
            json!([["a", "b"]]),
            json!({"units": ["a", "b"]}),
        ] {
            assert_eq!(names(&asked), Some(vec!["a", "b"]));
        }
        for asked in [json!([]), json!({}), json!(null), json!([1])] {
            assert_eq!(names(&asked), None);
        }
        let all = registry.introspect(None);
        assert_eq!(all["files"]["upload"], json!(["streamId", "name"]));
    }

    #[test]
    fn clients_read_nothing_of_the_inside() {
        let fault = Fault::new(500, "disk /dev/x is full");
        assert_eq!(fault.public_message(), "the server failed");
        assert_eq!(Fault::new(404, "no such file").public_message(), "no such file");
        assert_eq!(Fault::new(200, "").status, 500);
        assert_eq!(Fault::new(503, "").retry(), Retry::Later);
        assert_eq!(Fault::new(400, "").retry(), Retry::AfterChange);
        assert_eq!(fault.retry(), Retry::Unknown);
    }
}
