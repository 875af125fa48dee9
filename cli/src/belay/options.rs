//! `belay`'s command line. What is written here is also its help, so each command says when one wants it and shows how.

use belay_proto::Span;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  belay status                          how is the cluster?
  belay why vm:web1                     how did this VM come to be where it is?
  belay events --follow                 watch what happens
  belay migrate vm:web1 --to node2      move it without a stop
  belay clustat -x                      as the command clustat

Exit status:
  0    it worked
  1    the daemon could not be asked
  2    the command line is wrong
  124  --wait is over, and the request stays in force
  else as clusvcadm: 252 no such service, 247 no quorum, 244 no such member,
       238 not permitted, 255 it failed";

/// Keeps virtual machines running on a cluster of hosts.
#[derive(Debug, Parser)]
#[command(name = "belay", version, after_help = EXAMPLES)]
pub(super) struct Options {
    /// The daemon's socket [default: $BELAY_SOCKET, or /run/belay/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show members, services and what needs attention
    #[command(
        after_help = "Examples:\n  belay status\n  belay status --json | jq '.services[] | select(.state == \"failed\")'"
    )]
    Status {
        /// As one JSON object, as the daemon gives it (times in milliseconds since 1970)
        #[arg(long)]
        json: bool,
    },
    /// List what happened, oldest first
    #[command(
        after_help = "Examples:\n  belay events --since 10m\n  belay events --service vm:web1\n  belay events --node node2 --last 20\n  belay events --follow --json | my-alert"
    )]
    Events(Events),
    /// Tell how a service or a host came to be in its state, from the first cause on
    #[command(
        after_help = "Examples:\n  belay why vm:web1     why is it where it is, and what keeps it from the other hosts?\n  belay why node2       why was it fenced, what does it wait for?"
    )]
    Why {
        /// The service (vm:web1, or web1 where only one kind has that name), or the host
        what: String,
        /// As one JSON object, as the daemon gives it
        #[arg(long)]
        json: bool,
    },
    /// Start a service and keep it running
    #[command(after_help = "\
Examples:
  belay enable vm:web1               on the best member
  belay enable vm:web1 --to node2

clusvcadm -e starts it on the member where it is typed, as ever.")]
    Enable(To),
    /// Stop a service and keep it stopped until it is enabled
    #[command(after_help = "Example:\n  belay disable vm:web1")]
    Disable(Of),
    /// Stop a service until the next change of the membership gives a reason to start it
    #[command(after_help = "Example:\n  belay stop vm:web1\n\nTo keep it stopped, disable it.")]
    Stop(Of),
    /// Stop a service and start it where it was
    #[command(after_help = "Example:\n  belay restart vm:web1")]
    Restart(Of),
    /// Stop a service and start it on another member
    #[command(
        after_help = "Examples:\n  belay relocate vm:web1\n  belay relocate vm:web1 --to node2\n\nTo move a VM while it runs, migrate it."
    )]
    Relocate(To),
    /// Move a VM to another member while it runs
    #[command(
        after_help = "Example:\n  belay migrate vm:web1 --to node2\n\nWhen a migration fails, the VM stays where it runs."
    )]
    Migrate(MustTo),
    /// Leave a service untouched, whatever happens to it, until it is unfrozen
    #[command(after_help = "Example:\n  belay freeze vm:web1     # before working on it by hand")]
    Freeze(Of),
    /// Look after a frozen service again
    #[command(after_help = "Example:\n  belay unfreeze vm:web1")]
    Unfreeze(Of),
    /// Empty a host by migrating its VMs, and bring them back afterwards
    #[command(after_help = "\
Nothing is stopped, and nothing new is started there. A VM that is frozen, may
run nowhere else or cannot be migrated stays where it runs and is named. The
host stays in maintenance across restarts of itself and of the whole cluster;
with --off, what left it is migrated back, unless somebody has moved it since.

Examples:
  belay maintenance node2 --reason 'new memory'
  belay maintenance node2 --wait 30m && ssh node2 reboot
  belay maintenance node2 --off

Exit status: 0 the host is empty, 237 it is in maintenance but VMs stay there,
124 --wait is over and VMs are still leaving.")]
    Maintenance(Host),
    /// Empty a host by migrating its VMs, for good
    #[command(after_help = "\
As maintenance, but nothing is brought back: a host to keep in reserve, or to be
removed.

Examples:
  belay standby node4
  belay standby node4 --off

Exit status: 0 the host is empty, 237 it is in standby but VMs stay there,
124 --wait is over and VMs are still leaving.")]
    Standby(Host),
    /// Fence and recover nothing for a time, for work on the network
    #[command(after_help = "\
A host that vanishes meanwhile is not fenced, and what it ran is not started
elsewhere. A VM that dies on a host that is there is recovered as ever, and what
you ask for is done. When the time is over the cluster arms itself, and hosts
that are still lost are fenced after the usual delays. To extend it, disarm
again.

Example:
  belay disarm --for 30m --reason 'new switch in rack 3'")]
    Disarm {
        /// For how long, a day at most (30m, 2h)
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        span: Span,
        /// Why: everybody is shown it meanwhile
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a disarmed time early
    #[command(after_help = "Example:\n  belay arm")]
    Arm,
    /// Start nothing until unlocked, but what dies where it runs
    #[command(after_help = "\
Example:
  belay lock     # before working on the storage

Stops and migrations are still carried out. The lock stays, also across a loss of
power of the whole cluster, until: belay unlock")]
    Lock,
    /// Start services again, and now what had to wait for it
    #[command(after_help = "Example:\n  belay unlock")]
    Unlock,
    /// Vouch that a lost member is off, where fencing cannot prove it
    #[command(after_help = "\
Only after you have seen yourself that the host is off, or cut from its disks:
what it ran is started elsewhere at once, and a VM that runs twice destroys its
disks.

Example:
  belay ack-fence node3")]
    AckFence {
        /// The lost member
        node: String,
        /// Do not ask for the word `absolutely`
        #[arg(long)]
        yes_i_am_sure: bool,
    },
    /// Say everything there is to say about a cluster.conf, without touching the cluster
    #[command(after_help = "\
Examples:
  belay check
  belay check /root/cluster.conf.new
  belay check --survives 1                        the running cluster
  belay check --survives 1 cluster.conf.new       that one, switched on

Exit status: 0 it can be used (there may be warnings), 1 it cannot; with
--survives, 3 if some service would be left without a place.")]
    Check(Check),
    /// Play what would happen if, on a copy: nothing reaches the cluster
    #[command(after_help = "\
The cluster's own engine plays it, on a copy of its present state or, with
--config, on a cluster of that configuration which has just been switched on.
Starts, stops, migrations and fencing are taken to succeed at once; times are
those that the engine itself waits. Steps are played in the order in which they
are written; hosts after one --fail fail together.

Examples:
  belay simulate --fail node2
  belay simulate --fail node1 node2 --join node1
  belay simulate --request 'relocate vm:web1 --to node3'
  belay simulate --set vm:db.memory=8192 --fail node1
  belay simulate --config cluster.conf.new --fail node3

--set takes SUBJECT.ATTRIBUTE=VALUE, where SUBJECT is vm:NAME, node:NAME,
domain:NAME, placement or fence_daemon, and ATTRIBUTE one of cluster.conf's.

Exit status: 0 everything has a place in the end, 3 something has none.")]
    Simulate {
        /// Hosts that lose their power at the same moment
        #[arg(long, value_name = "HOST", num_args = 1.., action = clap::ArgAction::Append)]
        fail: Vec<String>,
        /// A host that comes, or comes back after a restart
        #[arg(long, value_name = "HOST", action = clap::ArgAction::Append)]
        join: Vec<String>,
        /// What an administrator asks for, as a command: 'enable vm:web1'
        #[arg(long, value_name = "REQUEST", action = clap::ArgAction::Append)]
        request: Vec<String>,
        /// A changed setting of the configuration
        #[arg(long, value_name = "SETTING", action = clap::ArgAction::Append)]
        set: Vec<String>,
        /// Begin with a cluster of this configuration instead of the running one
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Every step, the small ones too
        #[arg(long, short)]
        verbose: bool,
    },
    /// The command clustat, with its own options
    #[command(disable_help_flag = true, after_help = "Example:\n  belay clustat -s vm:web1")]
    Clustat {
        /// See: belay clustat -h
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The command clusvcadm, with its own options
    #[command(disable_help_flag = true, after_help = "Example:\n  belay clusvcadm -e vm:web1")]
    Clusvcadm {
        /// See: belay clusvcadm -h
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The file [default: /etc/cluster/cluster.conf, and the running cluster with --survives]
    pub(super) file: Option<PathBuf>,
    /// Whether every service still has a place with enough memory after any so many hosts are lost
    #[arg(long, value_name = "HOSTS", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(super) survives: Option<u8>,
}

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Go on with every new event as it happens, also across a restart of the daemon
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only events about this service
    #[arg(long, short, value_name = "SERVICE")]
    pub(super) service: Option<String>,
    /// Only events about this host, and what was seen on it
    #[arg(long, value_name = "HOST")]
    pub(super) node: Option<String>,
    /// Only what happened within this time (90, 10m, 1h30m)
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(super) since: Option<Span>,
    /// At most this many of the newest events
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(super) last: u32,
    /// With each event's number, kind and cause (the number of the event that led to it)
    #[arg(long)]
    pub(super) causes: bool,
    /// One JSON object a line, with all there is to an event
    #[arg(long)]
    pub(super) json: bool,
}

/// A request about a service.
#[derive(Debug, Args)]
pub(super) struct Of {
    /// The service (vm:web1, or web1 where only one kind has that name)
    pub(super) service: String,
    /// Wait for the outcome this long at most (90, 10m); without it, for as long as it takes
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(super) wait: Option<Span>,
    /// Do not wait for the outcome longer than this while the daemon is away [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(super) reconnect: Option<Span>,
}

/// A request that may name a member.
#[derive(Debug, Args)]
pub(super) struct To {
    #[command(flatten)]
    pub(super) of: Of,
    /// On this member (its name, short name or number)
    #[arg(long, value_name = "NODE")]
    pub(super) to: Option<String>,
}

/// A request that must name a member.
#[derive(Debug, Args)]
pub(super) struct MustTo {
    #[command(flatten)]
    pub(super) of: Of,
    /// To this member (its name, short name or number)
    #[arg(long, value_name = "NODE")]
    pub(super) to: String,
}

/// A host to take out of service, or back into it.
#[derive(Debug, Args)]
pub(super) struct Host {
    /// The host (its name, short name or number)
    pub(super) node: String,
    /// End it: the host runs VMs again
    #[arg(long)]
    pub(super) off: bool,
    /// Why: shown by status
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Wait this long at most for the host to be empty (90, 10m); without it, for as long as it takes
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(super) wait: Option<Span>,
    /// Do not wait for the host to be empty
    #[arg(long, conflicts_with = "wait")]
    pub(super) no_wait: bool,
}

fn span(text: &str) -> Result<Span, String> {
    text.parse().map_err(|error: belay_proto::time::SpanError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
