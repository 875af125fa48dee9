//! The tables and records that `clustat` prints for people, which scripts cut by column all the same.

use crate::names::members_by_id;
use crate::times::ctime;
use belay_proto::control::{MemberStatus, ServiceStatus, Status};
use belay_proto::{NodeId, ServiceState, Timestamp};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The widest a name's column gets.
const NAME_WIDTH_MAX: usize = 64;

/// The width of the state's column.
const STATE_WIDTH: usize = 14;

type Names<'a> = BTreeMap<NodeId, &'a str>;

/// The full report.
pub(super) fn everything(status: &Status, long: bool, width: usize, now: Timestamp, zone: &TimeZone) -> String {
    let quorum = if status.quorate { "Quorate" } else { "Inquorate" };
    let mut out = format!("Cluster Status for {} @ {}\nMember Status: {quorum}\n", status.cluster, ctime(now, zone));
    if status.locked {
        out.push_str("Resource groups locked\n");
    }
    out.push('\n');
    member_header(&mut out, width);
    for member in shown(&status.members) {
        member_row(&mut out, member, width, true);
    }
    out.push('\n');
    if status.services.is_empty() {
        return out;
    }
    let names = members_by_id(status);
    if long {
        out.push_str("Service Information\n------- -----------\n\n");
        for service in &status.services {
            record(&mut out, service, &names, zone);
        }
    } else {
        service_header(&mut out, width);
        for service in &status.services {
            service_row(&mut out, service, &names, width);
        }
    }
    out
}

/// The members that are listed: one that no configuration names only while it is up.
pub(super) fn shown(members: &[MemberStatus]) -> impl Iterator<Item = &MemberStatus> {
    members.iter().filter(|member| member.configured || member.online)
}

/// One member: header and row.
pub(super) fn member(member: &MemberStatus, width: usize) -> String {
    let mut out = String::new();
    member_header(&mut out, width);
    member_row(&mut out, member, width, false);
    out
}

/// One service: header and row.
pub(super) fn service(status: &Status, service: &ServiceStatus, width: usize) -> String {
    let mut out = String::new();
    service_header(&mut out, width);
    service_row(&mut out, service, &members_by_id(status), width);
    out
}

/// One service: the short header all the same, then its record.
pub(super) fn service_long(status: &Status, service: &ServiceStatus, width: usize, zone: &TimeZone) -> String {
    let mut out = String::new();
    service_header(&mut out, width);
    record(&mut out, service, &members_by_id(status), zone);
    out
}

fn member_header(out: &mut String, width: usize) {
    let name = member_width(width);
    for (first, second, third) in [("Member Name", "ID", "Status"), ("------ ----", "----", "------")] {
        line(out, format_args!(" {}{second:4} {third}", cell(first, name)));
    }
}

fn member_row(out: &mut String, member: &MemberStatus, width: usize, with_services: bool) {
    let mut words = String::from(if member.online { "Online" } else { "Offline" });
    for (applies, word) in [
        (member.local, ", Local"),
        (!member.configured, ", Estranged"),
        (with_services && member.online, ", rgmanager"),
    ] {
        if applies {
            words.push_str(word);
        }
    }
    line(out, format_args!(" {} {:>4} {words}", cell(&member.name, member_width(width)), member.id.0));
}

fn service_header(out: &mut String, width: usize) {
    let name = service_width(width);
    for (first, second, third) in [("Service Name", "Owner (Last)", "State"), ("------- ----", "----- ------", "-----")]
    {
        line(out, format_args!(" {} {} {}", cell(first, name), cell(second, name), cell(third, STATE_WIDTH)));
    }
}

fn service_row(out: &mut String, service: &ServiceStatus, names: &Names<'_>, width: usize) {
    let column = service_width(width);
    let owner = if shows_last_owner(service.state) {
        let name: String = node_name(service.last_owner, names).chars().take(column.saturating_sub(2)).collect();
        format!("({name})")
    } else {
        node_name(service.owner, names).to_owned()
    };
    let letters = flag_letters(service);
    let state = if letters.is_empty() {
        service.state.word().to_owned()
    } else {
        format!("{}[{letters}]", cell(service.state.word(), STATE_WIDTH - 2 - letters.len()))
    };
    line(
        out,
        format_args!(" {} {} {}", cell(service.name.as_str(), column), cell(&owner, column), cell(&state, STATE_WIDTH)),
    );
}

fn record(out: &mut String, service: &ServiceStatus, names: &Names<'_>, zone: &TimeZone) {
    let (number, words) = super::xml::flags(service, ", ");
    let words = if words.is_empty() { "none" } else { &words };
    line(out, format_args!("Service Name      : {}", service.name));
    line(out, format_args!("  Current State   : {} ({})", service.state, service.state.number()));
    line(out, format_args!("  Flags           : {words} ({number})"));
    line(out, format_args!("  Owner           : {}", node_name(service.owner, names)));
    line(out, format_args!("  Last Owner      : {}", node_name(service.last_owner, names)));
    line(out, format_args!("  Last Transition : {}\n", ctime(service.transition.unwrap_or_default(), zone)));
}

fn shows_last_owner(state: ServiceState) -> bool {
    use ServiceState::{Disabled, Failed, Recoverable, Stopped};
    matches!(state, Stopped | Disabled | Recoverable | Failed)
}

fn flag_letters(service: &ServiceStatus) -> String {
    [(service.frozen, 'Z'), (service.partial, 'P')].iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect()
}

/// A member's name as the reference shows it where there is none, or an unknown one.
pub(super) fn node_name<'a>(node: Option<NodeId>, names: &Names<'a>) -> &'a str {
    match node {
        None | Some(NodeId(0)) => "none",
        Some(id) => names.get(&id).copied().unwrap_or("unknown"),
    }
}

fn member_width(width: usize) -> usize {
    (width / 2).min(NAME_WIDTH_MAX)
}

fn service_width(width: usize) -> usize {
    (width.saturating_sub(20) / 2).min(NAME_WIDTH_MAX)
}

/// The text padded with spaces, or cut, to a width.
fn cell(text: &str, width: usize) -> String {
    let mut cell: String = text.chars().take(width).collect();
    let missing = width.saturating_sub(cell.chars().count());
    cell.extend(std::iter::repeat_n(' ', missing));
    cell
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}
