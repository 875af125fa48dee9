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
        after_help = "Examples:\n  belay events --last 20\n  belay events --service vm:web1\n  belay events --follow --json | my-alert"
    )]
    Events(Events),
    /// Tell how a service came to be in its state, from the first cause on
    #[command(after_help = "Example:\n  belay why vm:web1")]
    Why {
        /// The service (vm:web1, or web1 where only one kind has that name)
        service: String,
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
    #[command(
        after_help = "Examples:\n  belay check\n  belay check /root/cluster.conf.new\n\nExit status: 0 it can be used (there may be warnings), 1 it cannot."
    )]
    Check {
        /// The file
        #[arg(default_value = "/etc/cluster/cluster.conf")]
        file: PathBuf,
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
pub(super) struct Events {
    /// Go on with every new event as it happens, also across a restart of the daemon
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only events about this service
    #[arg(long, short, value_name = "SERVICE")]
    pub(super) service: Option<String>,
    /// At most this many of the newest events
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(super) last: u32,
    /// One JSON object a line
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
