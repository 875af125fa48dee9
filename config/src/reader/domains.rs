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
    let domain = FailoverDomain { name: name.to_owned(), ordered, restricted, nofailback, members };
    if seen.is_empty() {
        nobody(element, &domain, findings);
    } else {
        flags(element, &domain, findings);
    }
    domain
}

/// No node, or none that exists.
fn nobody(element: Xml<'_>, domain: &FailoverDomain, findings: &mut Findings<'_>) {
    let name = quoted(&domain.name);
    if domain.restricted {
        findings
            .warning(xml::tag(element), format!("failover domain {name} is restricted to no node"))
            .help("what is in it can start nowhere");
    } else {
        findings
            .warning(xml::tag(element), format!("failover domain {name} has no node: it has no effect"))
            .help("name nodes with <failoverdomainnode name=\"…\"/>");
    }
}

/// Flags and priorities that say nothing about the domain as it is.
fn flags(element: Xml<'_>, domain: &FailoverDomain, findings: &mut Findings<'_>) {
    let name = quoted(&domain.name);
    // Configuration tools give the same priority to each node of a domain without an order; nothing is lost by that.
    let same = domain.members.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let values = Values::of(element, findings);
    let (ordered_at, nofailback_at) = (values.at("ordered"), values.at("nofailback"));
    if !domain.ordered && !same {
        findings
            .warning(
                xml::tag(element),
                format!("the priorities of failover domain {name} have no effect: it is not ordered"),
            )
            .help("write ordered=\"1\" to prefer nodes with lower numbers");
    }
    if let Some(at) = ordered_at.filter(|_| domain.ordered && same && domain.members.len() > 1) {
        findings.info(at, format!("all nodes of the ordered failover domain {name} have the same priority"));
    }
    if let Some(at) = nofailback_at.filter(|_| domain.nofailback && !domain.ordered) {
        findings.info(at, format!("nofailback has no effect: failover domain {name} is not ordered"));
    }
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

/// `@priority`, 1 to 100, lower first; 0 for what is none, and that comes last. In the original it came first, so that a
/// forgotten or a mistyped priority made a node the best; in its central mode it came last.
fn priority(element: Xml<'_>, ordered: bool, findings: &mut Findings<'_>) -> u8 {
    let mut values = Values::of(element, findings);
    let Some(value) = values.text("priority") else {
        if ordered {
            findings.info(xml::tag(element), "without a priority this node comes last in the ordered domain").help(
                "write priority=\"1\" for the best place to priority=\"100\" for the last; RHCS took none for the best",
            );
        }
        return 0;
    };
    let number = value.value.trim().parse::<u8>().ok().filter(|number| (1..=100).contains(number));
    if number.is_none() {
        findings
            .warning(value.at, format!("priority={} is not from 1 to 100: this node comes last", quoted(value.value)))
            .help("1 is the best place, 100 the last; RHCS took such a number for 0, better than 1");
    }
    number.unwrap_or(0)
}
