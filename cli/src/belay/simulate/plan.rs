//! What a rehearsal's command line asks for, in the order in which it was written.

use super::super::options::Options;
use super::super::{no_member, request};
use crate::console::Trouble;
use crate::names::member_meant;
use belay_config::Severity;
use belay_config::edit::{Subject, set_attribute};
use belay_engine::rehearsal::{Happening, Rehearsal};
use belay_engine::state::State;
use belay_proto::NodeId;
use belay_proto::control::{Phase, Status};
use clap::{ArgMatches, Parser};

/// One step, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Fail(Vec<String>),
    Join(Vec<String>),
    Request(String),
    Set(String),
}

/// The steps of a command line.
pub(super) fn of(matches: &ArgMatches) -> Result<Vec<Step>, Trouble> {
    let mut steps: Vec<(usize, Step)> = Vec::new();
    for (option, step) in [
        ("fail", Step::Fail as fn(Vec<String>) -> Step),
        ("join", Step::Join),
        ("request", |words| Step::Request(words.join(" "))),
        ("set", |words| Step::Set(words.join(" "))),
    ] {
        let Some(occurrences) = matches.get_occurrences::<String>(option) else { continue };
        let mut indices = matches.indices_of(option).into_iter().flatten();
        for values in occurrences {
            let values: Vec<String> = values.cloned().collect();
            let first = indices.next().unwrap_or_default();
            // Each value has an index of its own.
            (1..values.len()).for_each(|_| {
                indices.next();
            });
            steps.push((first, step(values)));
        }
    }
    steps.sort_by_key(|(index, _)| *index);
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

impl Step {
    /// What it means for this cluster.
    pub(super) fn happening(&self, rehearsal: &Rehearsal) -> Result<Happening, Trouble> {
        let state = rehearsal.state();
        let status = status_of(state);
        let node = |name: &String| member_meant(&status, name).map(|member| member.id).map_err(|text| no_member(&text));
        match self {
            Self::Fail(names) => Ok(Happening::Fail(names.iter().map(node).collect::<Result<_, _>>()?)),
            Self::Join(names) => match names.as_slice() {
                [name] => Ok(Happening::Join(node(name)?)),
                _ => Err(Trouble::told(2, "belay: --join takes one member; write it once for each")),
            },
            Self::Request(words) => parsed(words, &status).map(Happening::Request),
            Self::Set(setting) => changed(state, setting).map(Happening::Configure),
        }
    }
}

/// A request, written as the command `belay` takes it.
fn parsed(words: &str, status: &Status) -> Result<belay_proto::Request, Trouble> {
    let line = std::iter::once("belay").chain(words.split_whitespace());
    let options = Options::try_parse_from(line).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Trouble::told(2, format!("belay: --request '{words}': {first}"))
    })?;
    request::of(&options.command, status)?.ok_or_else(|| {
        let example = "write it as a command, such as: --request 'relocate vm:web1 --to node2'";
        Trouble::told(2, format!("belay: '{words}' is no request; {example}"))
    })
}

/// The configuration with one attribute changed, under a new version.
fn changed(state: &State, setting: &str) -> Result<String, Trouble> {
    let wrong = || {
        Trouble::told(
            2,
            format!(
                "belay: --set '{setting}' is not of the form SUBJECT.ATTRIBUTE=VALUE, where SUBJECT is vm:NAME, \
                 node:NAME, domain:NAME, placement or fence_daemon"
            ),
        )
    };
    let (left, value) = setting.split_once('=').ok_or_else(wrong)?;
    let (subject, attribute) = left.rsplit_once('.').ok_or_else(wrong)?;
    let subject = match subject.split_once(':') {
        Some(("vm", name)) => Subject::Vm(name.to_owned()),
        Some(("node", name)) => Subject::Node(name.to_owned()),
        Some(("domain", name)) => Subject::Domain(name.to_owned()),
        None if subject == "placement" => Subject::Placement,
        None if subject == "fence_daemon" => Subject::FenceDaemon,
        _ => return Err(wrong()),
    };
    let version = state.config().map_or(0, |config| config.version).saturating_add(1);
    set_attribute(state.config_text(), &subject, attribute, value)
        .and_then(|text| set_attribute(&text, &Subject::Cluster, "config_version", &version.to_string()))
        .map_err(|error| Trouble::told(1, format!("belay: --set '{setting}': {error}")))
}

/// What the reader finds in a changed configuration that it did not find before, a line each.
pub(super) fn findings(happening: &Happening, state: &State) -> String {
    let Happening::Configure(text) = happening else { return String::new() };
    let serious = |text: &str| -> Vec<String> {
        let reading = belay_config::read("cluster.conf", text);
        let serious = reading.diagnostics.iter().filter(|finding| finding.severity != Severity::Info);
        serious.map(|finding| finding.message.clone()).collect()
    };
    let before = serious(state.config_text());
    let new = serious(text).into_iter().filter(|message| !before.contains(message));
    new.map(|message| format!("\n          warning: {message}")).collect()
}

/// As much of a status as names are looked up in.
fn status_of(state: &State) -> Status {
    let nobody = NodeId(0);
    Status {
        cluster: state.config().map(|config| config.name.clone()).unwrap_or_default(),
        config_version: state.config().map_or(0, |config| config.version),
        node: nobody,
        phase: Phase::Working,
        quorate: true,
        term: state.term(),
        index: state.index(),
        committed: state.index(),
        time: state.time(),
        age_ms: 0,
        locked: state.locked(),
        disarmed: state.disarmed().cloned(),
        members: state.member_statuses(nobody),
        services: state.service_statuses(),
        alarms: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn steps(line: &str) -> Vec<Step> {
        let matches = Options::command().try_get_matches_from(line.split(' ')).unwrap();
        of(matches.subcommand_matches("simulate").unwrap()).unwrap()
    }

    #[test]
    fn steps_are_played_in_the_order_in_which_they_are_written() {
        let line = "belay simulate --fail n1 n2 --join n1 --set placement.overcommit=1 --fail n3";
        let many = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            steps(line),
            [
                Step::Fail(many(&["n1", "n2"])),
                Step::Join(many(&["n1"])),
                Step::Set("placement.overcommit=1".into()),
                Step::Fail(many(&["n3"])),
            ]
        );
    }
}
