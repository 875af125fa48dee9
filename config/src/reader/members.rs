//! The members and their votes.

use super::fencing;
use super::findings::{Findings, quoted};
use super::schema;
use super::sizes;
use super::values::{Old, Values};
use super::xml::{self, Xml};
use crate::model::{FenceDevice, Node};
use belay_proto::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What `cman` says about quorum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quorum {
    pub(super) two_node: bool,
    pub(super) expected_votes: Option<u32>,
}

/// More votes than cman took from one node.
const MOST_VOTES: u32 = 255;

/// The nodes of the file, those with an error included, so that one mistake is not reported again wherever the node is
/// named.
#[derive(Default)]
pub(super) struct Members {
    nodes: BTreeMap<NodeId, Node>,
    names: BTreeMap<String, Option<NodeId>>,
    written: usize,
}

impl Members {
    /// Whether a node has this very name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The node's id, if it has a usable one.
    pub(super) fn id(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied().flatten()
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Whether every node of the file could be read.
    pub(super) fn complete(&self) -> bool {
        self.nodes.len() == self.written
    }

    /// The names of the fence devices that a method uses.
    pub(super) fn used_devices(&self) -> BTreeSet<&str> {
        let methods = self.nodes.values().flat_map(|node| &node.methods);
        methods.flat_map(|method| &method.devices).map(|device| device.fence_device.as_str()).collect()
    }

    /// The nodes without an error.
    pub(super) fn into_nodes(self) -> BTreeMap<NodeId, Node> {
        self.nodes
    }
}

/// `clusternodes/clusternode`.
pub(super) fn read(
    lists: &[Xml<'_>],
    devices: &BTreeMap<String, FenceDevice>,
    root: Xml<'_>,
    findings: &mut Findings<'_>,
) -> Members {
    let mut members = Members::default();
    let mut lines = Lines::default();
    let elements = schema::listed(lists, "clusternode", findings);
    members.written = elements.len();
    for element in &elements {
        lines.current = findings.line(element.range().start);
        let name = name(*element, &mut lines, findings);
        let id = id(*element, name.as_deref(), &mut lines, findings);
        let votes = votes(*element, findings);
        let (memory_mib, cpus) = (sizes::memory(*element, findings), sizes::processors(*element, "cpus", findings));
        let methods = fencing::methods(*element, name.as_deref().unwrap_or("?"), devices, findings);
        let Some(name) = name else {
            continue;
        };
        members.names.insert(name.clone(), id);
        if let Some(id) = id {
            members.nodes.insert(id, Node { id, name, votes, methods, memory_mib, cpus });
        }
    }
    if elements.is_empty() {
        let at = lists.first().map_or_else(|| xml::tag(root), |list| xml::tag(*list));
        findings
            .error(at, "the cluster has no members")
            .help("describe each host with a <clusternode name=\"…\" nodeid=\"…\"> in <clusternodes>");
    }
    members
}

/// In which line each name and each id was first used.
#[derive(Default)]
struct Lines {
    current: usize,
    names: BTreeMap<String, usize>,
    ids: BTreeMap<NodeId, usize>,
}

/// `@name`, unless another node has it.
fn name(element: Xml<'_>, lines: &mut Lines, findings: &mut Findings<'_>) -> Option<String> {
    let name = Values::of(element, findings).required_name("name")?;
    if name.value.contains(char::is_whitespace) {
        findings
            .error(name.at, format!("node name {} contains a blank", quoted(name.value)))
            .help("a node's name is the name of its host");
        return None;
    }
    // Host names are compared without case, and `--node` finds a member so.
    let key = name.value.to_ascii_lowercase();
    if let Some(other) = lines.names.get(&key) {
        findings
            .error(name.at, format!("node {} exists already", quoted(name.value)))
            .help(format!("the other one is in line {other}"));
        return None;
    }
    lines.names.insert(key, lines.current);
    Some(name.value.to_owned())
}

/// `@nodeid`, unless another node has it.
fn id(element: Xml<'_>, name: Option<&str>, lines: &mut Lines, findings: &mut Findings<'_>) -> Option<NodeId> {
    let mut values = Values::of(element, findings);
    let at = values.at("nodeid").unwrap_or_else(|| xml::tag(element));
    if values.text("nodeid").is_none() {
        let name = name.map_or_else(|| "this node".to_owned(), quoted);
        values
            .findings()
            .error(at, format!("{name} has no nodeid"))
            .help("give each node a number of its own, from 1; it must be the nodeid of corosync.conf");
        return None;
    }
    let id = NodeId(values.number("nodeid", 1..=u32::MAX)?);
    if let Some(other) = lines.ids.get(&id) {
        findings.error(at, format!("nodeid {id} is taken")).help(format!("the other one is in line {other}"));
        return None;
    }
    lines.ids.insert(id, lines.current);
    Some(id)
}

/// `@votes`.
fn votes(element: Xml<'_>, findings: &mut Findings<'_>) -> u32 {
    let mut values = Values::of(element, findings);
    let votes = values.number("votes", 0..=MOST_VOTES).unwrap_or(1);
    if let (0, Some(at)) = (votes, values.at("votes")) {
        findings
            .warning(at, "a node without a vote does not count for quorum")
            .help("leave votes out for the usual one vote");
    }
    votes
}

/// `cman/@two_node` and `@expected_votes`.
pub(super) fn quorum(cman: Option<Xml<'_>>, members: &Members, findings: &mut Findings<'_>) -> Quorum {
    let Some(cman) = cman else {
        return Quorum::default();
    };
    let mut values = Values::of(cman, findings);
    let quorum = Quorum {
        two_node: values.flag("two_node", false, Old::Integer),
        expected_votes: values.number("expected_votes", 1..=u32::MAX),
    };
    if quorum.two_node {
        two_node(&mut values, members);
    }
    if let (Some(expected), Some(at)) = (quorum.expected_votes, values.at("expected_votes")) {
        // With a node left out because of its own error, the sum would be wrong too.
        let sum: u32 = members.nodes.values().map(|node| node.votes).fold(0, u32::saturating_add);
        if quorum.two_node && expected != 1 {
            values
                .findings()
                .warning(at, format!("two_node is set, but expected_votes is {expected}, not 1"))
                .help("with two_node one vote makes quorum; write expected_votes=\"1\"");
        } else if !quorum.two_node && members.complete() && expected != sum {
            let used = if expected < sum { sum } else { expected };
            let need = used / 2 + 1;
            values
                .findings()
                .warning(at, format!("expected_votes is {expected}, but the nodes have {sum} votes: quorum is {need}"))
                .help("leave expected_votes out: it is the sum of the votes");
        }
    }
    quorum
}

/// `two_node` makes one of two nodes quorate alone, so it must not be said of other clusters.
fn two_node(values: &mut Values<'_, '_, '_>, members: &Members) {
    let Some(at) = values.at("two_node") else {
        return;
    };
    let findings = values.findings();
    match members.written {
        2 if members.nodes.values().any(|node| node.votes != 1) => {
            findings.error(at, "two_node is set, but not every node has one vote").help("leave votes out");
        }
        2 => {}
        0 | 1 => {
            findings.warning(at, "two_node is set, but there are no two nodes").help("leave two_node out");
        }
        many => {
            findings
                .error(at, format!("two_node is set, but there are {many} nodes"))
                .help("it would let each node go on alone: leave two_node out");
        }
    }
}
