//! What a VM waits for: `depend` and `depend_mode`, and circles of VMs that wait for each other.
//!
//! They are read when all VMs are known. A service that is not one of them counts as running, as in the original; a circle
//! cannot be what anybody meant, since none of its VMs would ever start.

use super::findings::{Findings, quoted};
use super::values::Values;
use super::vms::Elements;
use super::xml;
use crate::model::{DependMode, Vm};
use belay_proto::ServiceName;
use std::collections::{BTreeMap, BTreeSet};

/// A message names no more VMs of a circle.
const MOST_NAMED: usize = 40;

/// `vm/@depend` and `vm/@depend_mode`.
pub(super) fn read(vms: &mut BTreeMap<ServiceName, Vm>, elements: &Elements<'_>, findings: &mut Findings<'_>) {
    for (name, element) in elements {
        let mut values = Values::of(*element, findings);
        let depend = depend(name, &mut values, elements);
        let depend_mode = mode(&mut values);
        if let Some(vm) = vms.get_mut(name) {
            (vm.depend, vm.depend_mode) = (depend, depend_mode);
        }
    }
    circles(vms, elements, findings);
}

/// The VM that `@depend` names, if there is one.
fn depend(name: &ServiceName, values: &mut Values<'_, '_, '_>, elements: &Elements<'_>) -> Option<ServiceName> {
    let value = values.text("depend")?;
    let wanted = value.value.trim();
    let known = wanted.parse::<ServiceName>().ok().filter(|wanted| elements.contains_key(wanted));
    if known.as_ref() == Some(name) {
        values
            .findings()
            .error(value.at, format!("{name} depends on itself: it could never start"))
            .help("name the VM that has to run first, or leave depend out");
        return None;
    }
    if known.is_none() {
        let bare = ServiceName::vm(wanted).ok().filter(|vm| elements.contains_key(vm));
        let near = values.findings().near(wanted, elements.keys().map(ServiceName::as_str)).map(str::to_owned);
        let help = match bare.map(String::from).or(near) {
            Some(meant) => format!("did you mean '{meant}'?"),
            None if wanted.split_whitespace().nth(1).is_some() || wanted.contains(',') => {
                "a VM can depend on one other; let that one depend on the next".to_owned()
            }
            None => "write vm: and the name of a VM of this file".to_owned(),
        };
        values
            .findings()
            .warning(value.at, format!("there is no {} here: {name} does not wait for it", quoted(wanted)))
            .help(help);
    }
    known
}

/// `@depend_mode`.
fn mode(values: &mut Values<'_, '_, '_>) -> DependMode {
    let Some(value) = values.text("depend_mode") else {
        return DependMode::Hard;
    };
    if values.text("depend").is_none() {
        values.findings().info(value.at.clone(), "depend_mode has no effect without depend");
    }
    match value.value.trim().to_ascii_lowercase().as_str() {
        "hard" => DependMode::Hard,
        "soft" => DependMode::Soft,
        _ => {
            values
                .findings()
                .warning(value.at, format!("depend_mode={} is not known: taken for hard", quoted(value.value)))
                .help("hard stops the VM when the other one stops, soft only lets it wait for the start");
            DependMode::Hard
        }
    }
}

/// Names each circle once, at its VM that stands first in the file.
fn circles(vms: &BTreeMap<ServiceName, Vm>, elements: &Elements<'_>, findings: &mut Findings<'_>) {
    let next = |name: &ServiceName| vms.get(name).and_then(|vm| vm.depend.as_ref());
    let mut seen: BTreeSet<&ServiceName> = BTreeSet::new();
    for start in vms.keys() {
        // Each VM waits for one other at most, so a walk either ends, or meets an earlier one, or itself.
        let mut walk: Vec<&ServiceName> = Vec::new();
        let mut at = Some(start);
        while let Some(name) = at.filter(|name| seen.insert(name)) {
            walk.push(name);
            at = next(name);
        }
        let Some(entered) = at.and_then(|name| walk.iter().position(|walked| *walked == name)) else {
            continue;
        };
        report(&walk[entered..], elements, findings);
    }
}

fn report(circle: &[&ServiceName], elements: &Elements<'_>, findings: &mut Findings<'_>) {
    let place = |name: &ServiceName| elements.get(name).map_or(0, |element| element.range().start);
    let first = (0..circle.len()).min_by_key(|index| place(circle[*index])).unwrap_or(0);
    let around = circle.iter().cycle().skip(first).take(circle.len());
    let mut names: Vec<&str> = around.take(MOST_NAMED).map(|name| name.as_str()).collect();
    if circle.len() > MOST_NAMED {
        names.push("…");
    }
    names.push(circle[first].as_str());
    let Some(element) = elements.get(circle[first]) else { return };
    let at = Values::of(*element, findings).at("depend").unwrap_or_else(|| xml::tag(*element));
    findings
        .error(at, format!("these VMs wait for each other and could never start: {}", names.join(" -> ")))
        .help("take depend out of one of them");
}
