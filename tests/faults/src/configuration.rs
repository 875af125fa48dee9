//! The `cluster.conf` of a test, and fence agents that misbehave as a script tells them.

use anyhow::Result;
use belay_demo::layout::Run;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// How long a guest has to shut down. The tests' guests never do; each stop takes this long.
pub const STOP_SECONDS: u32 = 1;

/// What a `cluster.conf` says.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// `config_version`.
    pub version: u32,
    /// The fence agent of every host.
    pub agent: String,
    /// The votes of the three hosts.
    pub votes: [u32; 3],
    /// Each VM's name and its further attributes.
    pub vms: Vec<(String, String)>,
}

impl Configuration {
    /// The usual one: these VMs, with their definitions on the shared storage.
    #[must_use]
    pub fn of(vms: &[&str]) -> Self {
        let vms = vms.iter().map(|vm| ((*vm).to_owned(), String::new())).collect();
        Self { version: 1, agent: "fence_belay_demo".to_owned(), votes: [1; 3], vms }
    }

    /// With one more VM; its attributes as they stand in the file.
    #[must_use]
    pub fn with(mut self, vm: &str, attributes: &str) -> Self {
        self.vms.push((vm.to_owned(), attributes.to_owned()));
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self, run: &Run) -> String {
        let mut text =
            format!("<?xml version=\"1.0\"?>\n<cluster name=\"faults\" config_version=\"{}\">\n", self.version);
        text += "  <clusternodes>\n";
        for (host, votes) in run.hosts().iter().zip(self.votes) {
            let _ = writeln!(
                text,
                "    <clusternode name=\"{name}\" nodeid=\"{id}\" votes=\"{votes}\"><fence><method name=\"power\">\
                 <device name=\"switch\" port=\"{name}\"/></method></fence></clusternode>",
                name = host.name,
                id = host.id
            );
        }
        let _ = writeln!(
            text,
            "  </clusternodes>\n  <fencedevices>\n    <fencedevice name=\"switch\" agent=\"{}\" state_dir=\"{}\"/>\n  \
             </fencedevices>\n  <rm>",
            self.agent,
            run.dir.display()
        );
        for (vm, attributes) in &self.vms {
            let place = if attributes.contains("path=") || attributes.contains("xmlfile=") {
                String::new()
            } else {
                format!(" path=\"{}\"", run.definitions().display())
            };
            let _ = writeln!(
                text,
                "    <vm name=\"{vm}\"{place} {attributes}><action name=\"stop\" timeout=\"{STOP_SECONDS}\"/></vm>"
            );
        }
        text + "  </rm>\n</cluster>\n"
    }
}

/// Puts a fence agent on every host's `PATH`. `body` is shell text, run when the agent is to switch a host off; `$n` is
/// the number of that call, from 1, and `fenced` hands it on to the real agent. Everything else the real agent answers.
///
/// # Errors
/// When the file cannot be written.
pub fn fence_script(run: &Run, name: &str, body: &str) -> Result<()> {
    let file = run.bin().join(name);
    let calls = run.dir.join(name);
    fs::create_dir_all(&calls)?;
    // mkdir is what counts: of two agents at the same moment only one makes the folder.
    let text = format!(
        "#!/bin/bash\ncd {calls}\ninput=$(cat)\nfenced() {{ {bin}/fence_belay_demo <<<\"$input\"; }}\n\
         grep -qxE 'action=(metadata|on|status|monitor|list)' <<<\"$input\" && {{ fenced; exit; }}\n\
         n=1; until mkdir $n 2>/dev/null; do n=$((n + 1)); done\n{body}\n",
        calls = calls.display(),
        bin = run.bin().display()
    );
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
