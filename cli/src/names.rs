//! Finds the member or the service that a person means.

use belay_proto::control::{MemberStatus, ServiceStatus, Status};
use belay_proto::{NodeId, ServiceName};
use std::collections::BTreeMap;

/// Members' names by id; made once for a report, so that a thousand services cost a thousand look-ups.
pub(crate) fn members_by_id(status: &Status) -> BTreeMap<NodeId, &str> {
    status.members.iter().map(|member| (member.id, member.name.as_str())).collect()
}

/// What `clusvcadm -m` makes of a name that no member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closest<'a> {
    /// The one member that shares the longest beginning with it.
    One(&'a MemberStatus),
    /// No member's name begins like it.
    None,
    /// Several are equally close.
    Several,
}

/// The member of exactly this name, ignoring case.
pub(crate) fn member<'a>(status: &'a Status, name: &str) -> Option<&'a MemberStatus> {
    status.members.iter().find(|member| member.name.eq_ignore_ascii_case(name))
}

/// The member whose name begins most like this one.
pub(crate) fn closest<'a>(status: &'a Status, name: &str) -> Closest<'a> {
    let common = |member: &MemberStatus| {
        let same = |(a, b): &(char, char)| a.eq_ignore_ascii_case(b);
        member.name.chars().zip(name.chars()).take_while(same).count()
    };
    let best = status.members.iter().map(common).max().unwrap_or(0);
    let mut candidates = status.members.iter().filter(|member| common(member) == best);
    match (best, candidates.next(), candidates.next()) {
        (0, ..) | (_, None, _) => Closest::None,
        (_, Some(only), None) => Closest::One(only),
        (_, Some(_), Some(_)) => Closest::Several,
    }
}

/// A member as `belay` takes it: by its name, its short name or its number.
///
/// # Errors
/// A sentence with the members there are.
pub(crate) fn member_meant<'a>(status: &'a Status, name: &str) -> Result<&'a MemberStatus, String> {
    let short = |name: &str| name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let all = || status.members.iter();
    member(status, name)
        .or_else(|| all().find(|member| name.parse() == Ok(member.id.0)))
        .or_else(|| all().find(|member| !name.contains('.') && short(&member.name) == short(name)))
        .ok_or_else(|| {
            let names: Vec<&str> = all().map(|member| member.name.as_str()).collect();
            format!("there is no member {name}; the members are: {}", names.join(", "))
        })
}

/// The service of this name. Services come sorted from the daemon, but the order of another version is not relied on.
pub(crate) fn service<'a>(status: &'a Status, name: &ServiceName) -> Option<&'a ServiceStatus> {
    status.services.iter().find(|service| service.name == *name)
}

/// For a bare name that means no `service:`, the one service of another kind that has it.
pub(crate) fn other_kind<'a>(status: &'a Status, text: &str) -> Option<&'a ServiceName> {
    let bare = text.strip_prefix("service:").unwrap_or(text);
    let mut named = status.services.iter().map(|service| &service.name).filter(|name| name.name() == bare);
    named.next().filter(|_| named.next().is_none())
}

/// A service as `belay` takes it: by its full name, or by the bare one where only one kind has it.
///
/// # Errors
/// A sentence that says where to look for the names.
pub(crate) fn service_meant(status: &Status, text: &str) -> Result<ServiceName, String> {
    let exact = text.parse::<ServiceName>().map_err(|error| error.to_string())?;
    if service(status, &exact).is_some() {
        return Ok(exact);
    }
    match other_kind(status, text) {
        Some(name) if !text.contains(':') => Ok(name.clone()),
        Some(name) => Err(format!("service {exact} does not exist; did you mean {name}?")),
        None => Err(format!("service {text} does not exist; list the services with: belay status")),
    }
}
