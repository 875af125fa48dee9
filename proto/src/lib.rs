//! Belay's vocabulary: every type that crosses a process border, and nothing that acts.
//!
//! A daemon talks to its peers ([`entry`], [`ring`]), to its libvirt agent ([`agent`]) and to the people who run it
//! ([`control`], [`history`]). The words they share live here: ids, time, service states and result codes. This crate
//! depends on nothing of ours, does no I/O and knows no policy.

pub mod agent;
pub mod code;
pub mod control;
pub mod entry;
pub mod facts;
pub mod history;
pub mod ids;
pub mod request;
pub mod ring;
pub mod service;
pub mod time;

pub use code::Code;
pub use facts::{HostFacts, Size};
pub use ids::{BootId, Incarnation, Index, NodeId, OwnershipEpoch, RequestId, ServiceName, Term};
pub use request::{NodeMode, Request};
pub use service::ServiceState;
pub use time::{Span, Timestamp};
