//! How a virtual machine is run: its definition, its hypervisor, its migrations and its time limits.

use super::findings::{Findings, quoted};
use super::members::Members;
use super::schema;
use super::values::{Values, switch};
use super::xml::{self, Xml};
use crate::model::{Migration, Vm};
use std::ops::Range;

/// Where the VM's definition is: `@xmlfile` and `@path`.
pub(super) fn definition(values: &mut Values<'_, '_, '_>, vm: &mut Vm, element: Xml<'_>) {
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
fn absolute(values: &mut Values<'_, '_, '_>, name: &str, path: &str, at: Range<usize>) {
    if !path.starts_with('/') {
        values
            .findings()
            .warning(at, format!("{name} {} does not begin with '/'", quoted(path)))
            .help("write the whole path; what it is relative to differs from host to host");
    }
}

/// `@hypervisor`, `@hypervisor_uri` and `@use_virsh`: Belay talks to libvirt, and to nothing else.
pub(super) fn hypervisor(values: &mut Values<'_, '_, '_>, vm: &mut Vm) {
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
pub(super) fn migration(values: &mut Values<'_, '_, '_>, vm: &mut Vm, members: &Members) {
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
        if !members.knows(member) {
            values.findings().warning(
                mapping.at.clone(),
                format!("migration_mapping names {}, which is not a node", quoted(member)),
            );
        }
        vm.migration_mapping.insert(member.to_owned(), target.to_owned());
    }
}

/// `action` elements: time limits for start, stop and migrate.
pub(super) fn timeouts(element: Xml<'_>, vm: &mut Vm, findings: &mut Findings<'_>) {
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
