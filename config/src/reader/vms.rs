//! Virtual machines as services: their names, where they may run, and what happens when they fail.
//!
//! Attributes mean what the original's `vm` resource made of them. How the machine itself is run is in [`machine`].

use super::findings::{Findings, quoted};
use super::machine;
use super::members::Members;
use super::schema;
use super::sizes;
use super::values::{Old, Values};
use super::xml::{self, Xml};
use crate::model::{FailoverDomain, GuestShutdown, Recovery, Vm};
use belay_proto::{ServiceName, Span};
use std::collections::BTreeMap;

/// Where each VM stands in the file, for findings about several of them.
pub(super) type Elements<'a> = BTreeMap<ServiceName, Xml<'a>>;

/// `rm/vm` by full name.
pub(super) fn read<'a>(
    rm: &[Xml<'a>],
    members: &Members,
    domains: &BTreeMap<String, FailoverDomain>,
    findings: &mut Findings<'_>,
) -> (BTreeMap<ServiceName, Vm>, Elements<'a>) {
    let mut vms = BTreeMap::new();
    let mut elements = Elements::new();
    for element in schema::listed(rm, "vm", findings) {
        let Some(service) = name(element, findings) else {
            continue;
        };
        let vm = vm(element, service.name(), members, domains, findings);
        if let Some(other) = elements.get(&service) {
            let line = findings.line(other.range().start);
            let at = Values::of(element, findings).at("name").unwrap_or_else(|| xml::tag(element));
            findings
                .error(at, format!("{service} exists already"))
                .help(format!("the other one is in line {line}; one machine can be managed only once"));
            continue;
        }
        elements.insert(service.clone(), element);
        vms.insert(service, vm);
    }
    (vms, elements)
}

/// `@name`, as the service it names.
fn name(element: Xml<'_>, findings: &mut Findings<'_>) -> Option<ServiceName> {
    let mut values = Values::of(element, findings);
    if let (None, Some(reference)) = (values.find("name"), values.find("ref")) {
        values
            .findings()
            .warning(reference.at, format!("{} is not managed: ref is not used by Belay yet", quoted(reference.value)))
            .help("write the vm with all its attributes here, instead of in <resources>");
        return None;
    }
    let name = values.required_name("name")?;
    // The name becomes part of a file's name where `path` is searched, and libvirt refuses a slash too.
    if name.value.contains('/') || matches!(name.value, "." | "..") {
        findings
            .error(name.at, format!("{} cannot be the name of a VM", quoted(name.value)))
            .help("libvirt allows no '/'");
        return None;
    }
    match ServiceName::vm(name.value) {
        Ok(service) => Some(service),
        Err(_) => {
            let most = ServiceName::MAX_BYTES - "vm:".len();
            findings
                .error(name.at, format!("{} cannot be the name of a managed VM", quoted(name.value)))
                .help(format!("use at most {most} bytes, without blanks; virsh domrename gives the VM another name"));
            None
        }
    }
}

fn vm(
    element: Xml<'_>,
    name: &str,
    members: &Members,
    domains: &BTreeMap<String, FailoverDomain>,
    findings: &mut Findings<'_>,
) -> Vm {
    let mut vm = Vm::new(name);
    let mut values = Values::of(element, findings);
    vm.domain = domain(&mut values, domains);
    vm.autostart = values.flag("autostart", true, Old::OffIfNo);
    vm.exclusive = exclusive(&mut values);
    vm.no_kill = values.flag("no_kill", false, Old::Same);
    vm.tunnelled = values.flag("tunnelled", false, Old::Same);
    vm.priority = values.number("priority", 0..=u32::MAX).unwrap_or(0);
    vm.guest_shutdown = guest_shutdown(&mut values);
    restarts(&mut values, &mut vm);
    machine::definition(&mut values, &mut vm, element);
    machine::hypervisor(&mut values, &mut vm);
    machine::migration(&mut values, &mut vm, members);
    machine::timeouts(element, &mut vm, findings);
    vm.memory_mib = sizes::memory(element, findings);
    vm.vcpus = sizes::processors(element, "vcpus", findings);
    vm
}

/// `@domain`: the key of the failover domain, `None` with a warning if there is no such domain (the original's #66).
fn domain(values: &mut Values<'_, '_, '_>, domains: &BTreeMap<String, FailoverDomain>) -> Option<String> {
    let value = values.text("domain")?;
    let key = value.value.trim().to_lowercase();
    if domains.contains_key(&key) {
        return Some(key);
    }
    let near = values.findings().near(value.value, domains.values().map(|domain| domain.name.as_str()));
    let help = near.map_or_else(
        || "describe it with a <failoverdomain> in <failoverdomains>".to_owned(),
        |near| format!("did you mean '{near}'?"),
    );
    values
        .findings()
        .warning(value.at, format!("there is no failover domain {}: this VM may run everywhere", quoted(value.value)))
        .help(help);
    None
}

/// `@exclusive`: yes, or a number above 0 that is its priority.
fn exclusive(values: &mut Values<'_, '_, '_>) -> Option<u32> {
    let value = values.text("exclusive")?;
    if let Ok(number) = value.value.trim().parse::<i64>() {
        if number < 0 {
            values.findings().warning(value.at, format!("exclusive={} means not exclusive", quoted(value.value)));
            return None;
        }
        return (number > 0).then(|| u32::try_from(number).unwrap_or(u32::MAX));
    }
    if value.value.trim().eq_ignore_ascii_case("yes") {
        return Some(1);
    }
    values.flag("exclusive", false, Old::Integer).then_some(1)
}

/// `@guest_shutdown`. An unknown word is an error: taken for the default it would start again what its user shut down.
fn guest_shutdown(values: &mut Values<'_, '_, '_>) -> GuestShutdown {
    let Some(value) = values.text("guest_shutdown") else {
        return GuestShutdown::Recover;
    };
    match value.value.trim().to_ascii_lowercase().as_str() {
        "recover" => GuestShutdown::Recover,
        "stop" => GuestShutdown::Stop,
        _ => {
            values
                .findings()
                .error(value.at, format!("guest_shutdown={} is not known", quoted(value.value)))
                .help("write recover to start a VM again that its guest powered off, or stop to leave it off");
            GuestShutdown::Recover
        }
    }
}

/// `@recovery`, `@max_restarts` and `@restart_expire_time`.
fn restarts(values: &mut Values<'_, '_, '_>, vm: &mut Vm) {
    vm.recovery = recovery(values);
    vm.max_restarts = max_restarts(values);
    vm.restart_expire_time = values.span("restart_expire_time").unwrap_or(Span::ZERO);
    let counts = matches!(vm.recovery, Recovery::Restart | Recovery::RestartDisable);
    let written_zero = vm.restart_expire_time.is_zero()
        && values.text("restart_expire_time").is_some_and(|value| value.value.parse::<Span>().is_ok());
    let (max_at, expire_at) = (values.at("max_restarts"), values.at("restart_expire_time"));
    match (max_at, expire_at) {
        (Some(at), _) if vm.max_restarts > 0 && !counts => {
            values.findings().info(at, "max_restarts has no effect: this VM is never restarted in place");
        }
        (Some(_), Some(at)) if vm.max_restarts > 0 && written_zero => {
            values
                .findings()
                .warning(at, "restart_expire_time is 0: restarts are never forgotten")
                .help("once max_restarts is reached, each failure moves the VM; write a window such as 10m");
        }
        (Some(at), _) if vm.max_restarts > 0 && vm.restart_expire_time.is_zero() => {
            values
                .findings()
                .info(at, "without restart_expire_time, restarts count for ever")
                .help("write restart_expire_time=\"10m\" to forget a restart after ten minutes");
        }
        (_, Some(at)) if vm.max_restarts == 0 && !vm.restart_expire_time.is_zero() && counts => {
            values
                .findings()
                .info(at, "restart_expire_time has no effect without max_restarts")
                .help("the VM is restarted in place without end; max_restarts=\"2\" moves it on after two restarts");
        }
        _ => {}
    }
}

/// `@recovery`. The original took any other word that contains "disable" for restart-disable.
fn recovery(values: &mut Values<'_, '_, '_>) -> Recovery {
    let Some(value) = values.text("recovery") else {
        return Recovery::Restart;
    };
    let word = value.value.trim().to_ascii_lowercase();
    match word.as_str() {
        "restart" => Recovery::Restart,
        "relocate" => Recovery::Relocate,
        "disable" => Recovery::Disable,
        "restart-disable" => Recovery::RestartDisable,
        other => {
            let (taken, recovery) = if other.contains("disable") {
                ("restart-disable", Recovery::RestartDisable)
            } else {
                ("restart", Recovery::Restart)
            };
            values
                .findings()
                .warning(value.at, format!("recovery={} is not known: taken for {taken}", quoted(value.value)))
                .help("write restart, relocate, disable or restart-disable");
            recovery
        }
    }
}

/// `@max_restarts`; what is below 0 counts nothing, like 0.
fn max_restarts(values: &mut Values<'_, '_, '_>) -> u32 {
    let negative = values.text("max_restarts").filter(|value| value.value.trim().parse::<i64>().is_ok_and(|n| n < 0));
    if let Some(value) = negative {
        values.findings().info(value.at, format!("max_restarts={} means no limit, like 0", quoted(value.value)));
        return 0;
    }
    values.number("max_restarts", 0..=u32::MAX).unwrap_or(0)
}
