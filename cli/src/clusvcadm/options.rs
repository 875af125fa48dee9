//! What `clusvcadm`'s command line asks for.

use crate::getopt::{Found, complaint, options};

pub(super) const USAGE: &str = "\
usage: clusvcadm [command]

  -e <service> [-m <member>]  Enable <service> (start it, on <member> if given)
  -e <service> -F             Enable <service> where its failover domain wants it
  -d <service>                Disable <service> (stop it, and keep it stopped)
  -s <service>                Stop <service> until the next change of the membership
  -R <service>                Restart <service> in place
  -r <service> [-m <member>]  Relocate <service> [to <member>]
  -M <service> -m <member>    Migrate the VM <service> to <member> while it runs
  -Z <service>                Freeze <service>: leave it untouched until -U
  -U <service>                Unfreeze <service>
  -c <service>                Convalesce <service>: start the parts that were left stopped (a VM has none)
  -l                          Lock all services: start nothing until -u, but what dies where it runs
  -u                          Unlock them
  -S                          Show whether they are locked

  -m, -n <member>             The member for -e, -r and -M
  -q                          Print no result
  -v                          Print the version
  -h, -?                      Print this text

A service's name has its kind in front, vm:web1; a bare name means service:name. The exit status is 0 when it worked.
Example: clusvcadm -M vm:web1 -m node2.example.com
";

/// What to do to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Enable,
    Disable,
    Stop,
    Restart,
    Relocate,
    Migrate,
    Freeze,
    Unfreeze,
    Convalesce,
}

impl Action {
    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'e' => Self::Enable,
            'd' => Self::Disable,
            's' => Self::Stop,
            'R' => Self::Restart,
            'r' => Self::Relocate,
            'M' => Self::Migrate,
            'Z' => Self::Freeze,
            'U' => Self::Unfreeze,
            'c' => Self::Convalesce,
            _ => return None,
        })
    }

    /// What the progress line calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Enable => "trying to enable",
            Self::Disable => "disabling",
            Self::Stop => "stopping",
            Self::Restart => "trying to restart",
            Self::Relocate => "relocate",
            Self::Migrate => "migrate",
            Self::Freeze => "freezing",
            Self::Unfreeze => "unfreezing",
            Self::Convalesce => "convalescing",
        }
    }
}

/// A request that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) action: Action,
    pub(super) group: String,
    pub(super) target: Option<String>,
    /// `-F`: where the failover domain wants it.
    pub(super) follow: bool,
}

/// What to do about the lock on all services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockAction {
    Lock,
    Unlock,
    Show,
}

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Run(Options),
    Lock(LockAction),
    Usage(Option<String>),
    Version,
    /// Something that cannot be done, and why.
    Wrong(&'static str),
}

/// Reads a command line, and whether `-q` was in it before it came to an end.
pub(super) fn parse(arguments: &[String]) -> (Parsed, bool) {
    let (mut action, mut target, mut follow, mut quiet) = (None, None, false, false);
    for found in options(arguments, "e:d:s:R:r:M:Z:U:c:luSm:n:Fqvh?") {
        let end = match found {
            Found::Flag('q') => {
                quiet = true;
                continue;
            }
            Found::Flag('F') => {
                follow = true;
                continue;
            }
            Found::Value('m' | 'n', member) => {
                target = Some(member);
                continue;
            }
            Found::Flag('l') => Parsed::Lock(LockAction::Lock),
            Found::Flag('u') => Parsed::Lock(LockAction::Unlock),
            Found::Flag('S') => Parsed::Lock(LockAction::Show),
            Found::Flag('v') => Parsed::Version,
            Found::Value(letter, group) => {
                action = Action::of(letter).map(|action| (action, group));
                continue;
            }
            other => Parsed::Usage(complaint("clusvcadm", &other)),
        };
        return (end, quiet);
    }
    let parsed = match action {
        _ if follow && target.is_some() => Parsed::Wrong("Cannot use '-F' with '-n' or '-m'"),
        None => Parsed::Usage(None),
        Some((action, group)) => Parsed::Run(Options { action, group, target, follow }),
    };
    (parsed, quiet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Parsed {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).0
    }

    #[test]
    fn the_last_action_wins_and_both_letters_name_the_target() {
        let expected =
            Options { action: Action::Relocate, group: "web".into(), target: Some("node2".into()), follow: false };
        assert_eq!(read("-e db -m node1 -r web -n node2"), Parsed::Run(expected));
    }

    #[test]
    fn following_the_domain_and_naming_a_member_exclude_each_other() {
        assert_eq!(read("-e web -F -m node1"), Parsed::Wrong("Cannot use '-F' with '-n' or '-m'"));
        assert!(matches!(read("-e web -F"), Parsed::Run(Options { target: None, follow: true, .. })));
    }

    #[test]
    fn nothing_to_do_leads_to_the_usage() {
        assert_eq!(read(""), Parsed::Usage(None));
        assert_eq!(read("-m node1"), Parsed::Usage(None));
        assert_eq!(read("-e"), Parsed::Usage(Some("clusvcadm: option requires an argument -- 'e'".into())));
    }

    #[test]
    fn a_lock_is_asked_for_at_once_and_the_rest_is_ignored() {
        assert_eq!(read("-l -e web"), Parsed::Lock(LockAction::Lock));
        assert_eq!(read("-e web -u -l"), Parsed::Lock(LockAction::Unlock));
    }

    #[test]
    fn silence_counts_from_where_it_is_asked_for() {
        let arguments: Vec<String> = ["-q", "-v"].map(str::to_owned).to_vec();
        assert_eq!(parse(&arguments), (Parsed::Version, true));
    }
}
