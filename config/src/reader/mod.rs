//! The reader: from text to a checked model, in one pass over the file's parts, each with its own page.
//!
//! Fence devices and members come before what names them: [`fencing`] knows the devices, [`members`] the nodes and
//! their fence methods, [`domains`] the failover domains, [`vms`] the virtual machines. Each part reads what it
//! understands and hands every element to [`schema`], which reports the rest. Nothing stops at the first finding.

mod apart;
mod depend;
mod domains;
mod fencing;
mod findings;
mod machine;
mod members;
mod not_xml;
mod placement;
mod room;
mod rules;
mod schema;
mod sizes;
mod tables;
mod together;
mod values;
mod vms;
mod xml;

use crate::model::{Cluster, Validated};
use crate::reading::Reading;
use crate::source::Source;
use findings::Findings;
use rules::Rules;
use values::Values;
use xml::Xml;

/// The largest file that is read. A cluster of a thousand VMs is described in 0.2 MB.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// RHCS's own limit: the name is part of the name of every lockspace.
const LONGEST_NAME: usize = 15;

/// Reads a configuration. `file_name` is only used to name the place of findings.
#[must_use]
pub fn read(file_name: &str, text: &str) -> Reading {
    if text.len() > MAX_BYTES {
        return too_large(file_name, text.len());
    }
    let source = Source::new(file_name, text);
    let mut findings = Findings::new(&source);
    let cluster = match xml::parse(text, &source, &mut findings) {
        Some(document) => cluster(document.root_element(), &mut findings),
        None => Cluster::default(),
    };
    let usable = !findings.any_error();
    let diagnostics = findings.finish(text);
    Reading { cluster: usable.then(|| Validated::new(cluster)), diagnostics, source }
}

/// Reads a configuration from a file's bytes, which must be UTF-8.
#[must_use]
pub fn read_bytes(file_name: &str, bytes: &[u8]) -> Reading {
    if bytes.len() > MAX_BYTES {
        return too_large(file_name, bytes.len());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => read(file_name, text),
        Err(error) => {
            let text = String::from_utf8_lossy(bytes);
            let source = Source::new(file_name, &text);
            let mut findings = Findings::new(&source);
            let at = error.valid_up_to();
            findings
                .error(at..at, "this byte is not UTF-8 text")
                .help("convert the file, for example: iconv -f ISO-8859-1 -t UTF-8");
            let diagnostics = findings.finish(&text);
            Reading { cluster: None, diagnostics, source }
        }
    }
}

/// The reading of a file that is not even looked at.
fn too_large(file_name: &str, bytes: usize) -> Reading {
    let source = Source::new(file_name, "");
    let mut findings = Findings::new(&source);
    findings
        .error(0..0, format!("the file has {bytes} bytes; no more than {MAX_BYTES} are read"))
        .help("is this really a cluster.conf?");
    let diagnostics = findings.finish("");
    Reading { cluster: None, diagnostics, source }
}

/// The whole model. It is only used if no error was found, so parts that could not be read are left out.
fn cluster(root: Xml<'_>, findings: &mut Findings<'_>) -> Cluster {
    if !xml::is(root, "cluster") {
        findings
            .error(xml::tag(root), format!("the file describes <{}>, not a <cluster>", root.tag_name().name()))
            .help("a cluster.conf begins with <cluster name=\"…\" config_version=\"…\">");
        return Cluster::default();
    }
    schema::check(root, findings);
    let (name, version) = identity(root, findings);
    let parts = Parts::of(root, findings);
    let devices = fencing::devices(&parts.fence_devices, findings);
    let members = members::read(&parts.nodes, &devices, root, findings);
    fencing::unused(&parts.fence_devices, &members, findings);
    let quorum = members::quorum(parts.cman, &members, findings);
    let failover_domains = domains::read(&parts.rm, &members, findings);
    let (mut vms, elements) = vms::read(&parts.rm, &members, &failover_domains, findings);
    depend::read(&mut vms, &elements, findings);
    let (placement, places) = placement::read(&parts.rm, &vms, findings);
    let whole = members.complete();
    let cluster = Cluster {
        name,
        version,
        nodes: members.into_nodes(),
        two_node: quorum.two_node,
        expected_votes: quorum.expected_votes,
        fence_daemon: fencing::fence_daemon(parts.fence_daemon, findings),
        fence_devices: devices,
        failover_domains,
        placement,
        vms,
    };
    rules::check(&Rules { cluster: &cluster, places: &places, elements: &elements }, whole, findings);
    cluster
}

/// `cluster/@name` and `cluster/@config_version`.
fn identity(root: Xml<'_>, findings: &mut Findings<'_>) -> (String, u64) {
    let mut values = Values::of(root, findings);
    let name = values.required_name("name").map(|name| name.value.to_owned()).unwrap_or_default();
    let length = name.chars().count();
    if let Some(at) = values.at("name").filter(|_| length > LONGEST_NAME) {
        values
            .findings()
            .warning(at, format!("cluster name has {length} characters; RHCS allowed no more than {LONGEST_NAME}"))
            .help("Belay does not mind, but a GFS2 lock table or an old tool may");
    }
    let version = match values.find("config_version") {
        Some(_) => values.number("config_version", 0..=u64::MAX).unwrap_or(0),
        None => {
            values
                .findings()
                .error(xml::tag(root), "<cluster> has no config_version")
                .help("write config_version=\"1\" and increase it with every change: members take the newest");
            0
        }
    };
    (name, version)
}

/// The elements directly under `cluster`, lists joined and single ones chosen.
struct Parts<'a> {
    nodes: Vec<Xml<'a>>,
    fence_devices: Vec<Xml<'a>>,
    rm: Vec<Xml<'a>>,
    cman: Option<Xml<'a>>,
    fence_daemon: Option<Xml<'a>>,
}

impl<'a> Parts<'a> {
    fn of(root: Xml<'a>, findings: &mut Findings<'_>) -> Self {
        Self {
            nodes: schema::joined(root, "clusternodes", findings),
            fence_devices: schema::joined(root, "fencedevices", findings),
            rm: schema::joined(root, "rm", findings),
            cman: schema::single(&[root], "cman", findings),
            fence_daemon: schema::single(&[root], "fence_daemon", findings),
        }
    }
}
