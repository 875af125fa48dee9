//! The members and their votes.

use super::fencing;
use super::findings::{Findings, quoted};
use super::schema;
use super::values::{Old, Values};
use super::xml::{self, Xml};
use crate::model::{FenceDevice, Node};
use belay_proto::NodeId;
use std::collections::BTreeMap;

/// What `cman` says about quorum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quorum {
    pub(super) two_node: bool,
    pub(super) expected_votes: Option<u32>,
}

/// More votes than cman took from one node.
const MOST_VOTES: u32 = 255;

/// `clusternodes/clusternode` in document order.
pub(super) fn nodes(
    lists: &[Xml<'_>],
    devices: &BTreeMap<String, FenceDevice>,
    root: Xml<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut ids: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let elements = schema::listed(lists, "clusternode", findings);
    for element in &elements {
        let line = findings.line(element.range().start);
        let name = name(*element, line, &mut names, findings);
        let id = id(*element, name.as_deref(), line, &mut ids, findings);
        let votes = votes(*element, findings);
        let methods = fencing::methods(*element, name.as_deref().unwrap_or("?"), devices, findings);
        if let (Some(name), Some(id)) = (name, id) {
            nodes.push(Node { id, name, votes, methods });
        }
    }
    if elements.is_empty() {
        let at = lists.first().map_or_else(|| xml::tag(root), |list| xml::tag(*list));
        findings
            .error(at, "the cluster has no members")
            .help("describe each host with a <clusternode name=\"…\" nodeid=\"…\"> in <clusternodes>");
    }
    nodes
}

/// `@name`, unless another node has it.
fn name(
    element: Xml<'_>,
    line: usize,
    names: &mut BTreeMap<String, usize>,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let name = Values::of(element, findings).required_name("name")?;
    // Host names are compared without case, and `--node` finds a member so.
    let key = name.value.to_ascii_lowercase();
    if let Some(other) = names.get(&key) {
        findings
            .error(name.at, format!("node {} exists already", quoted(name.value)))
            .help(format!("the other one is in line {other}"));
        return None;
    }
    names.insert(key, line);
    Some(name.value.to_owned())
}

/// `@nodeid`, unless another node has it.
fn id(
    element: Xml<'_>,
    name: Option<&str>,
    line: usize,
    ids: &mut BTreeMap<NodeId, usize>,
    findings: &mut Findings<'_>,
) -> Option<NodeId> {
    let mut values = Values::of(element, findings);
    if values.text("nodeid").is_none() {
        let at = values.at("nodeid").unwrap_or_else(|| xml::tag(element));
        let name = name.map_or_else(|| "this node".to_owned(), quoted);
        values
            .findings()
            .error(at, format!("{name} has no nodeid"))
            .help("give each node a number of its own, from 1; it must be the nodeid of corosync.conf");
        return None;
    }
    let id = NodeId(values.number("nodeid", 1..=u32::MAX)?);
    if let Some(other) = ids.get(&id) {
        let at = values.at("nodeid").unwrap_or_else(|| xml::tag(element));
        findings.error(at, format!("nodeid {id} is taken")).help(format!("the other one is in line {other}"));
        return None;
    }
    ids.insert(id, line);
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
pub(super) fn quorum(cman: Option<Xml<'_>>, nodes: &[Node], findings: &mut Findings<'_>) -> Quorum {
    let Some(cman) = cman else {
        return Quorum::default();
    };
    let mut values = Values::of(cman, findings);
    let two_node = values.flag("two_node", false, Old::Integer);
    let expected_votes = values.number("expected_votes", 1..=u32::MAX);
    let at = |values: &Values<'_, '_, '_>, name: &str| values.at(name).unwrap_or_else(|| xml::tag(cman));
    let sum: u32 = nodes.iter().map(|node| node.votes).fold(0, u32::saturating_add);
    if two_node {
        let here = at(&values, "two_node");
        if nodes.len() > 2 {
            let message = format!("two_node is set, but there are {} nodes", nodes.len());
            values
                .findings()
                .error(here, message)
                .help("two_node makes one node alone quorate: it is for two nodes only");
        } else if nodes.iter().any(|node| node.votes != 1) {
            values.findings().error(here, "two_node is set, but not every node has one vote").help("leave votes out");
        } else if nodes.len() < 2 {
            values.findings().warning(here, "two_node is set, but there are no two nodes");
        }
        if let Some(expected) = expected_votes.filter(|expected| *expected != 1) {
            let here = at(&values, "expected_votes");
            values
                .findings()
                .warning(here, format!("two_node is set, but expected_votes is {expected}, not 1"))
                .help("with two_node one vote makes quorum; write expected_votes=\"1\"");
        }
    } else if let Some(expected) = expected_votes.filter(|expected| *expected != sum) {
        let here = at(&values, "expected_votes");
        let help = "leave expected_votes out: it is the sum of the votes";
        if expected < sum {
            values
                .findings()
                .warning(here, format!("expected_votes is {expected}, but the nodes have {sum} votes: {sum} is used"))
                .help(help);
        } else {
            let quorum = expected / 2 + 1;
            values
                .findings()
                .warning(
                    here,
                    format!("expected_votes is {expected}, but the nodes have {sum} votes: {quorum} make quorum"),
                )
                .help(help);
        }
    }
    Quorum { two_node, expected_votes }
}
