//! `rm/placement`: the limits that hold for all placement, and which VMs belong together or apart.
//!
//! Each rule is read here by itself; what rules say together is looked at in [`super::rules`].

use super::findings::{Findings, quoted};
use super::schema;
use super::values::{Old, Values};
use super::xml::{self, Xml};
use crate::model::{Affinity, Placement, Vm};
use belay_proto::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Beyond any host; it keeps products of it with numbers of processors small.
const MOST_VCPUS_A_CPU: u32 = 1000;

/// Beyond what any host can do side by side.
const MOST_AT_ONCE: u32 = 10_000;

/// Rules are compared with each other, here and at each decision of the engine.
const MOST_RULES: usize = 1000;

/// `rm/placement`, and for each rule where it is written.
pub(super) fn read<'a>(
    rm: &[Xml<'a>],
    vms: &BTreeMap<ServiceName, Vm>,
    findings: &mut Findings<'_>,
) -> (Placement, Vec<Xml<'a>>) {
    let mut placement = Placement::default();
    let mut places = Vec::new();
    let Some(element) = schema::single(rm, "placement", findings) else {
        return (placement, places);
    };
    let mut values = Values::of(element, findings);
    placement.overcommit = values.flag("overcommit", placement.overcommit, Old::Same);
    placement.cpu_ratio = values.number("cpu_ratio", 1..=MOST_VCPUS_A_CPU).unwrap_or(placement.cpu_ratio);
    placement.max_starts = values.number("max_starts", 1..=MOST_AT_ONCE).unwrap_or(placement.max_starts);
    placement.max_migrations = values.number("max_migrations", 1..=MOST_AT_ONCE).unwrap_or(placement.max_migrations);
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for element in rules(element) {
        schema::check(element, findings);
        let Some(rule) = rule(element, vms, findings) else {
            continue;
        };
        let line = findings.line(element.range().start);
        if let Some(other) = lines.insert(rule.name.clone(), line) {
            let at = Values::of(element, findings).at("name").unwrap_or_else(|| xml::tag(element));
            findings
                .error(at, format!("rule {} exists already", quoted(&rule.name)))
                .help(format!("the other one is in line {other}; messages tell rules apart by their names"));
        } else if placement.affinities.len() >= MOST_RULES {
            findings
                .error(xml::tag(element), format!("there are more than {MOST_RULES} rules"))
                .help("one rule can name many VMs: join rules that say the same");
            break;
        } else if rule.vms.len() >= 2 {
            placement.affinities.push(rule);
            places.push(element);
        }
    }
    (placement, places)
}

/// `affinity` and `anti-affinity` in document order.
fn rules<'a>(placement: Xml<'a>) -> impl Iterator<Item = Xml<'a>> {
    placement.children().filter(|child| xml::is(*child, "affinity") || xml::is(*child, "anti-affinity"))
}

/// One rule, `None` if it has no name or no list. One that says nothing about any two VMs is warned of.
fn rule(element: Xml<'_>, known: &BTreeMap<ServiceName, Vm>, findings: &mut Findings<'_>) -> Option<Affinity> {
    let mut values = Values::of(element, findings);
    let name = values.required_name("name").map(|name| name.value.to_owned());
    let required = values.flag("required", false, Old::Same);
    let kind = element.tag_name().name();
    let Some(list) = values.text("vms") else {
        let at = values.at("vms").unwrap_or_else(|| xml::tag(element));
        values
            .findings()
            .error(at, format!("<{kind}> names no VMs"))
            .help("write vms=\"web1 web2\" with the names of two or more VMs");
        return None;
    };
    let vms = names(list.value, &list.at, &name, known, findings);
    if vms.len() < 2 {
        let named = name.as_deref().map_or_else(|| "this rule".to_owned(), |name| format!("rule {}", quoted(name)));
        let left = if vms.is_empty() { "no VM" } else { "one VM only" };
        findings
            .warning(list.at, format!("{named} is about {left}: it has no effect"))
            .help("a rule needs the names of two or more VMs, with blanks or commas between them");
    }
    Some(Affinity { name: name?, together: kind == "affinity", required, vms })
}

/// The VMs of a list with blanks or commas between them, each with or without `vm:`.
fn names(
    list: &str,
    at: &Range<usize>,
    rule: &Option<String>,
    known: &BTreeMap<ServiceName, Vm>,
    findings: &mut Findings<'_>,
) -> BTreeSet<ServiceName> {
    let rule = quoted(rule.as_deref().unwrap_or("?"));
    let mut vms = BTreeSet::new();
    for word in list.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty()) {
        let bare = word.strip_prefix("vm:").unwrap_or(word);
        match ServiceName::vm(bare).ok().filter(|vm| known.contains_key(vm)) {
            Some(vm) => {
                if !vms.insert(vm) {
                    findings.info(at.clone(), format!("rule {rule} names {} twice", quoted(word)));
                }
            }
            None => {
                let near = findings.near(bare, known.keys().map(ServiceName::name)).map(str::to_owned);
                findings
                    .warning(
                        at.clone(),
                        format!("rule {rule} names {}, which is not a VM; it is left out", quoted(word)),
                    )
                    .help(near.map_or_else(
                        || "write the names of VMs of this file, with blanks or commas between them".to_owned(),
                        |near| format!("did you mean '{near}'?"),
                    ));
            }
        }
    }
    vms
}
