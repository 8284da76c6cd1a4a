//! Another process.
