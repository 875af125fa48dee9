//! Virtual machines: the attributes of the original's `vm` resource, as an administrator of it expects them.

use super::findings::{Findings, quoted};
use super::schema;
use super::values::{Old, Values, switch};
use super::xml::{self, Xml};
use crate::model::{FailoverDomain, Migration, Node, Recovery, Vm};
use crate::near;
use belay_proto::{ServiceName, Span};
use std::collections::BTreeMap;

/// `rm/vm` by full name.
pub(super) fn read(
    rm: &[Xml<'_>],
    nodes: &[Node],
    domains: &BTreeMap<String, FailoverDomain>,
    findings: &mut Findings<'_>,
) -> BTreeMap<ServiceName, Vm> {
    let mut vms = BTreeMap::new();
    let mut lines: BTreeMap<ServiceName, usize> = BTreeMap::new();
    for element in schema::listed(rm, "vm", findings) {
        let Some(service) = name(element, findings) else {
            continue;
        };
        let vm = vm(element, service.name(), nodes, domains, findings);
        if let Some(line) = lines.get(&service) {
            let at = Values::of(element, findings).at("name").unwrap_or_else(|| xml::tag(element));
            findings
                .error(at, format!("{service} exists already"))
                .help(format!("the other one is in line {line}; one machine can be managed only once"));
            continue;
        }
        lines.insert(service.clone(), findings.line(element.range().start));
        vms.insert(service, vm);
    }
    vms
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
    nodes: &[Node],
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
    restarts(&mut values, &mut vm);
    definition(&mut values, &mut vm, element);
    hypervisor(&mut values, &mut vm);
    migration(&mut values, &mut vm, nodes);
    timeouts(element, &mut vm, findings);
    vm
}

/// `@domain`: the key of the failover domain, `None` with a warning if there is no such domain (the original's #66).
fn domain(values: &mut Values<'_, '_, '_>, domains: &BTreeMap<String, FailoverDomain>) -> Option<String> {
    let value = values.text("domain")?;
    let key = value.value.trim().to_lowercase();
    if domains.contains_key(&key) {
        return Some(key);
    }
    let near = near::nearest(value.value, domains.values().map(|domain| domain.name.as_str()));
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
        return u32::try_from(number).ok().filter(|number| *number > 0);
    }
    if value.value.trim().eq_ignore_ascii_case("yes") {
        return Some(1);
    }
    values.flag("exclusive", false, Old::Integer).then_some(1)
}

/// `@recovery`, `@max_restarts` and `@restart_expire_time`.
fn restarts(values: &mut Values<'_, '_, '_>, vm: &mut Vm) {
    vm.recovery = recovery(values);
    vm.max_restarts = max_restarts(values);
    vm.restart_expire_time = values.span("restart_expire_time").unwrap_or(Span::ZERO);
    let counts = matches!(vm.recovery, Recovery::Restart | Recovery::RestartDisable);
    let (max_at, expire_at) = (values.at("max_restarts"), values.at("restart_expire_time"));
    match (max_at, expire_at) {
        (Some(at), _) if vm.max_restarts > 0 && !counts => {
            values.findings().info(at, "max_restarts has no effect: this VM is never restarted in place");
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

/// Where the VM's definition is: `@xmlfile` and `@path`.
fn definition(values: &mut Values<'_, '_, '_>, vm: &mut Vm, element: Xml<'_>) {
    let xmlfile = values.text("xmlfile");
    let path = values.text("path");
    if let (Some(_), Some(path)) = (&xmlfile, &path) {
        values.findings().warning(path.at.clone(), "path is not searched: xmlfile names the definition");
    }
    if xmlfile.is_none() && path.is_none() {
        values
            .findings()
            .warning(
                xml::tag(element),
                format!("VM {} has neither path nor xmlfile: it cannot be started", quoted(&vm.name)),
            )
            .help("VMs are started from a definition that all hosts can read; write path=\"/folder/with/definitions\"");
    }
    if let Some(file) = &xmlfile {
        absolute(values, "xmlfile", file.value, file.at.clone());
        vm.xmlfile = Some(file.value.to_owned());
    }
    if let Some(path) = path {
        for folder in path.value.split(':').filter(|folder| !folder.is_empty()) {
            absolute(values, "path", folder, path.at.clone());
            vm.path.push(folder.to_owned());
        }
    }
}

/// A relative path would be looked up from wherever belayd happens to be.
fn absolute(values: &mut Values<'_, '_, '_>, name: &str, path: &str, at: std::ops::Range<usize>) {
    if !path.starts_with('/') {
        values
            .findings()
            .warning(at, format!("{name} {} does not begin with '/'", quoted(path)))
            .help("write the whole path; what it is relative to differs from host to host");
    }
}

/// `@hypervisor`, `@hypervisor_uri` and `@use_virsh`: Belay talks to libvirt, and to nothing else.
fn hypervisor(values: &mut Values<'_, '_, '_>, vm: &mut Vm) {
    if let Some(value) = values.text("use_virsh").filter(|value| switch(value.value) != Some(true)) {
        values.findings().warning(
            value.at,
            format!("use_virsh={} is ignored: VMs are run through libvirt only", quoted(value.value)),
        );
    }
    if let Some(value) = values.text("hypervisor") {
        let known = ["auto", "qemu", "kvm"].iter().any(|known| value.value.trim().eq_ignore_ascii_case(known));
        if !known {
            values
                .findings()
                .warning(value.at, format!("hypervisor={} is not used by Belay yet", quoted(value.value)))
                .help("QEMU/KVM is what Belay runs and is tested with");
        }
    }
    if let Some(uri) = values.text("hypervisor_uri").filter(|uri| !uri.value.trim().eq_ignore_ascii_case("auto")) {
        if uri.value.starts_with("xen") {
            values.findings().warning(
                uri.at,
                format!("hypervisor_uri={} is not QEMU's: Belay is not tested with it", quoted(uri.value)),
            );
        }
        vm.hypervisor_uri = Some(uri.value.trim().to_owned());
    }
}

/// `@migrate`, `@migration_uri` and `@migration_mapping`.
fn migration(values: &mut Values<'_, '_, '_>, vm: &mut Vm, nodes: &[Node]) {
    if let Some(value) = values.text("migrate") {
        match value.value.trim().to_ascii_lowercase().as_str() {
            "live" => {}
            "pause" => vm.migrate = Migration::Pause,
            _ => values
                .findings()
                .warning(value.at, format!("migrate={} is not known: taken for live", quoted(value.value)))
                .help("write live or pause"),
        }
    }
    if let Some(uri) = values.text("migration_uri").filter(|uri| !uri.value.trim().eq_ignore_ascii_case("auto")) {
        if !uri.value.contains("%s") {
            values
                .findings()
                .warning(uri.at, "migration_uri has no %s: every migration would go to the same host")
                .help("%s stands for the target's name, for example qemu+ssh://%s/system");
        }
        vm.migration_uri = Some(uri.value.trim().to_owned());
    }
    let Some(mapping) = values.text("migration_mapping") else {
        return;
    };
    for pair in mapping.value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((member, target)) =
            pair.split_once(':').filter(|(member, target)| !member.is_empty() && !target.is_empty())
        else {
            values
                .findings()
                .error(mapping.at.clone(), format!("{} in migration_mapping is not member:target", quoted(pair)))
                .help("write member:target pairs with commas between them");
            continue;
        };
        if !nodes.iter().any(|node| node.name == member) {
            values.findings().warning(
                mapping.at.clone(),
                format!("migration_mapping names {}, which is not a node", quoted(member)),
            );
        }
        vm.migration_mapping.insert(member.to_owned(), target.to_owned());
    }
}

/// `action` elements: time limits for start, stop and migrate.
fn timeouts(element: Xml<'_>, vm: &mut Vm, findings: &mut Findings<'_>) {
    for action in schema::listed(&[element], "action", findings) {
        let mut values = Values::of(action, findings);
        let Some(name) = values.required_name("name") else {
            continue;
        };
        let limit = match name.value {
            "start" => &mut vm.start_timeout,
            "stop" => &mut vm.stop_timeout,
            "migrate" => &mut vm.migrate_timeout,
            _ => {
                findings
                    .warning(name.at, format!("action {} of <vm> is not used by Belay yet", quoted(name.value)))
                    .help("time limits can be given for start, stop and migrate");
                continue;
            }
        };
        match (values.span("timeout"), values.at("timeout")) {
            (Some(span), Some(at)) if span.is_zero() => values
                .findings()
                .warning(at, "a time limit of 0 is ignored")
                .help(format!("it stays at {limit}; every action has a limit")),
            (Some(span), _) => *limit = span,
            (None, _) => {}
        }
    }
}
