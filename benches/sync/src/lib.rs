//! What the benches share: rows of numbers, the table that people read and the JSON that machines read.

pub mod table;
