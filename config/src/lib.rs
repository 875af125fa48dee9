//! `cluster.conf`: read it, check it, and hold it as a model that cannot be invalid.
//!
//! [`read`] turns the file's text into a [`Validated`] model or says, with line and column, everything that is wrong
//! with it at once. What it does not understand is a warning, never silence. This crate does no I/O: whoever has the
//! text calls it, the engine included.

pub mod model;

pub use model::{Cluster, Validated};
