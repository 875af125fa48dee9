//! Short options as the C library reads them: bundled (`-lx`), with the argument attached (`-sweb`) or apart (`-s web`).
//! The commands of the reference act on options in the order given, which clap does not tell.

/// One thing on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An option without an argument.
    Flag(char),
    /// An option with its argument.
    Value(char, String),
    /// No such option.
    Unknown(char),
    /// Its argument is missing.
    Missing(char),
}

/// Reads the options of `arguments`. `known` lists the letters, a `:` behind one that takes an argument. What is no
/// option is skipped, as the reference does; everything behind `--` is no option.
pub(crate) fn options(arguments: &[String], known: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            break;
        }
        let Some(bundle) = argument.strip_prefix('-').filter(|bundle| !bundle.is_empty()) else {
            continue;
        };
        for (at, letter) in bundle.char_indices() {
            let Some(place) = known.find(letter).filter(|_| letter != ':') else {
                found.push(Found::Unknown(letter));
                continue;
            };
            if !known[place + letter.len_utf8()..].starts_with(':') {
                found.push(Found::Flag(letter));
                continue;
            }
            let attached = &bundle[at + letter.len_utf8()..];
            let value = if attached.is_empty() { arguments.next().cloned() } else { Some(attached.to_owned()) };
            found.push(value.map_or(Found::Missing(letter), |value| Found::Value(letter, value)));
            break;
        }
    }
    found
}

/// What the C library says about an option it does not like, or nothing.
pub(crate) fn complaint(command: &str, found: &Found) -> Option<String> {
    match found {
        Found::Unknown(letter) => Some(format!("{command}: invalid option -- '{letter}'")),
        Found::Missing(letter) => Some(format!("{command}: option requires an argument -- '{letter}'")),
        Found::Flag(_) | Found::Value(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<Found> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        options(&arguments, "fIlvxQi:m:s:h?")
    }

    #[test]
    fn options_may_be_bundled_and_their_arguments_attached() {
        let web = || Found::Value('s', "web".to_owned());
        assert_eq!(read("-l -x"), [Found::Flag('l'), Found::Flag('x')]);
        assert_eq!(read("-lx"), [Found::Flag('l'), Found::Flag('x')]);
        assert_eq!(read("-s web"), [web()]);
        assert_eq!(read("-lsweb -x"), [Found::Flag('l'), web(), Found::Flag('x')]);
        assert_eq!(read("stray -? -- -x"), [Found::Flag('?')]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(read("-zé"), [Found::Unknown('z'), Found::Unknown('é')]);
        assert_eq!(read("-s"), [Found::Missing('s')]);
        assert_eq!(read("-:"), [Found::Unknown(':')]);
        assert_eq!(complaint("clustat", &Found::Unknown('z')).unwrap(), "clustat: invalid option -- 'z'");
    }
}
