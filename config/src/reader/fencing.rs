//! Fence devices, the methods of a node that use them, and the delays before fencing.
//!
//! A method that reports success without having switched the node off would let its VMs run twice, so what an admin
//! may have left from a test (`action="status"`) is an error here and not a surprise later.

use super::findings::{Findings, quoted};
use super::members::Members;
use super::schema;
use super::values::{Old, Value, Values};
use super::xml::{self, Xml};
use crate::model::{Device, FenceDaemon, FenceDevice, Method};
use belay_proto::Span;
use std::collections::{BTreeMap, BTreeSet};

/// Actions after which a node runs as before.
const HARMLESS: [&str; 9] =
    ["on", "enable", "status", "monitor", "list", "list-status", "metadata", "validate-all", "manpage"];

/// A daemon that is killed is back within a second or two, more on a busy host.
const SHORTEST_GRACE: Span = Span::seconds(5);

/// `fencedevices/fencedevice` by name.
pub(super) fn devices(lists: &[Xml<'_>], findings: &mut Findings<'_>) -> BTreeMap<String, FenceDevice> {
    let mut devices: BTreeMap<String, FenceDevice> = BTreeMap::new();
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for element in schema::listed(lists, "fencedevice", findings) {
        let mut values = Values::of(element, findings);
        let Some(name) = values.required_name("name") else {
            continue;
        };
        let agent = agent(&mut values, element, name.value);
        let arguments = arguments(element, &["name", "agent"], findings);
        if let Some(line) = lines.get(name.value) {
            findings
                .error(name.at, format!("fence device {} exists already", quoted(name.value)))
                .help(format!("the other one is in line {line}; a device's name says which one a method uses"));
            continue;
        }
        lines.insert(name.value.to_owned(), findings.line(element.range().start));
        let device = FenceDevice { name: name.value.to_owned(), agent, arguments };
        devices.insert(device.name.clone(), device);
    }
    devices
}

/// `fencedevice/@agent`; empty where there is none, which is an error only for a method that uses the device.
fn agent(values: &mut Values<'_, '_, '_>, element: Xml<'_>, device: &str) -> String {
    let Some(agent) = values.text("agent") else {
        values
            .findings()
            .warning(xml::tag(element), format!("fence device {} has no agent and cannot fence", quoted(device)))
            .help("write agent=\"fence_ipmilan\", or whichever program talks to this device");
        return String::new();
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    let starts_well = agent.value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if !starts_well || !agent.value.chars().all(plain) {
        values
            .findings()
            .error(agent.at, format!("{} is not a fence agent's name", quoted(agent.value)))
            .help("write the program's name alone, without a folder or options; it is found through PATH");
    }
    agent.value.to_owned()
}

/// All attributes but some, in document order, as the agent gets them: one `key=value` a line.
fn arguments(element: Xml<'_>, without: &[&str], findings: &mut Findings<'_>) -> Vec<(String, String)> {
    let mut arguments = Vec::new();
    for attribute in element.attributes() {
        let (name, value) = (attribute.name(), attribute.value());
        if attribute.namespace().is_some() {
            findings.warning(attribute.range(), "an attribute with a prefix is not passed to the fence agent");
        } else if value.contains(['\n', '\r']) {
            findings
                .error(attribute.range(), format!("the value of {} contains a line break", quoted(name)))
                .help("agents read one key=value a line: the rest would be taken for another key");
        } else if !without.contains(&name) {
            arguments.push((name.to_owned(), value.to_owned()));
        }
    }
    arguments
}

/// `clusternode/fence/method` in document order.
pub(super) fn methods(
    node: Xml<'_>,
    name: &str,
    devices: &BTreeMap<String, FenceDevice>,
    findings: &mut Findings<'_>,
) -> Vec<Method> {
    let fences = schema::joined(node, "fence", findings);
    let mut names = BTreeSet::new();
    let mut methods = Vec::new();
    for element in schema::listed(&fences, "method", findings) {
        let values = Values::of(element, findings);
        let given: Option<Value<'_>> = values.find("name");
        let method_name = given.as_ref().map_or_else(|| (methods.len() + 1).to_string(), |name| name.value.to_owned());
        if given.is_none() {
            findings
                .warning(xml::tag(element), format!("a fence method of {} has no name", quoted(name)))
                .help(format!("it is called '{method_name}' in messages"));
        } else if !names.insert(method_name.clone()) {
            let at = given.map_or_else(|| xml::tag(element), |name| name.at);
            findings.warning(at, format!("{} has two fence methods named {}", quoted(name), quoted(&method_name)));
        }
        methods.push(Method { name: method_name, devices: method_devices(element, devices, findings) });
    }
    if methods.is_empty() {
        findings
            .warning(xml::tag(node), format!("{} has no fence method", quoted(name)))
            .help("when it is lost, its VMs start elsewhere only after an administrator confirms that it is off");
    }
    methods
}

/// `method/device` in document order.
fn method_devices(method: Xml<'_>, known: &BTreeMap<String, FenceDevice>, findings: &mut Findings<'_>) -> Vec<Device> {
    let mut devices = Vec::new();
    let mut switches_off = false;
    let elements = schema::listed(&[method], "device", findings);
    for element in &elements {
        let element = *element;
        let arguments = arguments(element, &["name"], findings);
        let Some(name) = Values::of(element, findings).required_name("name") else {
            switches_off = true;
            continue;
        };
        match known.get(name.value) {
            None => {
                switches_off = true;
                let near = findings.near(name.value, known.keys().map(String::as_str));
                findings.error(name.at, format!("there is no fence device {}", quoted(name.value))).help(
                    near.map_or_else(
                        || "describe it with a <fencedevice> in <fencedevices>".to_owned(),
                        |near| format!("did you mean '{near}'?"),
                    ),
                );
            }
            Some(device) => {
                if device.agent.is_empty() {
                    findings
                        .error(
                            name.at,
                            format!("fence device {} has no agent, so this method cannot fence", quoted(name.value)),
                        )
                        .help("write agent=\"…\" at its <fencedevice>");
                }
                switches_off |=
                    !action(&arguments, &device.arguments).is_some_and(|action| HARMLESS.contains(&action.as_str()));
            }
        }
        devices.push(Device { fence_device: name.value.to_owned(), arguments });
    }
    if elements.is_empty() {
        findings
            .warning(xml::tag(method), "this fence method has no device: it always fails")
            .help("write <device name=\"…\"/> with the name of a <fencedevice>");
    } else if !switches_off {
        findings
            .error(xml::tag(method), "this fence method never switches the node off")
            .help("no device of it has an action like off or reboot; its VMs would be started while they still run");
    }
    devices
}

/// The action an agent will carry out: of two values it takes the later one, and the device's own come last.
fn action(here: &[(String, String)], device: &[(String, String)]) -> Option<String> {
    let all = here.iter().chain(device);
    all.filter(|(key, _)| key == "action" || key == "option")
        .map(|(_, value)| value.trim().to_ascii_lowercase())
        .next_back()
}

/// A device that no method uses fences nobody, which is worth a look: was a method forgotten?
pub(super) fn unused(lists: &[Xml<'_>], members: &Members, findings: &mut Findings<'_>) {
    if !members.complete() {
        return;
    }
    let used = members.used_devices();
    for element in lists.iter().flat_map(|list| xml::children(*list, "fencedevice")) {
        if let Some(name) = Values::of(element, findings).find("name").filter(|name| !used.contains(name.value)) {
            findings.info(xml::tag(element), format!("no fence method uses fence device {}", quoted(name.value)));
        }
    }
}

/// `fence_daemon`.
pub(super) fn fence_daemon(element: Option<Xml<'_>>, findings: &mut Findings<'_>) -> FenceDaemon {
    let default = FenceDaemon::default();
    let Some(element) = element else {
        return default;
    };
    let mut values = Values::of(element, findings);
    FenceDaemon {
        post_join_delay: delay(&mut values, "post_join_delay", default.post_join_delay),
        post_fail_delay: delay(&mut values, "post_fail_delay", default.post_fail_delay),
        daemon_grace: daemon_grace(&mut values, default.daemon_grace),
        clean_start: values.flag("clean_start", default.clean_start, Old::Integer),
    }
}

/// `@daemon_grace`. The original knew nothing like it: without its daemon a host was fenced at once.
fn daemon_grace(values: &mut Values<'_, '_, '_>, default: Span) -> Span {
    let grace = values.span("daemon_grace").unwrap_or(default);
    if let Some(at) = values.at("daemon_grace").filter(|_| grace < SHORTEST_GRACE) {
        values
            .findings()
            .warning(at, format!("a daemon_grace of {grace} is shorter than a restart of belayd may take"))
            .help("a host whose daemon is restarted would be fenced, with all its VMs; the usual grace is 30 s");
    }
    grace
}

/// A delay. Negative ones mean "for ever" on fenced's command line, and were ignored in its configuration.
fn delay(values: &mut Values<'_, '_, '_>, name: &str, default: Span) -> Span {
    if let Some(value) = values.text(name).filter(|value| value.value.trim().starts_with('-')) {
        values
            .findings()
            .warning(value.at, format!("{name}={} is ignored, as RHCS ignored it", quoted(value.value)))
            .help(format!("it stays at {default}"));
        return default;
    }
    values.span(name).unwrap_or(default)
}
