//! `label`: labels of what is there.

use std::collections::BTreeMap;

use protocol::message::{AdminRequest, Kind, Response};
use protocol::{NameError, ObjectName};

use crate::cli::policy::LabelArgs;
use crate::cli::{Target, kind};
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::output;

pub(crate) fn run(target: &Target, args: LabelArgs) -> Result<(), CliError> {
    let kind = args.kind.kind;
    let singular = kind::names(kind).singular;
    if !matches!(kind, Kind::Pods | Kind::Namespaces) {
        let text = format!("labels of a {singular} cannot be changed so; those of pods and namespaces can");
        return Err(CliError::Usage(text));
    }
    let mut words = args.words.into_iter();
    let name = match args.kind.name {
        Some(name) => name,
        None => words.next().unwrap_or_default(),
    };
    let object: ObjectName = name.parse().map_err(|error: NameError| CliError::Usage(error.to_string()))?;
    let (set, remove) = changes(words)?;
    let request = AdminRequest::Label {
        kind,
        namespace: args.namespace.namespace,
        name: object,
        set,
        remove,
        overwrite: args.overwrite,
    };
    match Connection::admin(target, "label")?.request(&request)? {
        Response::Done => output::print(&format!("{singular}/{name} labeled\n")),
        other => Err(unexpected(&other)),
    }
}

type Changes = (BTreeMap<String, String>, Vec<String>);

fn changes(words: impl Iterator<Item = String>) -> Result<Changes, CliError> {
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    for word in words {
        if let Some(key) = word.strip_suffix('-').filter(|key| !key.contains('=')) {
            remove.push(key.to_owned());
            continue;
        }
        let (key, value) = protocol::name::parse_label(&word)
            .map_err(|error| CliError::Usage(format!("\"{word}\": {error}")))?;
        if set.insert(key.clone(), value).is_some() {
            return Err(CliError::Usage(format!("label {key} is given twice")));
        }
    }
    if let Some(key) = remove.iter().find(|key| set.contains_key(*key)) {
        return Err(CliError::Usage(format!("label {key} is both set and removed")));
    }
    if set.is_empty() && remove.is_empty() {
        return Err(CliError::Usage("which labels? write KEY=VALUE or KEY-".to_owned()));
    }
    Ok((set, remove))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Changes, String> {
        changes(words.iter().map(|word| (*word).to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn words_set_and_remove_labels() {
        let (set, remove) = read(&["app=web", "old-", "empty=", "a.example/b=c"]).unwrap();
        assert_eq!(set.len(), 3);
        assert_eq!((&*set["app"], &*set["empty"], &*set["a.example/b"]), ("web", "", "c"));
        assert_eq!(remove, ["old"]);
        for (words, problem) in [
            (&[][..], "which labels"),
            (&["app"], "app"),
            (&["a=1", "a=2"], "twice"),
            (&["a=1", "a-"], "both"),
            (&["a=b c"], "a=b c"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
