//! What was sent with a call, under the names of the method's arguments.

use serde_json::{Map, Value};

use super::{Fault, Method};

/// Arguments of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments(Value);

impl Arguments {
    /// Reads an object of names; or an array with that one object; or an array of values by position. Other forms of
    /// nothing are no arguments.
    pub(super) fn read(method: &Method, sent: Value) -> Result<Self, Fault> {
        if method.whole {
            return Ok(Self(sent));
        }
        match sent {
            Value::Null => Ok(Self(Value::Object(Map::new()))),
            Value::Object(_) => Ok(Self(sent)),
            Value::Array(mut values) => {
                if let [Value::Object(fields)] = values.as_slice()
                    && fields
                        .keys()
                        .all(|name| method.arguments.contains(&name.as_str()))
                {
                    return Ok(Self(values.swap_remove(0)));
                }
                if values.len() > method.arguments.len() {
                    let (most, name) = (method.arguments.len(), method.name);
                    return Err(Fault::new(400, format!("{name} takes at most {most} arguments")));
                }
                let names = method.arguments.iter().map(|name| (*name).to_owned());
                Ok(Self(Value::Object(names.zip(values).collect())))
            }
            _ => Err(Fault::new(
                400,
                "arguments: give an object of names, or an array of values",
            )),
        }
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A text of 1 to so many bytes.
    pub fn text(&self, name: &str, bytes_max: usize) -> Result<&str, Fault> {
        self.get(name)
            .and_then(Value::as_str)
            .filter(|text| (1..=bytes_max).contains(&text.len()))
            .ok_or_else(|| {
                let fix = format!("{name}: give text of 1 to {bytes_max} bytes");
                Fault::new(400, fix)
            })
    }

    /// Everything, as it is.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_positions_say_the_same() {
        let method = Method::new("m", &["a", "b"]);
        let read = |sent| Arguments::read(&method, sent);
        for sent in [json!({"a": 1, "b": 2}), json!([1, 2]), json!([{"a": 1, "b": 2}])] {
            assert_eq!(read(sent).unwrap().into_value(), json!({"a": 1, "b": 2}));
        }
        // An object that has other names is a value.
        assert_eq!(
            read(json!([{"c": 1}])).unwrap().into_value(),
            json!({"a": {"c": 1}})
        );
        assert_eq!(read(json!(null)).unwrap().into_value(), json!({}));
        assert_eq!(read(json!([])).unwrap().into_value(), json!({}));
        assert_eq!(read(json!([1, 2, 3])).unwrap_err().status, 400);
        assert_eq!(read(json!("x")).unwrap_err().status, 400);
        let whole = Arguments::read(&method.whole(), json!([1, 2, 3])).unwrap();
        assert_eq!(whole.into_value(), json!([1, 2, 3]));
    }

    #[test]
    fn a_text_out_of_bounds_is_refused_naming_it() {
        let arguments = Arguments(json!({"a": "", "b": "long", "c": 1, "d": "ok"}));
        for name in ["a", "b", "c", "e"] {
            let fault = arguments.text(name, 3).unwrap_err();
            assert!(fault.message.starts_with(name), "{fault}");
        }
        assert_eq!(arguments.text("d", 3), Ok("ok"));
    }
}
