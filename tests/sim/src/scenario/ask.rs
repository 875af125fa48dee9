//! What administrators type, and what they are told.
//!
//! The command lines are the real ones, so that a scenario on real hosts runs them as they stand, and whoever reads one
//! can try it. Here they are read into the requests that the commands make of them.

use super::words::{Word, Words, Wrong, wrong};
use belay_config::Cluster;
use belay_proto::entry::{NodeMode, Request};
use belay_proto::{Code, NodeId, ServiceName};

/// A request of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Through which host.
    pub host: NodeId,
    /// What to call it later, if the answer is not waited for.
    pub name: Option<String>,
    /// The command line.
    pub command: Vec<String>,
    /// What the command asks of the daemon.
    pub request: Request,
    /// The answer it must get.
    pub answer: Option<Answer>,
}

/// What somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The result.
    pub code: Code,
    /// A part of the reason.
    pub since: Option<String>,
}

const HELP: &str = "write: ask node1: clusvcadm -r vm:a -m node2 => Success";

impl Ask {
    /// Reads what stands behind `ask`.
    pub(crate) fn read(words: &mut Words<'_>, cluster: &Cluster) -> Result<Self, Wrong> {
        let host = words.need("the host where it is typed", HELP)?;
        let (host, name) = match host.strip_suffix(':') {
            Some(host) => (host, None),
            None if words.take("as") => {
                let name = words.need("the name of the request", "write: ask node1 as first: clusvcadm -d vm:a")?;
                let Some(name) = name.strip_suffix(':') else {
                    return wrong("the ':' in front of the command is missing", HELP);
                };
                (host, Some(name.to_owned()))
            }
            None => return wrong("the ':' in front of the command is missing", HELP),
        };
        let host = node(cluster, host)?;
        let mut command = Vec::new();
        while let Some(word) = words.next().filter(|word| word.quoted || word.text != "=>") {
            command.push(word.text.clone());
        }
        let request = request(&command, cluster)?;
        let answer = if words.is_empty() { None } else { Some(Answer::read(words)?) };
        if answer.is_none() && name.is_none() {
            let help = "end the line with => and the answer, or give it a name to ask for the answer later: \
                        ask node1 as first: …";
            return wrong("nothing says what the answer must be", help);
        }
        Ok(Self { host, name, command, request, answer })
    }
}

impl Answer {
    /// Reads a code's sentence, and perhaps `since "reason"`.
    pub(crate) fn read(words: &mut Words<'_>) -> Result<Self, Wrong> {
        let mut said = Vec::new();
        let mut since = None;
        while let Some(Word { text, quoted }) = words.next() {
            if !quoted && text == "since" {
                since = Some(words.quoted("write the reason in quotes: => Failure, since \"no such image\"")?);
                break;
            }
            said.push(text.as_str());
        }
        let said = said.join(" ");
        let said = said.trim_end_matches(',');
        match Code::ALL.into_iter().find(|code| code.text() == said) {
            Some(code) => {
                words.end("the reason ends the line")?;
                Ok(Self { code, since })
            }
            None => {
                let known: Vec<&str> = Code::ALL.iter().map(|code| code.text()).collect();
                wrong(format!("'{said}' is no answer of clusvcadm"), format!("its answers are: {}", known.join(" | ")))
            }
        }
    }
}

/// A member by its name.
pub(crate) fn node(cluster: &Cluster, name: &str) -> Result<NodeId, Wrong> {
    match cluster.node_named(name) {
        Some(node) => Ok(node.id),
        None => {
            let names: Vec<&str> = cluster.nodes.values().map(|node| node.name.as_str()).collect();
            wrong(format!("there is no host '{name}'"), format!("the hosts are {}", names.join(", ")))
        }
    }
}

fn service(name: &str) -> Result<ServiceName, Wrong> {
    match name.parse() {
        Ok(name) => Ok(name),
        Err(error) => wrong(format!("'{name}' is no name of a service: {error}"), "write vm:a"),
    }
}

fn request(command: &[String], cluster: &Cluster) -> Result<Request, Wrong> {
    let mut words = command.iter().map(String::as_str);
    match words.next() {
        Some("clusvcadm") => clusvcadm(words, cluster),
        Some("belay") => belay(words, cluster),
        Some(other) => wrong(format!("'{other}' is no command that asks for anything"), "use clusvcadm or belay"),
        None => wrong("the command is missing", HELP),
    }
}

fn clusvcadm<'a>(words: impl Iterator<Item = &'a str>, cluster: &Cluster) -> Result<Request, Wrong> {
    let (mut action, mut target, mut by_domain) = (None, None, false);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let mut value = |what: &str| match words.next() {
            Some(value) => Ok(value),
            None => wrong(format!("{word} needs {what}"), HELP),
        };
        match word {
            "-l" => return Ok(Request::Lock {}),
            "-u" => return Ok(Request::Unlock {}),
            "-F" => by_domain = true,
            "-m" | "-n" => target = Some(node(cluster, value("a member")?)?),
            "-e" | "-d" | "-s" | "-R" | "-r" | "-M" | "-Z" | "-U" | "-c" => {
                action = Some((word, service(value("a service")?)?));
            }
            _ => return wrong(format!("clusvcadm has no option '{word}'"), "see: clusvcadm -h"),
        }
    }
    let Some((action, service)) = action else { return wrong("clusvcadm is not told what to do", HELP) };
    Ok(match action {
        "-e" => Request::Enable { service, target, by_domain },
        "-d" => Request::Disable { service },
        "-s" => Request::Stop { service },
        "-R" => Request::Restart { service },
        "-r" => Request::Relocate { service, target },
        "-Z" => Request::Freeze { service },
        "-U" => Request::Unfreeze { service },
        "-c" => Request::Convalesce { service },
        _ => match target {
            Some(target) => Request::Migrate { service, target },
            None => return wrong("-M needs -m and a member", "write: clusvcadm -M vm:a -m node2"),
        },
    })
}

fn belay<'a>(mut words: impl Iterator<Item = &'a str>, cluster: &Cluster) -> Result<Request, Wrong> {
    let verb = words.next().unwrap_or_default();
    let (mut names, mut reason, mut span, mut off) = (Vec::new(), String::new(), None, false);
    while let Some(word) = words.next() {
        let value = |found: Option<&'a str>| match found {
            Some(value) => Ok(value),
            None => wrong(format!("{word} needs a value"), HELP),
        };
        match word {
            "--reason" => value(words.next())?.clone_into(&mut reason),
            "--off" => off = true,
            "--for" => span = value(words.next())?.parse().ok(),
            _ if word.starts_with('-') => {
                return wrong(format!("'{word}' is not known here"), "use --reason, --for or --off");
            }
            name => names.push(name),
        }
    }
    let mode = |mode| match names.as_slice() {
        [name] => {
            let mode = if off { NodeMode::Active } else { mode };
            Ok(Request::SetMode { node: node(cluster, name)?, mode, reason: reason.clone() })
        }
        _ => wrong(format!("belay {verb} needs one host"), format!("write: belay {verb} node2")),
    };
    match (verb, names.as_slice(), span) {
        ("ack-fence", [name], _) => Ok(Request::AcknowledgeFence { node: node(cluster, name)? }),
        ("maintenance", ..) => mode(NodeMode::Maintenance),
        ("standby", ..) => mode(NodeMode::Standby),
        ("disarm", [], Some(span)) => Ok(Request::Disarm { span, reason }),
        ("arm", [], _) => Ok(Request::Arm {}),
        _ => wrong(
            format!("'belay {verb}' is not understood here"),
            "known are: belay ack-fence NODE, maintenance NODE, standby NODE (both with --off), disarm --for SPAN --reason \
             TEXT, arm; what is asked of services is asked with clusvcadm",
        ),
    }
}
