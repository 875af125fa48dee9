//! What placement rules say together, and with failover domains and `exclusive`: contradictions are named.
//!
//! Two VMs that must and must not share a host can never both run. That is an error and not a surprise on the day a host
//! is lost: such a file was never used, for an old one has no rules. Where only a preference is in vain, a warning says so.

use super::apart;
use super::findings::{Findings, quoted};
use super::room;
use super::together::{Together, VmIndex};
use super::values::Values;
use super::vms::Elements;
use super::xml::{self, Xml};
use crate::model::{Affinity, Cluster, FailoverDomain, Vm};
use belay_proto::{NodeId, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A message names no more rules of a chain.
const MOST_LINKS: usize = 8;

/// A file's rules and VMs, and where each is written.
pub(super) struct Rules<'c, 'a> {
    pub(super) cluster: &'c Cluster,
    pub(super) places: &'c [Xml<'a>],
    pub(super) elements: &'c Elements<'a>,
}

impl<'c> Rules<'c, '_> {
    /// The rules with their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &'c Affinity)> + use<'c> {
        self.cluster.placement.affinities.iter().enumerate()
    }

    pub(super) fn called(&self, rule: usize) -> String {
        self.cluster.placement.affinities.get(rule).map_or_else(String::new, |rule| quoted(&rule.name))
    }

    /// The list of a rule's VMs in the file.
    pub(super) fn place(&self, rule: usize, findings: &mut Findings<'_>) -> Range<usize> {
        let Some(element) = self.places.get(rule) else { return 0..0 };
        Values::of(*element, findings).at("vms").unwrap_or_else(|| xml::tag(*element))
    }

    pub(super) fn vm(&self, name: &ServiceName) -> Option<&'c Vm> {
        self.cluster.vms.get(name)
    }

    /// The restricted failover domain that confines this VM, unless it has no member: then that has been said already.
    pub(super) fn confines(&self, name: &ServiceName) -> Option<&'c FailoverDomain> {
        let domain = self.cluster.failover_domains.get(self.vm(name)?.domain.as_ref()?)?;
        (domain.restricted && !domain.members.is_empty()).then_some(domain)
    }
}

/// Looks at all rules together. `whole` says that no host of the file is left out because of an error of its own.
pub(super) fn check(rules: &Rules<'_, '_>, whole: bool, findings: &mut Findings<'_>) {
    let mut together = Together::of(rules.cluster);
    apart_and_together(rules, &mut together, findings);
    wishes(rules, findings);
    let groups = together.groups();
    for group in &groups {
        company(rules, &together, group, findings);
        if whole {
            domains(rules, &together, group, findings);
        }
    }
    if whole {
        apart::check(rules, findings);
        room::check(rules, &together, &groups, findings);
    }
}

/// VMs that a rule keeps apart and required rules keep together, perhaps through others.
fn apart_and_together(rules: &Rules<'_, '_>, together: &mut Together<'_>, findings: &mut Findings<'_>) {
    for (index, rule) in rules.all().filter(|(_, rule)| !rule.together) {
        let mut first: BTreeMap<VmIndex, VmIndex> = BTreeMap::new();
        let members: Vec<VmIndex> = rule.vms.iter().filter_map(|vm| together.index(vm)).collect();
        let pair = members.into_iter().find_map(|vm| first.insert(together.root(vm), vm).map(|other| (other, vm)));
        let Some((one, other)) = pair else { continue };
        let chain = tied(rules, together, one, other);
        let (one, other, called) = (together.name(one), together.name(other), rules.called(index));
        let at = rules.place(index, findings);
        if rule.required {
            findings
                .error(at, format!("rule {called} keeps {one} and {other} apart, but {chain} them together"))
                .help("they could never both run: take one of them out of a rule, or leave required out");
        } else {
            findings
                .warning(at, format!("rule {called} would keep {one} and {other} apart, but {chain} them together"))
                .help("what is required wins; take one of them out of this rule");
        }
    }
}

/// The chain of rules between two VMs, as words: "rule 'x' keeps", "rule 'x' (…) and rule 'y' (…) keep".
fn tied(rules: &Rules<'_, '_>, together: &Together<'_>, one: VmIndex, other: VmIndex) -> String {
    let chain = together.chain(one, other);
    if let [tie] = chain.as_slice() {
        return format!("rule {} keeps", rules.called(tie.rule));
    }
    let mut links: Vec<String> = Vec::new();
    for tie in chain.iter().take(MOST_LINKS) {
        let (from, to) = (together.name(tie.from), together.name(tie.to));
        links.push(format!("rule {} ({from} with {to})", rules.called(tie.rule)));
    }
    if chain.is_empty() || chain.len() > MOST_LINKS {
        links.push("a chain of other rules".to_owned());
    }
    let verb = if links.len() == 1 { "keeps" } else { "keep" };
    format!("{} {verb}", links.join(" and "))
}

/// Preferences for being together that a rule for being apart speaks against.
fn wishes(rules: &Rules<'_, '_>, findings: &mut Findings<'_>) {
    let mut apart: BTreeMap<&ServiceName, Vec<usize>> = BTreeMap::new();
    for (index, rule) in rules.all().filter(|(_, rule)| !rule.together) {
        rule.vms.iter().for_each(|vm| apart.entry(vm).or_default().push(index));
    }
    // For each rule the wish and the VM it was last met with: a second meeting makes a pair.
    let mut met: Vec<Option<(usize, &ServiceName)>> = vec![None; rules.cluster.placement.affinities.len()];
    for (wish, rule) in rules.all().filter(|(_, rule)| rule.together && !rule.required) {
        let mut pairs = rule.vms.iter().flat_map(|vm| {
            let against = apart.get(vm).into_iter().flatten();
            against
                .filter_map(|other| {
                    let before = met[*other].replace((wish, vm)).filter(|(before, _)| *before == wish);
                    before.map(|(_, first)| (*other, first, vm))
                })
                .collect::<Vec<_>>()
        });
        let Some((other, one, two)) = pairs.next() else { continue };
        let required = rules.cluster.placement.affinities.get(other).is_some_and(|rule| rule.required);
        let (called, against) = (rules.called(wish), rules.called(other));
        let at = rules.place(wish, findings);
        findings
            .warning(
                at,
                format!("rule {called} would keep {one} and {two} together, but rule {against} keeps them apart"),
            )
            .help(if required {
                "what is required wins; take one of them out of this rule"
            } else {
                "two wishes that contradict each other decide nothing; drop one, or make one required"
            });
    }
}

/// A VM that runs alone on its host cannot have company.
fn company(rules: &Rules<'_, '_>, together: &Together<'_>, group: &[VmIndex], findings: &mut Findings<'_>) {
    let alone = |vm: &&VmIndex| rules.vm(together.name(**vm)).is_some_and(|vm| vm.exclusive.is_some());
    let Some(alone) = group.iter().find(alone) else { return };
    let Some(rule) = together.rule_of(*alone) else { return };
    let (name, called, at) = (together.name(*alone), rules.called(rule), rules.place(rule, findings));
    findings
        .error(at, format!("rule {called} keeps {name} together with others, but {name} is exclusive: it runs alone"))
        .help("take it out of the rule, or take exclusive from the VM");
}

/// VMs that must share a host need one that all their restricted failover domains contain.
fn domains(rules: &Rules<'_, '_>, together: &Together<'_>, group: &[VmIndex], findings: &mut Findings<'_>) {
    let hosts = |domain: &FailoverDomain| -> BTreeSet<NodeId> { domain.members.iter().map(|(id, _)| *id).collect() };
    let mut confined: BTreeMap<&str, (VmIndex, &FailoverDomain)> = BTreeMap::new();
    for vm in group {
        if let Some(domain) = rules.confines(together.name(*vm)) {
            confined.entry(&domain.name).or_insert((*vm, domain));
        }
    }
    let mut common: Option<BTreeSet<NodeId>> = None;
    for (vm, domain) in confined.values() {
        let here = hosts(domain);
        let left: BTreeSet<NodeId> = match &common {
            Some(common) => common.intersection(&here).copied().collect(),
            None => here.clone(),
        };
        if left.is_empty() {
            let stranger = confined.values().find(|(_, other)| hosts(other).is_disjoint(&here));
            report_domains(rules, together, (*vm, domain), stranger, findings);
            return;
        }
        common = Some(left);
    }
}

fn report_domains(
    rules: &Rules<'_, '_>,
    together: &Together<'_>,
    (vm, domain): (VmIndex, &FailoverDomain),
    stranger: Option<&(VmIndex, &FailoverDomain)>,
    findings: &mut Findings<'_>,
) {
    let Some(rule) = together.rule_of(vm) else { return };
    let (name, place) = (together.name(vm), quoted(&domain.name));
    let message = match stranger {
        Some((other, elsewhere)) => {
            let chain = tied(rules, together, *other, vm);
            let (other, elsewhere) = (together.name(*other), quoted(&elsewhere.name));
            format!(
                "{chain} {other} and {name} together, but no host is in both of their restricted failover \
                 domains, {elsewhere} and {place}"
            )
        }
        None => format!(
            "required rules keep {name} together with VMs whose restricted failover domains have no host in common \
             with its own, {place}"
        ),
    };
    let at = rules.place(rule, findings);
    findings.error(at, message).help("they could never run: give them one failover domain, or leave required out");
}
