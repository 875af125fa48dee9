//! Any `cluster.conf` that somebody might write: mostly sense, with nonsense wherever the dice say so.
//!
//! A file is made from a list of numbers, its dice. All zeroes give the plainest file, so a failing test shrinks towards
//! it. The engine's properties use this file too.

use std::fmt::Write;

/// Numbers that decide; when they are used up, every decision is the plainest one.
#[derive(Clone, Debug)]
pub(crate) struct Dice<'d> {
    rolls: &'d [u32],
    at: usize,
}

impl<'d> Dice<'d> {
    pub(crate) fn new(rolls: &'d [u32]) -> Self {
        Self { rolls, at: 0 }
    }

    /// A number below `sides`.
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        let roll = self.rolls.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        roll as usize % sides.max(1)
    }

    /// Happens once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    pub(crate) fn pick<'p, T: ?Sized>(&mut self, from: &[&'p T]) -> &'p T {
        from[self.below(from.len())]
    }
}

/// Values that are rarely what an attribute wants.
pub(crate) const NONSENSE: [&str; 26] = [
    "",
    "0",
    " ",
    "-1",
    "101",
    "yes",
    "4294967296",
    "99999999999999999999999",
    "NaN",
    "1e9",
    "ä€😀",
    "a b",
    "vm:",
    ":",
    "vm:a vm:a",
    "service:a",
    "%s%s%n",
    "../../etc/passwd",
    "'",
    "&amp;&lt;&quot;",
    "&#10;",
    "&#9;x",
    "18446744073709551615T",
    "9999999999y",
    "0x10",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];
const VMS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const DOMAINS: [&str; 4] = ["one", "two", "three", "Four"];
const NUMBERS: [&str; 7] = ["1", "2", "3", "4", "8", "50", "100"];
const SWITCHES: [&str; 4] = ["0", "1", "1", "0"];
const SIZES: [&str; 8] = ["1024", "2G", "512M", "4096", "16G", "1T", "100", "8 GiB"];
const SPANS: [&str; 6] = ["30", "10m", "1h30m", "0", "90s", "1y"];

/// Writes one file; `wild` is how many attributes there are, on the average, to one that is nonsense (0: none is).
struct Writer<'w, 'd> {
    dice: &'w mut Dice<'d>,
    wild: usize,
    text: String,
    /// How many failover domains there are.
    domains: usize,
}

impl Writer<'_, '_> {
    /// An attribute that may be missing.
    fn may(&mut self, name: &str, values: &[&str]) {
        if self.dice.once_in(3) {
            self.must(name, values);
        }
    }

    /// An attribute that is there, but for the wildest files.
    fn must(&mut self, name: &str, values: &[&str]) {
        let value = self.dice.pick(values);
        self.put(name, value);
    }

    fn put(&mut self, name: &str, value: &str) {
        let wild = self.wild > 0 && self.dice.once_in(self.wild);
        let value = if wild { self.dice.pick(&NONSENSE) } else { value };
        let quote = if value.contains('"') { '\'' } else { '"' };
        let value = if quote == '"' { value.to_owned() } else { value.replace('\'', "&apos;") };
        let _ = write!(self.text, " {name}={quote}{value}{quote}");
    }

    fn nodes(&mut self) {
        self.text.push_str("<clusternodes>");
        let many = NODES.len() - self.dice.below(NODES.len());
        for (index, name) in NODES.iter().take(many).enumerate() {
            self.text.push_str("\n<clusternode");
            self.put("name", name);
            self.put("nodeid", &(index + 1).to_string());
            self.may("votes", &["1", "2", "0"]);
            self.may("memory", &SIZES);
            self.may("cpus", &NUMBERS);
            self.text.push_str("><fence><method name=\"1\"><device");
            self.put("name", "bmc");
            self.text.push_str("/></method></fence></clusternode>");
        }
        self.text.push_str("</clusternodes>\n<fencedevices><fencedevice name=\"bmc\" agent=\"fence_ipmilan\" passwd=\"s3cret\"/></fencedevices>");
    }

    fn fence_daemon(&mut self) {
        self.text.push_str("\n<fence_daemon");
        for delay in ["post_join_delay", "post_fail_delay", "daemon_grace"] {
            self.may(delay, &SPANS);
        }
        self.may("clean_start", &SWITCHES);
        self.text.push_str("/>");
    }

    fn domains(&mut self) {
        self.text.push_str("\n<failoverdomains>");
        self.domains = self.dice.below(DOMAINS.len() + 1);
        for name in DOMAINS.iter().take(self.domains) {
            self.text.push_str("\n<failoverdomain");
            self.put("name", name);
            self.may("ordered", &SWITCHES);
            self.must("restricted", &SWITCHES);
            self.may("nofailback", &SWITCHES);
            self.text.push('>');
            for node in NODES {
                if self.dice.once_in(3) {
                    self.text.push_str("<failoverdomainnode");
                    self.put("name", node);
                    self.may("priority", &NUMBERS);
                    self.text.push_str("/>");
                }
            }
            self.text.push_str("</failoverdomain>");
        }
        self.text.push_str("</failoverdomains>");
    }

    fn vms(&mut self) {
        let many = VMS.len() - self.dice.below(VMS.len() + 1);
        for (index, name) in VMS.iter().take(many).enumerate() {
            self.text.push_str("\n<vm");
            self.put("name", name);
            self.put("path", "/vms");
            if self.dice.once_in(2) {
                self.must("domain", &["one", "two", "THREE", "four"][..self.domains.max(1)]);
            }
            self.may("autostart", &SWITCHES);
            self.may("recovery", &["restart", "relocate", "disable", "restart-disable"]);
            self.may("max_restarts", &NUMBERS);
            self.may("restart_expire_time", &SPANS);
            self.may("priority", &NUMBERS);
            self.may("guest_shutdown", &["recover", "stop"]);
            self.may("memory", &SIZES);
            self.may("vcpus", &NUMBERS);
            if self.dice.once_in(8) {
                self.must("exclusive", &["1", "2", "yes"]);
            }
            if self.dice.once_in(4) {
                // Mostly on an earlier one, so that circles stay rare enough for other things to be seen.
                let before = if self.dice.once_in(20) { VMS.len() } else { index };
                let on = self.dice.below(before);
                self.put("depend", &format!("vm:{}", VMS[on]));
                self.may("depend_mode", &["hard", "soft"]);
            }
            self.may("migrate", &["live", "pause"]);
            self.may("hypervisor_uri", &["qemu:///system", "auto"]);
            self.text.push_str("/>");
        }
    }

    fn placement(&mut self) {
        self.text.push_str("\n<placement");
        self.may("overcommit", &SWITCHES);
        for limit in ["cpu_ratio", "max_starts", "max_migrations"] {
            self.may(limit, &NUMBERS);
        }
        self.text.push('>');
        for index in 0..self.dice.below(5) {
            let kind = self.dice.pick(&["anti-affinity", "affinity"]);
            let _ = write!(self.text, "\n<{kind}");
            self.put("name", &format!("r{index}"));
            let mut vms = String::new();
            for vm in VMS {
                if self.dice.once_in(3) {
                    let _ = write!(vms, "{}{vm}", self.dice.pick(&[" ", ",", " vm:", ", vm:"]));
                }
            }
            self.put("vms", &vms);
            self.must("required", &SWITCHES);
            self.text.push_str("/>");
        }
        self.text.push_str("</placement>");
    }
}

/// A file of this version.
pub(crate) fn file(dice: &mut Dice<'_>, version: u64) -> String {
    let wild = [0, 0, 300, 100, 30, 5][dice.below(6)];
    let mut writer =
        Writer { dice, wild, text: format!("<cluster name=\"c\" config_version=\"{version}\">"), domains: 0 };
    if writer.dice.once_in(8) {
        writer.text.push_str("<cman two_node=\"1\" expected_votes=\"1\"/>");
    }
    writer.nodes();
    writer.fence_daemon();
    writer.text.push_str("\n<rm>");
    writer.domains();
    writer.vms();
    writer.placement();
    writer.text.push_str("</rm></cluster>\n");
    writer.text
}
