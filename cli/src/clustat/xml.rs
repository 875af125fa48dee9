//! `clustat -x`: the same as attributes. Values are escaped, which the original forgot.

use super::text::{node_name, shown};
use crate::names::members_by_id;
use crate::times::ctime;
use belay_proto::NodeId;
use belay_proto::control::{MemberStatus, ServiceStatus, Status};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The version of the format that scripts check for.
const HEAD: &str = "<?xml version=\"1.0\"?>\n<clustat version=\"4.1.1\">\n";
const TAIL: &str = "</clustat>\n";

/// The whole document.
pub(super) fn everything(status: &Status, zone: &TimeZone) -> String {
    let mut out = String::from(HEAD);
    let name = escape(&status.cluster);
    let id = cluster_id(&status.cluster);
    let _ = writeln!(out, "  <cluster name=\"{name}\" id=\"{id}\" generation=\"{}\"/>", status.term);
    out.push_str(if status.quorate {
        "  <quorum quorate=\"1\" groupmember=\"1\"/>\n"
    } else {
        // The line break is the original's.
        "  <quorum quorate=\"0\"\n groupmember=\"0\"/>\n"
    });
    if status.members.is_empty() {
        out.push_str("  <nodes/>\n");
    } else {
        nodes(&mut out, &status.members, true);
    }
    if status.locked {
        out.push_str("  <lock locked=\"1\"/>\n");
    }
    if !status.services.is_empty() {
        groups(&mut out, &status.services, &members_by_id(status), zone);
    }
    out.push_str(TAIL);
    out
}

/// One member. Whether its resource manager runs is not asked, so it says 0.
pub(super) fn member(member: &MemberStatus) -> String {
    let mut out = String::from(HEAD);
    nodes(&mut out, std::slice::from_ref(member), false);
    out.push_str(TAIL);
    out
}

/// One service.
pub(super) fn service(status: &Status, service: &ServiceStatus, zone: &TimeZone) -> String {
    let mut out = String::from(HEAD);
    groups(&mut out, std::slice::from_ref(service), &members_by_id(status), zone);
    out.push_str(TAIL);
    out
}

/// A service that does not exist.
pub(super) fn no_service() -> String {
    format!("{HEAD}  <groups>\n  </groups>\n{TAIL}")
}

/// The number of a service's flags, and their words.
pub(super) fn flags(service: &ServiceStatus, separator: &str) -> (u8, String) {
    let set = [(service.frozen, 1, "frozen"), (service.partial, 2, "partial")].into_iter().filter(|(set, ..)| *set);
    let number = set.clone().map(|(_, bit, _)| bit).sum();
    (number, set.map(|(.., word)| word).collect::<Vec<_>>().join(separator))
}

fn nodes(out: &mut String, members: &[MemberStatus], with_services: bool) {
    out.push_str("  <nodes>\n");
    for member in shown(members) {
        let _ = writeln!(
            out,
            "    <node name=\"{}\" state=\"{}\" local=\"{}\" estranged=\"{}\" rgmanager=\"{}\" \
             rgmanager_master=\"0\" qdisk=\"0\" nodeid=\"{:#010x}\"/>",
            escape(&member.name),
            u8::from(member.online),
            u8::from(member.local),
            u8::from(!member.configured),
            u8::from(with_services && member.online),
            member.id.0,
        );
    }
    out.push_str("  </nodes>\n");
}

fn groups(out: &mut String, services: &[ServiceStatus], names: &BTreeMap<NodeId, &str>, zone: &TimeZone) {
    out.push_str("  <groups>\n");
    for service in services {
        let (number, words) = flags(service, " ");
        let transition = service.transition.unwrap_or_default();
        let _ = writeln!(
            out,
            "    <group name=\"{}\" state=\"{}\" state_str=\"{}\" flags=\"{number}\" flags_str=\"{words}\" \
             owner=\"{}\" last_owner=\"{}\" restarts=\"{}\" last_transition=\"{}\" last_transition_str=\"{}\"/>",
            escape(service.name.as_str()),
            service.state.number(),
            service.state.word(),
            escape(node_name(service.owner, names)),
            escape(node_name(service.last_owner, names)),
            service.restarts,
            transition.seconds(),
            ctime(transition, zone),
        );
    }
    out.push_str("  </groups>\n");
}

/// cman's 16-bit number for a cluster's name.
fn cluster_id(name: &str) -> u16 {
    name.bytes().fold(0, |id: u16, byte| (id << 1).wrapping_add(u16::from(byte)))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // Not even an escaped one may be in an XML document.
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_the_number_cman_gave_it() {
        assert_eq!(cluster_id("alpha"), 3169);
    }

    #[test]
    fn no_value_ends_its_attribute() {
        assert_eq!(escape("a\"b<c>&'\u{1}é"), "a&quot;b&lt;c&gt;&amp;&apos;?é");
    }
}
