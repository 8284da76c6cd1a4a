//! Document spaces: which documents there may be, their fields, and how many replicas hold each.

use pointsman_crdt::{JsonError, Schema};
use pointsman_replication::{Copies, NAME_BYTES_MAX};

/// Documents whose names begin alike.
#[derive(Clone, Debug)]
pub struct Space {
    /// What their names begin with, such as `rooms/`.
    pub prefix: String,
    /// Their fields.
    pub schema: Schema,
    /// Who holds them.
    pub copies: Copies,
}

/// Why there is no such document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too long or empty.
    #[error("name: give 1 to {NAME_BYTES_MAX} bytes")]
    Length,
    /// Not in any space.
    #[error("name: no document begins like `{0}`; there are {1}")]
    Space(String, String),
}

/// All spaces of a service.
#[derive(Clone, Debug, Default)]
pub struct Spaces(Vec<Space>);

impl Spaces {
    /// These; of several that fit a name the first counts.
    #[must_use]
    pub fn new(spaces: Vec<Space>) -> Self {
        Self(spaces)
    }

    /// A space by its prefix, its schema in JSON such as `{"likes": {"type": "g-counter"}}`, and its copies.
    ///
    /// # Errors
    /// When the schema is none; names the field.
    pub fn with(mut self, prefix: &str, schema: &str, copies: Copies) -> Result<Self, JsonError> {
        self.0.push(Space {
            prefix: prefix.to_owned(),
            schema: Schema::parse_json(schema)?,
            copies,
        });
        Ok(self)
    }

    /// The space of a document.
    ///
    /// # Errors
    /// When there can be no document of that name.
    pub fn find(&self, name: &str) -> Result<&Space, NameError> {
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            return Err(NameError::Length);
        }
        let found = self.0.iter().find(|space| name.starts_with(&space.prefix));
        found.ok_or_else(|| {
            let begin: String = name.chars().take(32).collect();
            let prefixes: Vec<String> = self.0.iter().map(|space| format!("`{}`", space.prefix)).collect();
            NameError::Space(begin, prefixes.join(", "))
        })
    }
}
