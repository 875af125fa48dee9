//! What `clustat`'s command line asks for.

use crate::getopt::{Found, complaint, options};

pub(super) const USAGE: &str = "\
usage: clustat [-fIlvxQ] [-i sec] [-m member] [-s service]
    -i <sec>       Refresh every <sec> seconds. May not be used with -x.
    -I             Display the local node ID and exit.
    -l             Use long format for services.
    -m <member>    Display status of <member> and exit: 0 online, 1 offline.
    -s <service>   Display status of <service> and exit: 0 running, else its state's number.
    -Q             Display nothing and exit: 0 if quorate, 1 if not.
    -f             Accepted: the status always comes fast, from this host's own copy.
    -v             Display the version and exit.
    -x             Dump the information as XML.
    -h, -?         Display this text.
";

/// What to report on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Everything,
    Member(String),
    Service(String),
    OwnId,
    Quorum,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Short,
    Long,
    Xml,
}

/// A report that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) subject: Subject,
    pub(super) format: Format,
    /// Again and again, every so many seconds.
    pub(super) every: Option<u64>,
}

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Run(Options),
    Usage(Option<String>),
    Version,
    /// `-x` after `-i`.
    Exclusive,
}

pub(super) fn parse(arguments: &[String]) -> Parsed {
    let mut parsed = Options { subject: Subject::Everything, format: Format::Short, every: None };
    for found in options(arguments, "fIlvxQi:m:s:h?") {
        match found {
            Found::Flag('v') => return Parsed::Version,
            Found::Flag('I') => parsed.subject = Subject::OwnId,
            Found::Flag('Q') => parsed.subject = Subject::Quorum,
            Found::Flag('l') if parsed.format == Format::Short => parsed.format = Format::Long,
            Found::Flag('x') if parsed.every.is_some() => return Parsed::Exclusive,
            Found::Flag('x') => parsed.format = Format::Xml,
            Found::Flag('f' | 'l') => {}
            Found::Value('i', seconds) => parsed.every = Some(seconds.parse().unwrap_or(1).max(1)),
            Found::Value('m', name) => parsed.subject = Subject::Member(name),
            Found::Value('s', name) => parsed.subject = Subject::Service(name),
            other => return Parsed::Usage(complaint("clustat", &other)),
        }
    }
    Parsed::Run(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Parsed {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn every(line: &str) -> Option<u64> {
        match read(line) {
            Parsed::Run(options) => options.every,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn xml_is_refused_only_behind_an_interval() {
        assert_eq!(read("-i 2 -x"), Parsed::Exclusive);
        assert!(matches!(read("-x -i 2"), Parsed::Run(Options { format: Format::Xml, every: Some(2), .. })));
    }

    #[test]
    fn an_interval_that_is_none_is_one_second() {
        for (line, seconds) in [("-i 5", 5), ("-i 0", 1), ("-i -3", 1), ("-i often", 1)] {
            assert_eq!(every(line), Some(seconds), "{line}");
        }
    }

    #[test]
    fn help_and_mistakes_lead_to_the_usage() {
        assert_eq!(read("-h"), Parsed::Usage(None));
        assert_eq!(read("-?"), Parsed::Usage(None));
        assert_eq!(read("-z"), Parsed::Usage(Some("clustat: invalid option -- 'z'".into())));
    }
}
