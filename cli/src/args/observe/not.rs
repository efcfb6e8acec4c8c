//! `--not`: the filter flag after it leaves flows out in place of taking them.

use std::ffi::OsString;

use clap::{Args, CommandFactory, Parser};

use super::Filter;

/// Filter flags alone.
#[derive(Debug, Parser)]
#[command(name = "pleopod observe --not", disable_help_flag = true)]
struct Alone {
    #[command(flatten)]
    filter: Filter,
}

/// Takes every `--not FLAG [VALUE]` out of the words after `observe` and reads them as filters of their own.
pub fn split(words: Vec<OsString>) -> Result<(Vec<OsString>, Filter), clap::Error> {
    let (mut rest, mut not) = (Vec::new(), vec![OsString::from("pleopod observe --not")]);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word != "--not" {
            rest.push(word);
            continue;
        }
        let Some(flag) = words.next() else {
            let text = "--not is the last word: it needs a filter flag after it";
            return Err(Alone::command().error(clap::error::ErrorKind::MissingRequiredArgument, text));
        };
        let with_value = takes_value(&flag.to_string_lossy());
        not.push(flag);
        if with_value {
            not.extend(words.next());
        }
    }
    Ok((rest, Alone::try_parse_from(not)?.filter))
}

/// Whether the next word is this flag's value.
fn takes_value(flag: &str) -> bool {
    let command = Filter::augment_args(clap::Command::new("filter"));
    let named = |arg: &clap::Arg| {
        flag.strip_prefix("--").is_some_and(|name| arg.get_long() == Some(name))
            || arg.get_short().is_some_and(|short| flag == format!("-{short}"))
    };
    command.get_arguments().find(|arg| named(arg)).is_some_and(|arg| arg.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn flags_after_not_are_taken_out() {
        let (rest, not) =
            split(words("--pod a --not --port 53 -f --not -n=kube-system --not --ipv6")).unwrap();
        assert_eq!(rest, words("--pod a -f"));
        assert_eq!((not.port.as_slice(), not.ipv6), (&[53][..], true));
        assert_eq!(not.namespace, ["kube-system"]);
    }

    #[test]
    fn not_needs_a_filter() {
        assert!(split(words("--pod a --not")).is_err());
        assert!(split(words("--not --follow")).is_err());
        assert!(split(words("--not --port")).is_err());
    }
}
