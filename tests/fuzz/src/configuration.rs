//! `cluster.conf`: whatever the bytes, the reader answers, every finding lies in the file, and what is accepted can be
//! changed and read again.

use belay_config::edit::{EditError, Subject, set_attribute};
use belay_config::{Reading, Severity, Validated, read_bytes};
use roxmltree::Document;

/// Reads a file.
fn read_file(bytes: &[u8]) -> Option<Validated> {
    let reading = read_bytes("cluster.conf", bytes);
    let text = String::from_utf8_lossy(bytes);
    sound(&reading, &text);
    let cluster = reading.cluster?;
    assert_eq!(text.as_bytes(), bytes, "only UTF-8 is accepted");
    let again = belay_config::read("cluster.conf", &text).cluster;
    assert_eq!(again.as_ref(), Some(&cluster), "the same file is the same cluster");
    Some(cluster)
}

/// Reads a file, and changes it if it is accepted.
pub(crate) fn read(bytes: &[u8]) {
    let Some(cluster) = read_file(bytes) else { return };
    let text = std::str::from_utf8(bytes).unwrap();
    let version = cluster.version.checked_add(1).unwrap_or(1);
    let changed = set_attribute(text, &Subject::Cluster, "config_version", &version.to_string()).unwrap();
    let after = read_file(changed.as_bytes()).expect("a file with another version is a file like it");
    assert_eq!(after.version, version);
    assert_eq!((after.nodes.len(), after.vms.len()), (cluster.nodes.len(), cluster.vms.len()));
    for service in cluster.vms.keys() {
        let vm = Subject::Vm(service.name().to_owned());
        let changed = set_attribute(text, &vm, "autostart", "0").expect("a VM that was read is found");
        let after = read_file(changed.as_bytes()).expect("any VM may be left to be started by hand");
        assert!(!after.vms[service].autostart, "{service} in {changed}");
    }
    for node in cluster.nodes.values() {
        let changed = set_attribute(text, &Subject::Node(node.name.clone()), "memory", "1024").unwrap();
        sound(&belay_config::read("cluster.conf", &changed), &changed);
    }
}

/// What must be so of any reading.
fn sound(reading: &Reading, text: &str) {
    assert_eq!(reading.cluster.is_none(), reading.of(Severity::Error).count() > 0, "held back only with a reason");
    assert_eq!(reading.refusal().is_some(), reading.has_errors());
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = 0;
    for finding in &reading.diagnostics {
        assert!(finding.span.start >= last, "findings are in the order of the file");
        last = finding.span.start;
        assert!(text.get(finding.span.clone()).is_some(), "{finding:?} lies outside of the file");
        let line = lines.get(finding.line - 1).expect("its line is one of the file's");
        assert!(finding.column >= 1 && finding.column <= line.chars().count() + 1, "{finding:?}");
        assert!(!finding.to_string().contains('\n'), "{finding} is one line");
        assert!(finding.help.as_ref().is_none_or(|help| !help.is_empty()));
    }
    let rendered = reading.render(false);
    assert_eq!(rendered.is_empty(), reading.diagnostics.is_empty());
    assert!(!rendered.contains("Failed to read contents"), "{rendered}");
}

/// `KIND NAME`, an attribute, a value, each in a line, and the file.
pub(crate) fn edit(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parts = text.splitn(4, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (subject, attribute, value, file) = (part(), part(), part(), part());
    let (kind, name) = subject.split_once(' ').unwrap_or((subject, ""));
    let subject = match kind {
        "vm" => Subject::Vm(name.to_owned()),
        "node" => Subject::Node(name.to_owned()),
        "domain" => Subject::Domain(name.to_owned()),
        "placement" => Subject::Placement,
        "fence" => Subject::FenceDaemon,
        _ => Subject::Cluster,
    };
    match set_attribute(file, &subject, attribute, value) {
        Ok(changed) => set(&changed, &subject, attribute, value),
        Err(EditError::Syntax(_)) => assert!(Document::parse(file).is_err(), "what is XML can be changed"),
        Err(EditError::Missing { .. } | EditError::Attribute(_) | EditError::Value(_)) => {}
    }
}

/// The changed file has the attribute where it belongs, and with this value.
fn set(changed: &str, subject: &Subject, attribute: &str, value: &str) {
    let document = Document::parse(changed).unwrap_or_else(|error| panic!("{error} in {changed}"));
    let root = document.root_element();
    let (element, name) = match subject {
        Subject::Cluster => (root.tag_name().name(), None),
        Subject::Vm(name) => ("vm", Some(name)),
        Subject::Node(name) => ("clusternode", Some(name)),
        Subject::Domain(name) => ("failoverdomain", Some(name)),
        Subject::Placement => ("placement", None),
        Subject::FenceDaemon => ("fence_daemon", None),
    };
    // Setting the name itself gives the element another one.
    let name = if attribute == "name" { name.map(|_| value.to_owned()) } else { name.cloned() };
    let named = |node: &roxmltree::Node<'_, '_>| match &name {
        Some(name) => node.attribute("name").is_some_and(|own| own.eq_ignore_ascii_case(name)),
        None => true,
    };
    let mut all = root.descendants().filter(|node| node.tag_name().name() == element && named(node));
    assert!(all.any(|node| node.attribute(attribute) == Some(value)), "{attribute}={value:?} is not in {changed}");
}
