//! Fuzz targets: one for every place where Belay reads bytes that it did not write itself, or that may not be any more
//! what was written.
//!
//! A target takes any bytes. It panics when what reads them panics, or when it believes what it must not: that a finding
//! lies outside of the file, that damage is what was stored, that a password may be shown. Targets run in two ways:
//!
//! * `make fuzz` runs them under libFuzzer, which looks for bytes that reach new code, for as long as one likes.
//! * `tests/corpus.rs` replays the committed corpus, `corpus/TARGET/`, and mutations of it, with every other test. So
//!   targets always build, and what was found once stays mended.
//!
//! A new reader of outside bytes gets a line in [`TARGETS`] and a few well-formed inputs in the corpus.

// A panic is how a target says that something is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod commands;
mod configuration;
mod control;
mod definition;
mod engine;
mod fence;
mod local_log;
mod node;
mod scenario;
mod store;
mod words;

/// One reader of outside bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called with `make fuzz TARGET=`.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// Takes any bytes; panics when something is wrong.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, about: &'static str, run: fn(&[u8])) -> Target {
    Target { name, about, run }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("cluster_conf", "cluster.conf, and changes of it", configuration::read),
    target("cluster_edit", "an element, an attribute, a value and the cluster.conf to set it in", configuration::edit),
    target("ring_messages", "what a node hears from the ring, one message a line", node::hears),
    target("snapshot", "a state as a peer or the store has it, and entries after it", engine::snapshot),
    target("entries", "any stream of entries, applied by members that must not differ", engine::entries),
    target("local_log", "the local ring's shared log", local_log::read),
    target("control_calls", "what clients send to the control socket", control::calls),
    target("control_replies", "what a daemon answers to the commands", control::replies),
    target("agent_lines", "what a libvirt agent writes, and what the driver makes of it", agent::lines),
    target("agent_calls", "what the libvirt agent reads, and QEMU's arguments", agent::calls),
    target("fence_agents", "what fence agents print, and their metadata", fence::output),
    target("domain_xml", "a domain's definition", definition::read),
    target("store", "a store whose file or rows are not what was written", store::open),
    target("command_lines", "command lines of clustat, clusvcadm and belay", commands::read),
    target("scenario", "scenario files of the simulator", scenario::read),
    target("words", "lengths of time, amounts of memory, names, ids, codes", words::read),
];

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
