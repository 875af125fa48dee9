//! `cluster.conf`: read it, check it, and hold it as a model that cannot be invalid.
//!
//! [`read`] turns the file's text into a [`Validated`] model or says, with line and column, everything that is wrong
//! with it at once. What it does not understand is a warning, never silence. This crate does no I/O: whoever has the
//! text calls it, the engine included. Passwords stay in the model; no finding, rendering or debug output shows one.

mod diagnostic;
pub mod edit;
pub mod model;
mod near;
mod reader;
mod reading;
mod scan;
mod secret;
mod source;

pub use diagnostic::{Diagnostic, Severity};
pub use model::{Cluster, Validated};
pub use reader::{MAX_BYTES, read, read_bytes};
pub use reading::Reading;
