//! JSON forms of values, operations, readings and schemas; `docs/CRDT.md` §10. The TypeScript client uses the same.

use std::fmt;

use serde_json::{Map as Object, Value as Json};

use crate::error::{OperationError, Retry, SkewError};

mod document;
mod operation;
mod reading;
mod schema;
mod value;

/// The largest integer that every reader of JSON keeps exact: 2⁵³ − 1.
const SAFE_MAX: u64 = (1 << 53) - 1;

/// Why JSON is not what it should be. Nothing changed; never retry the same, but for clocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON at all.
    #[error("not JSON: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// Something else was expected.
    #[error("`{path}`: expected {expected}, found {found}")]
    Wrong {
        /// Where, such as `insert[2]`.
        path: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A name that nothing reads.
    #[error("`{path}` is not known here; allowed: {allowed}")]
    Unexpected {
        /// Where.
        path: String,
        /// What would be right.
        allowed: String,
    },
    /// Beyond a bound.
    #[error("`{path}`: {what} would exceed its bound of {limit}")]
    Limit {
        /// Where.
        path: String,
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A stamp that came along is too far ahead.
    #[error("`{path}`: {error}")]
    Skew {
        /// Where.
        path: String,
        /// How far.
        error: SkewError,
    },
}

impl JsonError {
    /// What to do about it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Skew { .. } => Retry::Later,
            _ => Retry::Never,
        }
    }
}

/// Why an operation in JSON was not applied. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It is not in the form of an operation on this document.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is not possible here and now.
    #[error("field `{field}`: {error}")]
    Operation {
        /// Field.
        field: String,
        /// Why.
        error: OperationError,
    },
}

impl ApplyError {
    /// What to do about it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Json(error) => error.retry(),
            Self::Operation { error, .. } => error.retry(),
        }
    }
}

/// Where in the JSON; text is made only for errors.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// The whole, by what it is.
    pub(crate) fn root(what: &'a str) -> Self {
        Self {
            parent: None,
            part: Part::Name(what),
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    pub(crate) fn name(&'a self, name: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            part: Part::Name(name),
        }
    }

    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            part: Part::Index(index),
        }
    }

    pub(crate) fn wrong(&self, expected: impl Into<String>, found: &Json) -> JsonError {
        JsonError::Wrong {
            path: self.to_string(),
            expected: expected.into(),
            found: describe(found),
        }
    }

    pub(crate) fn missing(&self, expected: impl Into<String>) -> JsonError {
        JsonError::Wrong {
            path: self.to_string(),
            expected: expected.into(),
            found: "nothing".into(),
        }
    }

    pub(crate) fn unexpected(&self, allowed: impl Into<String>) -> JsonError {
        JsonError::Unexpected {
            path: self.to_string(),
            allowed: allowed.into(),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.parent, self.part) {
            (None, Part::Name(name)) => f.write_str(name),
            (Some(parent), Part::Name(name)) => write!(f, "{parent}.{}", Cut(name)),
            (Some(parent), Part::Index(index)) => write!(f, "{parent}[{index}]"),
            (None, Part::Index(index)) => write!(f, "[{index}]"),
        }
    }
}

/// A name as far as it is useful in an error.
pub(crate) struct Cut<'a>(pub(crate) &'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        let mut rest = self.0.chars();
        rest.by_ref().take(SHOWN).try_for_each(|letter| {
            fmt::Write::write_char(f, if letter.is_control() { '�' } else { letter })
        })?;
        if rest.next().is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

/// What is there, in few words and without its content where that may be long.
fn describe(found: &Json) -> String {
    match found {
        Json::Null => "null".into(),
        Json::Bool(on) => on.to_string(),
        Json::Number(number) => format!("the number {}", Cut(&number.to_string())),
        Json::String(text) => format!("the text \"{}\"", Cut(text)),
        Json::Array(_) => "an array".into(),
        Json::Object(_) => "an object".into(),
    }
}

pub(crate) fn parse(text: &str) -> Result<Json, JsonError> {
    serde_json::from_str(text).map_err(|error| JsonError::Syntax {
        reason: error.to_string(),
    })
}

pub(crate) fn object<'a>(json: &'a Json, at: &At<'_>) -> Result<&'a Object<String, Json>, JsonError> {
    json.as_object().ok_or_else(|| at.wrong("an object", json))
}

/// An integer: a number within ±(2⁵³ − 1), or `{"$integer": "…"}`.
pub(crate) fn integer(json: &Json, at: &At<'_>) -> Result<i128, JsonError> {
    let expected = "an integer within ±(2^53 - 1), or {\"$integer\": \"decimal\"}";
    let found = match json {
        Json::Number(number) => value::safe_integer(number).map(i128::from),
        Json::Object(fields) if fields.len() == 1 => fields
            .get("$integer")
            .and_then(Json::as_str)
            .and_then(value::decimal),
        _ => None,
    };
    found.ok_or_else(|| at.wrong(expected, json))
}

/// An integer as JSON: a number where that is exact for every reader.
pub(crate) fn integer_to_json(number: i128) -> Json {
    if number.unsigned_abs() <= u128::from(SAFE_MAX)
        && let Ok(number) = i64::try_from(number)
    {
        return number.into();
    }
    serde_json::json!({ "$integer": number.to_string() })
}
