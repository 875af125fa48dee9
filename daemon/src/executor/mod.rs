//! Executors: they carry out the work that the state derives for this host, and report what came of it.

pub mod agent;
pub mod fence;
pub mod vm;
