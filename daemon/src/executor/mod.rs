//! Executors: they carry out the work that the state derives for this host, and report what came of it. What to do next
//! is decided by the pure drivers of `belay_driver`; here are the processes, files and clocks.

pub mod agent;
mod clock;
pub mod fence;
pub mod vm;
