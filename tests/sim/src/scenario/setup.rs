//! The cluster of a scenario: the lines that describe it, and the `cluster.conf` they amount to.
//!
//! Compact lines become elements whose attributes are the file's own, so that everything `cluster.conf` can say can be
//! said here, and nothing has to be taught twice. What is easier to read as XML may stand as XML.

use super::words::{Words, Wrong, wrong};
use std::fmt::Write;

/// The lines of a scenario's head that make up its `cluster.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    items: Vec<Item>,
    xml: String,
    /// `config_version`; each change of the configuration adds one.
    pub version: u64,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    kind: Kind,
    name: String,
    attributes: Vec<(String, String)>,
    /// Plain words: members of a domain, VMs of an affinity.
    words: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Cman,
    FenceDaemon,
    Domain,
    Placement,
    Affinity,
    AntiAffinity,
    Vm,
    Rm,
}

/// Where the cluster is to run: what differs between simulated hosts and real ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The fence agent of every device.
    pub agent: String,
    /// Further attributes of every fence device.
    pub device: String,
    /// Where definitions of VMs lie.
    pub path: String,
    /// How long a guest has to shut down, where the scenario does not say.
    pub stop_timeout: String,
}

impl Default for Ground {
    fn default() -> Self {
        Self { agent: "fence_sim".into(), device: String::new(), path: "/vms".into(), stop_timeout: "5".into() }
    }
}

const HELP: &str = "a cluster is described by lines that begin with: hosts, host, two_node, cman, fence_daemon, domain, \
                    placement, affinity, anti-affinity, vm, rm, or with < for XML inside of <rm>";

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "cman" => Self::Cman,
            "fence_daemon" => Self::FenceDaemon,
            "domain" => Self::Domain,
            "placement" => Self::Placement,
            "affinity" => Self::Affinity,
            "anti-affinity" => Self::AntiAffinity,
            "vm" => Self::Vm,
            "rm" => Self::Rm,
            _ => return None,
        })
    }

    fn named(self) -> bool {
        matches!(self, Self::Host | Self::Domain | Self::Affinity | Self::AntiAffinity | Self::Vm)
    }
}

/// Whether a line that begins with this word belongs to the description of the cluster.
pub(crate) fn describes(word: &str) -> bool {
    matches!(word, "hosts" | "two_node") || word.starts_with('<') || Kind::of(word).is_some()
}

impl Setup {
    /// Takes in one line; one that names the same thing again replaces it.
    pub(crate) fn line(&mut self, words: &mut Words<'_>) -> Result<(), Wrong> {
        let first = words.need("what is described", HELP)?;
        match first {
            "hosts" => {
                let count = words.need("the number of hosts", "write: hosts 3")?;
                match count.parse::<u32>() {
                    Ok(count @ 1..=64) => (1..=count).for_each(|id| self.put(Item::host(id))),
                    _ => return wrong(format!("'{count}' is no number of hosts"), "write 1 to 64: hosts 3"),
                }
                return words.end("the number of hosts stands alone: hosts 3");
            }
            "two_node" => {
                let attributes = vec![("two_node".into(), "1".into()), ("expected_votes".into(), "1".into())];
                self.put(Item { kind: Kind::Cman, name: String::new(), attributes, words: Vec::new() });
                return words.end("two_node stands alone");
            }
            _ => {}
        }
        let Some(kind) = Kind::of(first) else {
            return wrong(format!("'{first}' is nothing a cluster consists of"), HELP);
        };
        let name = if kind.named() {
            words.need("its name", "write the name second: vm web1")?.to_owned()
        } else {
            String::new()
        };
        let mut item = Item { kind, name, attributes: Vec::new(), words: Vec::new() };
        while let Some(word) = words.next() {
            match word.text.split_once('=') {
                Some((key, value)) if !word.quoted && !key.is_empty() => {
                    item.attributes.push((key.into(), value.into()))
                }
                _ if matches!(kind, Kind::Domain | Kind::Affinity | Kind::AntiAffinity) => {
                    item.words.push(word.text.clone())
                }
                _ => {
                    let help = format!("write attributes as in cluster.conf: {first} … name=value");
                    return wrong(format!("'{}' is no attribute", word.text), help);
                }
            }
        }
        if kind == Kind::Host && item.number().is_none() {
            return wrong(format!("'{}' is no host", item.name), "hosts are called node1, node2, …");
        }
        self.put(item);
        Ok(())
    }

    /// Removes what a line names: `vm a`, `domain d`, `host node3`.
    pub(crate) fn without(&mut self, words: &mut Words<'_>) -> Result<(), Wrong> {
        let first = words.need("what is removed", HELP)?;
        let Some(kind) = Kind::of(first) else {
            return wrong(format!("'{first}' is nothing a cluster consists of"), HELP);
        };
        let name = if kind.named() { words.need("its name", "write: - vm web1")? } else { "" };
        words.end("only the name is needed to remove it: - vm web1")?;
        let before = self.items.len();
        self.items.retain(|item| item.kind != kind || item.name != name);
        if self.items.len() == before {
            return wrong(format!("there is no {first} {name} to remove"), "name one that was described before");
        }
        Ok(())
    }

    /// XML that stands inside of `<rm>` as it is.
    pub(crate) fn xml(&mut self, line: &str) {
        let _ = writeln!(self.xml, "    {line}");
    }

    fn put(&mut self, item: Item) {
        let same = |other: &&mut Item| other.kind == item.kind && other.name == item.name;
        match self.items.iter_mut().find(same) {
            Some(other) => *other = item,
            None => self.items.push(item),
        }
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.kind == kind)
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> u32 {
        self.of(Kind::Host).filter_map(Item::number).max().unwrap_or(0)
    }

    /// Its `cluster.conf`.
    #[must_use]
    pub fn text(&self, ground: &Ground) -> String {
        let version = self.version + 1;
        let mut text = format!("<?xml version=\"1.0\"?>\n<cluster name=\"scenario\" config_version=\"{version}\">\n");
        for (kind, element) in [(Kind::Cman, "cman"), (Kind::FenceDaemon, "fence_daemon")] {
            for item in self.of(kind) {
                let _ = writeln!(text, "  <{element}{}/>", item.plain());
            }
        }
        let mut devices = Vec::new();
        text.push_str("  <clusternodes>\n");
        for host in self.of(Kind::Host) {
            host.render_host(&mut text, &mut devices);
        }
        text.push_str("  </clusternodes>\n  <fencedevices>\n");
        for device in &devices {
            let _ = writeln!(text, "    <fencedevice name=\"{device}\" agent=\"{}\"{}/>", ground.agent, ground.device);
        }
        let rm = self.of(Kind::Rm).next().map(Item::plain).unwrap_or_default();
        let _ = writeln!(text, "  </fencedevices>\n  <rm{rm}>");
        self.render_domains(&mut text);
        self.render_placement(&mut text);
        for vm in self.of(Kind::Vm) {
            vm.render_vm(&mut text, ground);
        }
        let _ = writeln!(text, "{}  </rm>\n</cluster>", self.xml);
        text
    }

    fn render_domains(&self, text: &mut String) {
        if self.of(Kind::Domain).next().is_none() {
            return;
        }
        text.push_str("    <failoverdomains>\n");
        for domain in self.of(Kind::Domain) {
            let (flags, members): (Vec<&String>, Vec<&String>) =
                domain.words.iter().partition(|word| matches!(word.as_str(), "ordered" | "restricted" | "nofailback"));
            let flags: String = flags.iter().map(|flag| format!(" {flag}=\"1\"")).collect();
            let _ = writeln!(text, "      <failoverdomain name=\"{}\"{flags}{}>", domain.name, domain.plain());
            for member in members {
                let (name, priority) = member.split_once(':').map_or((member.as_str(), None), |(n, p)| (n, Some(p)));
                let priority = priority.map(|p| format!(" priority=\"{p}\"")).unwrap_or_default();
                let _ = writeln!(text, "        <failoverdomainnode name=\"{name}\"{priority}/>");
            }
            text.push_str("      </failoverdomain>\n");
        }
        text.push_str("    </failoverdomains>\n");
    }

    fn render_placement(&self, text: &mut String) {
        let rules: Vec<&Item> = self.of(Kind::Affinity).chain(self.of(Kind::AntiAffinity)).collect();
        let placement = self.of(Kind::Placement).next();
        if rules.is_empty() && placement.is_none() {
            return;
        }
        let _ = writeln!(text, "    <placement{}>", placement.map(Item::plain).unwrap_or_default());
        for rule in rules {
            let element = if rule.kind == Kind::Affinity { "affinity" } else { "anti-affinity" };
            let required = if rule.words.iter().any(|word| word == "required") { " required=\"1\"" } else { "" };
            let vms: Vec<&str> = rule.words.iter().map(String::as_str).filter(|word| *word != "required").collect();
            let (name, vms) = (&rule.name, vms.join(" "));
            let _ = writeln!(text, "      <{element} name=\"{name}\" vms=\"{vms}\"{required}{}/>", rule.plain());
        }
        text.push_str("    </placement>\n");
    }
}

impl Item {
    fn host(id: u32) -> Self {
        Self { kind: Kind::Host, name: format!("node{id}"), attributes: Vec::new(), words: Vec::new() }
    }

    fn number(&self) -> Option<u32> {
        self.name.strip_prefix("node")?.parse().ok().filter(|id| *id > 0)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Its attributes as they stand in the file, without those that are not the file's own.
    fn plain(&self) -> String {
        let own = |key: &str| !matches!(key, "fence" | "start-timeout" | "stop-timeout" | "migrate-timeout");
        let mut text = String::new();
        for (key, value) in self.attributes.iter().filter(|(key, _)| own(key)) {
            let _ =
                write!(text, " {key}=\"{}\"", value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;"));
        }
        text
    }

    /// `fence=bmc,pdu` are two methods, `fence=left+right` is one with two devices, `fence=none` is none.
    fn render_host(&self, text: &mut String, devices: &mut Vec<String>) {
        let id = self.number().unwrap_or_default();
        let own = format!("bmc{id}");
        let fence = self.get("fence").unwrap_or(&own);
        let mut methods = String::new();
        for method in fence.split(',').filter(|method| *method != "none") {
            let _ = write!(methods, "<method name=\"{method}\">");
            for device in method.split('+') {
                if !devices.iter().any(|known| known == device) {
                    devices.push(device.to_owned());
                }
                let _ = write!(methods, "<device name=\"{device}\" port=\"node{id}\"/>");
            }
            methods.push_str("</method>");
        }
        let fence = if methods.is_empty() { methods } else { format!("<fence>{methods}</fence>") };
        let (name, more) = (&self.name, self.plain());
        let _ = writeln!(text, "    <clusternode name=\"{name}\" nodeid=\"{id}\"{more}>{fence}</clusternode>");
    }

    fn render_vm(&self, text: &mut String, ground: &Ground) {
        let path = match (self.get("path"), self.get("xmlfile")) {
            (None, None) => format!(" path=\"{}\"", ground.path),
            _ => String::new(),
        };
        let _ = write!(text, "    <vm name=\"{}\"{path}{}>", self.name, self.plain());
        for (action, timeout) in [("start", "20"), ("stop", ground.stop_timeout.as_str()), ("migrate", "20")] {
            let timeout = self.get(&format!("{action}-timeout")).unwrap_or(timeout);
            let _ = write!(text, "<action name=\"{action}\" timeout=\"{timeout}\"/>");
        }
        text.push_str("</vm>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::split;
    use super::*;

    fn setup(lines: &[&str]) -> Setup {
        let mut setup = Setup::default();
        for line in lines {
            setup.line(&mut Words::new(&split(line).unwrap())).unwrap();
        }
        setup
    }

    #[test]
    fn compact_lines_become_the_configuration_they_stand_for() {
        let setup = setup(&[
            "hosts 3",
            "host node2 fence=bmc,pdu",
            "host node3 fence=none",
            "domain prefer ordered restricted node1:1 node2:2",
            "vm web1 domain=prefer recovery=relocate max_restarts=2 stop-timeout=9",
        ]);
        let reading = belay_config::read("cluster.conf", &setup.text(&Ground::default()));
        let cluster = reading.cluster.unwrap();
        let methods = |id: u32| cluster.nodes[&belay_proto::NodeId(id)].methods.len();
        assert_eq!([methods(1), methods(2), methods(3)], [1, 2, 0]);
        let vm = cluster.vms.values().next().unwrap();
        assert_eq!((vm.max_restarts, vm.stop_timeout), (2, belay_proto::Span::seconds(9)));
        assert_eq!(cluster.failover_domains["prefer"].members.len(), 2);
    }

    #[test]
    fn a_line_that_names_the_same_thing_replaces_it_and_it_can_be_removed() {
        let mut setup = setup(&["hosts 2", "vm a", "vm b", "vm a recovery=disable"]);
        assert!(setup.text(&Ground::default()).contains("recovery=\"disable\""));
        setup.without(&mut Words::new(&split("vm b").unwrap())).unwrap();
        assert!(!setup.text(&Ground::default()).contains("name=\"b\""));
        assert!(setup.without(&mut Words::new(&split("vm b").unwrap())).is_err());
    }
}
