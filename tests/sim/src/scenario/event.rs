//! What happens to a cluster in a scenario: the faults of the world, and what people do behind Belay's back.

use super::ask::node;
use super::setup::Setup;
use super::words::{Words, Wrong, milliseconds, wrong};
use crate::rules::{Course, Deed, Rule};
use belay_config::Cluster;
use belay_proto::NodeId;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Hosts lose their power and stay off.
    PowerOff(Vec<NodeId>),
    /// Hosts get power and boot.
    PowerOn(Vec<NodeId>),
    /// Everything on a host stands still.
    Freeze(NodeId),
    /// It goes on.
    Thaw(NodeId),
    /// A daemon stands still.
    FreezeDaemon(NodeId),
    /// It goes on.
    ThawDaemon(NodeId),
    /// A daemon is killed.
    KillDaemon {
        /// Whose.
        host: NodeId,
        /// Nothing starts it again.
        for_good: bool,
    },
    /// A daemon is started.
    StartDaemon(NodeId),
    /// A daemon is told to end, and stays away.
    StopDaemon {
        /// Whose.
        host: NodeId,
        /// Its VMs are stopped first.
        stop_vms: bool,
    },
    /// The libvirt agent of a host is killed; its daemon starts another.
    KillAgent(NodeId),
    /// A host's libvirt answers nothing.
    SilenceLibvirt(NodeId),
    /// It answers again.
    RestoreLibvirt(NodeId),
    /// The network falls into parts.
    Split(Vec<Vec<u32>>),
    /// It is whole again.
    Mend,
    /// A VM's process is killed.
    KillVm {
        /// Which.
        vm: String,
        /// Where, if it runs in more than one place.
        host: Option<NodeId>,
    },
    /// A guest powers itself off.
    PowersOff {
        /// Whose.
        vm: String,
    },
    /// `virsh start`.
    VirshStart {
        /// Which VM.
        vm: String,
        /// Where.
        host: NodeId,
    },
    /// `virsh destroy`.
    VirshDestroy {
        /// Which VM.
        vm: String,
        /// Where.
        host: NodeId,
    },
    /// `virsh migrate`.
    VirshMigrate {
        /// Which VM.
        vm: String,
        /// Where to.
        to: NodeId,
    },
    /// `virsh migrate` to a host that is no member.
    VirshMigrateAway {
        /// Which VM.
        vm: String,
    },
    /// Something a hypervisor shows of a guest that goes on existing.
    Shows {
        /// Whose.
        vm: String,
        /// What.
        what: Sign,
    },
    /// From now on something fails, or works again.
    Let(Rule),
    /// Whatever a member reports comes again, moments or a minute later.
    ReportsComeAgain,
    /// A disk has no space left.
    FillDisk(NodeId),
    /// It has space again.
    FreeDisk(NodeId),
    /// A host's calendar jumps.
    ClockJumps {
        /// Whose.
        host: NodeId,
        /// How far, in milliseconds.
        by_ms: i64,
    },
    /// A new `cluster.conf` on every host.
    Configure(Box<Setup>),
}

/// What a hypervisor shows of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The guest rebooted itself.
    Reboot,
    /// Somebody suspended it.
    Suspended,
    /// It goes on.
    Resumed,
    /// A disk failed, and it stands still for that.
    IoError,
}

const HELP: &str = "what can happen: power off|on HOST…|all, freeze|thaw HOST, freeze|thaw|kill|start|stop daemon on HOST, \
                    kill agent on HOST, silence|restore libvirt on HOST, split HOST… | HOST…, mend, reports come again, kill vm VM, VM powers off|reboots, \
                    virsh start|destroy VM on HOST, virsh migrate VM to HOST|out of the cluster, virsh suspend|resume VM, disk of VM fails, let …, fill|free disk on HOST, clock of HOST \
                    jumps SPAN, configure; or begin the line with expect or ask";

const LET_HELP: &str = "write: let starts|stops|migrations [of VM] [on HOST] work|fail|hang|lie, let migrations … work \
                        unnoticed|leave two|leave none, let … take 20s, let guests [of VM] ignore|obey shutdown, let fencing|switching on \
                        [of HOST] [by HOST] work|fail|hang";

/// Who and what there is to name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) vms: &'a [String],
}

impl Names<'_> {
    pub(crate) fn host(&self, words: &mut Words<'_>) -> Result<NodeId, Wrong> {
        node(self.cluster, words.need("a host", HELP)?)
    }

    fn on_host(&self, words: &mut Words<'_>) -> Result<NodeId, Wrong> {
        if !words.take("on") {
            return wrong("'on' and a host are missing", HELP);
        }
        let host = self.host(words)?;
        words.end(HELP)?;
        Ok(host)
    }

    pub(crate) fn vm(&self, words: &mut Words<'_>) -> Result<String, Wrong> {
        let name = words.need("a VM", HELP)?;
        match self.vm_named(name) {
            Some(vm) => Ok(vm),
            None => wrong(format!("there is no VM '{name}'"), format!("the VMs are {}", self.vms.join(", "))),
        }
    }

    pub(crate) fn vm_named(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("vm:").unwrap_or(name);
        self.vms.iter().find(|vm| *vm == name).cloned()
    }

    pub(crate) fn host_named(&self, name: &str) -> Option<NodeId> {
        self.cluster.node_named(name).map(|node| node.id)
    }

    fn hosts(&self, words: &mut Words<'_>) -> Result<Vec<NodeId>, Wrong> {
        if words.take("all") {
            words.end(HELP)?;
            return Ok(self.cluster.nodes.keys().copied().collect());
        }
        let mut hosts = vec![self.host(words)?];
        while !words.is_empty() {
            hosts.push(self.host(words)?);
        }
        Ok(hosts)
    }
}

/// Reads an event; the change that `configure` makes stands in lines of its own.
pub(crate) fn read(words: &mut Words<'_>, names: Names<'_>) -> Result<Event, Wrong> {
    if words.take("power off") {
        return Ok(Event::PowerOff(names.hosts(words)?));
    }
    if words.take("power on") {
        return Ok(Event::PowerOn(names.hosts(words)?));
    }
    if words.take("split") {
        return split(words, names);
    }
    if words.take("let") {
        return rule(words, names).map(Event::Let);
    }
    if words.take("stop daemon and vms") {
        return Ok(Event::StopDaemon { host: names.on_host(words)?, stop_vms: true });
    }
    type OnHost = (&'static str, fn(NodeId) -> Event);
    let on_host: [OnHost; 9] = [
        ("freeze daemon", Event::FreezeDaemon),
        ("thaw daemon", Event::ThawDaemon),
        ("start daemon", Event::StartDaemon),
        ("stop daemon", |host| Event::StopDaemon { host, stop_vms: false }),
        ("kill agent", Event::KillAgent),
        ("silence libvirt", Event::SilenceLibvirt),
        ("restore libvirt", Event::RestoreLibvirt),
        ("fill disk", Event::FillDisk),
        ("free disk", Event::FreeDisk),
    ];
    for (phrase, event) in on_host {
        if words.take(phrase) {
            return names.on_host(words).map(event);
        }
    }
    if words.take("kill daemon") {
        if !words.take("on") {
            return wrong("'on' and a host are missing", HELP);
        }
        let host = names.host(words)?;
        let for_good = words.take("for good");
        words.end("write: kill daemon on node2 [for good]")?;
        return Ok(Event::KillDaemon { host, for_good });
    }
    if words.take("kill vm") {
        let vm = names.vm(words)?;
        let host = if words.is_empty() { None } else { Some(names.on_host(words)?) };
        return Ok(Event::KillVm { vm, host });
    }
    let event = if words.take("freeze") {
        Event::Freeze(names.host(words)?)
    } else if words.take("thaw") {
        Event::Thaw(names.host(words)?)
    } else if words.take("mend") {
        Event::Mend
    } else if words.take("reports come again") {
        Event::ReportsComeAgain
    } else if words.take("virsh") {
        virsh(words, names)?
    } else if words.take("disk of") {
        let vm = names.vm(words)?;
        if !words.take("fails") {
            return wrong("a disk of a VM can only fail", "write: disk of a fails");
        }
        Event::Shows { vm, what: Sign::IoError }
    } else if words.take("clock of") {
        clock(words, names)?
    } else if let Some(vm) = words.peek().and_then(|word| names.vm_named(word)) {
        words.next();
        if words.take("powers off") {
            Event::PowersOff { vm }
        } else if words.take("reboots") {
            Event::Shows { vm, what: Sign::Reboot }
        } else {
            return wrong(format!("what happens to {vm} is not understood"), HELP);
        }
    } else {
        return wrong(format!("'{}' is nothing that can happen", words.peek().unwrap_or_default()), HELP);
    };
    words.end(HELP)?;
    Ok(event)
}

fn split(words: &mut Words<'_>, names: Names<'_>) -> Result<Event, Wrong> {
    let mut sides = vec![Vec::new()];
    while !words.is_empty() {
        if words.take("|") {
            sides.push(Vec::new());
        } else if let Some(side) = sides.last_mut() {
            side.push(names.host(words)?.0);
        }
    }
    if sides.len() < 2 || sides.iter().any(Vec::is_empty) {
        return wrong("a split needs two sides", "write: split node1 node2 | node3");
    }
    Ok(Event::Split(sides))
}

fn virsh(words: &mut Words<'_>, names: Names<'_>) -> Result<Event, Wrong> {
    let verb = words.need("what virsh does", HELP)?;
    let vm = names.vm(words)?;
    match verb {
        "start" => Ok(Event::VirshStart { vm, host: names.on_host(words)? }),
        "destroy" => Ok(Event::VirshDestroy { vm, host: names.on_host(words)? }),
        "suspend" => Ok(Event::Shows { vm, what: Sign::Suspended }),
        "resume" => Ok(Event::Shows { vm, what: Sign::Resumed }),
        "migrate" if words.take("out of the cluster") => Ok(Event::VirshMigrateAway { vm }),
        "migrate" if words.take("to") => Ok(Event::VirshMigrate { vm, to: names.host(words)? }),
        _ => wrong(format!("'virsh {verb}' is not understood"), HELP),
    }
}

fn clock(words: &mut Words<'_>, names: Names<'_>) -> Result<Event, Wrong> {
    let host = names.host(words)?;
    if !words.take("jumps") {
        return wrong("'jumps' and a length of time are missing", "write: clock of node1 jumps -3h");
    }
    let span = words.need("how far", "write: clock of node1 jumps -3h")?;
    let (sign, span) = span.strip_prefix('-').map_or((1, span), |span| (-1, span));
    let by_ms = sign * i64::try_from(milliseconds(span)?).unwrap_or(i64::MAX);
    Ok(Event::ClockJumps { host, by_ms })
}

fn rule(words: &mut Words<'_>, names: Names<'_>) -> Result<Rule, Wrong> {
    let deed = match words.need("what it is about", LET_HELP)? {
        "starts" => Deed::Start,
        "stops" => Deed::Stop,
        "migrations" => Deed::Migration,
        "fencing" => Deed::Fencing,
        "switching" => Deed::SwitchingOn,
        "guests" => Deed::Shutdown,
        other => return wrong(format!("'{other}' cannot be ruled"), LET_HELP),
    };
    let mut rule = Rule { deed, vm: None, host: None, by: None, course: Course::Works };
    let power = matches!(deed, Deed::Fencing | Deed::SwitchingOn);
    if deed == Deed::SwitchingOn && !words.take("on") {
        return wrong("what is switched?", LET_HELP);
    }
    loop {
        if words.take("of") {
            match deed {
                Deed::Fencing | Deed::SwitchingOn => rule.host = Some(names.host(words)?),
                _ => rule.vm = Some(names.vm(words)?),
            }
        } else if !power && words.take("on") {
            rule.host = Some(names.host(words)?);
        } else if power && words.take("by") {
            rule.by = Some(names.host(words)?);
        } else {
            break;
        }
    }
    rule.course = course(words, deed)?;
    words.end(LET_HELP)?;
    Ok(rule)
}

fn course(words: &mut Words<'_>, deed: Deed) -> Result<Course, Wrong> {
    let migration = deed == Deed::Migration;
    let course = match deed {
        Deed::Shutdown if words.take("ignore shutdown") => Course::Fails,
        Deed::Shutdown if words.take("obey shutdown") => Course::Works,
        Deed::Shutdown => return wrong("guests ignore or obey", LET_HELP),
        _ if migration && words.take("work unnoticed") => Course::WorksUnnoticed,
        _ if migration && words.take("leave two") => Course::LeavesTwo,
        _ if migration && words.take("leave none") => Course::LeavesNone,
        _ if migration && words.take("lie") => Course::Lies,
        _ if words.take("work") => Course::Works,
        _ if words.take("fail") => Course::Fails,
        _ if words.take("hang") => Course::Hangs,
        _ if words.take("take") => Course::Takes(milliseconds(words.need("how long", LET_HELP)?)?),
        _ => return wrong("how it goes is not understood", LET_HELP),
    };
    Ok(course)
}
