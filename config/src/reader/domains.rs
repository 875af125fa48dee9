//! Failover domains: which members a service prefers, or is confined to.

use super::findings::{Findings, quoted};
use super::members::Members;
use super::schema;
use super::values::{Old, Values};
use super::xml::{self, Xml};
use crate::model::FailoverDomain;
use belay_proto::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// `rm/failoverdomains/failoverdomain`, by name in lower case.
pub(super) fn read(rm: &[Xml<'_>], nodes: &Members, findings: &mut Findings<'_>) -> BTreeMap<String, FailoverDomain> {
    let mut domains = BTreeMap::new();
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let lists: Vec<_> = rm.iter().flat_map(|rm| schema::joined(*rm, "failoverdomains", findings)).collect();
    for element in schema::listed(&lists, "failoverdomain", findings) {
        let Some(name) = Values::of(element, findings).required_name("name") else {
            continue;
        };
        let domain = domain(element, name.value, nodes, findings);
        let key = name.value.to_lowercase();
        if let Some(line) = lines.get(&key) {
            findings
                .error(name.at, format!("failover domain {} exists already", quoted(name.value)))
                .help(format!("the other one is in line {line}; upper and lower case make no difference"));
            continue;
        }
        lines.insert(key.clone(), findings.line(element.range().start));
        domains.insert(key, domain);
    }
    domains
}

fn domain(element: Xml<'_>, name: &str, nodes: &Members, findings: &mut Findings<'_>) -> FailoverDomain {
    let mut values = Values::of(element, findings);
    let ordered = values.flag("ordered", false, Old::Integer);
    let restricted = values.flag("restricted", false, Old::Integer);
    let nofailback = values.flag("nofailback", false, Old::Integer);
    let mut members: Vec<(NodeId, u8)> = Vec::new();
    let mut seen = BTreeSet::new();
    for member in schema::listed(&[element], "failoverdomainnode", findings) {
        let Some((node_name, id)) = node(member, name, nodes, findings) else {
            continue;
        };
        let priority = priority(member, ordered, findings);
        if !seen.insert(node_name) {
            let at = Values::of(member, findings).at("name").unwrap_or_else(|| xml::tag(member));
            findings
                .error(at, format!("{} is in failover domain {} already", quoted(node_name), quoted(name)))
                .help("keep the line with the priority that is meant");
            continue;
        }
        members.extend(id.map(|id| (id, priority)));
    }
    if restricted && seen.is_empty() {
        findings
            .warning(xml::tag(element), format!("failover domain {} is restricted to no node", quoted(name)))
            .help("what is in it can start nowhere");
    }
    FailoverDomain { name: name.to_owned(), ordered, restricted, nofailback, members }
}

/// The member that a `failoverdomainnode` names, letter by letter as the original compared; without an id if the member
/// itself has an error.
fn node<'a>(
    element: Xml<'a>,
    domain: &str,
    nodes: &Members,
    findings: &mut Findings<'_>,
) -> Option<(&'a str, Option<NodeId>)> {
    let name = Values::of(element, findings).required_name("name")?;
    if nodes.knows(name.value) {
        return Some((name.value, nodes.id(name.value)));
    }
    let near = findings.near(name.value, nodes.names());
    let help = near.map_or_else(
        || "write a node's name exactly as its <clusternode> has it".to_owned(),
        |near| format!("did you mean '{near}'?"),
    );
    let (domain, node) = (quoted(domain), quoted(name.value));
    findings
        .warning(name.at, format!("failover domain {domain} names {node}, which is not a node; it is left out"))
        .help(help);
    None
}

/// `@priority`, 1 to 100; 0 for what is not, and that comes before 1, as in the original.
fn priority(element: Xml<'_>, ordered: bool, findings: &mut Findings<'_>) -> u8 {
    let mut values = Values::of(element, findings);
    let Some(value) = values.text("priority") else {
        if ordered {
            findings
                .info(xml::tag(element), "without a priority this node comes first in the ordered domain")
                .help("write priority=\"1\" for the best place to priority=\"100\" for the last");
        }
        return 0;
    };
    let number = value.value.trim().parse::<u8>().ok().filter(|number| (1..=100).contains(number));
    if number.is_none() {
        findings
            .warning(value.at, format!("priority={} is not from 1 to 100: this node comes first", quoted(value.value)))
            .help("1 is the best place, 100 the last");
    }
    number.unwrap_or(0)
}
