//! Label selectors, as `kubectl get -l` takes them.
//!
//! Requirements joined by commas, all of which must hold: `key`, `!key`, `key=value`,
//! `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`. As in Kubernetes, `!=` and
//! `notin` also hold for objects that have no such label.

use std::collections::BTreeMap;

/// Which labels an object must have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => !labels.get(key).is_some_and(|value| values.contains(value)),
        })
    }
}

/// Reads a selector as typed, for clap.
pub(crate) fn parse_selector(text: &str) -> Result<Selector, String> {
    split_outside_parentheses(text)
        .into_iter()
        .map(|part| requirement(part.trim()))
        .collect::<Result<_, _>>()
        .map(Selector)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let checked = |key: &str, value: &str| {
        protocol::name::check_label(key, value).map_err(|error| format!("selector \"{text}\": {error}"))
    };
    if let Some((key, value)) = text.split_once("!=") {
        checked(key.trim(), value.trim())?;
        return Ok(Requirement::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        checked(key.trim(), value.trim())?;
        return Ok(Requirement::In(key.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, list) =
            list.split_once('(').ok_or_else(|| format!("selector \"{text}\": ')' without '('"))?;
        let values: Vec<String> = list.split(',').map(|value| value.trim().to_owned()).collect();
        let head = head.trim();
        let (key, operator) = head
            .rsplit_once(char::is_whitespace)
            .ok_or_else(|| format!("selector \"{text}\": write key in (a,b)"))?;
        for value in &values {
            checked(key.trim(), value)?;
        }
        return match operator {
            "in" => Ok(Requirement::In(key.trim().to_owned(), values)),
            "notin" => Ok(Requirement::NotIn(key.trim().to_owned(), values)),
            other => Err(format!("selector \"{text}\": \"{other}\" is neither in nor notin")),
        };
    }
    let missing = text.strip_prefix('!').map(str::trim);
    checked(missing.unwrap_or(text), "")?;
    Ok(match missing {
        Some(key) => Requirement::Missing(key.to_owned()),
        None => Requirement::Exists(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_operator_selects_as_in_kubernetes() {
        let web = labels(&[("app", "web"), ("tier", "front")]);
        for (selector, expected) in [
            ("app=web", true),
            ("app==web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("app in (web, db)", true),
            ("app in (db)", false),
            ("app notin (db)", true),
            ("missing notin (db)", true),
            ("app in (web,db),tier=front", true),
            ("app=web,tier=back", false),
            ("example.com/team=", false),
        ] {
            let parsed = parse_selector(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
            assert_eq!(parsed.matches(&web), expected, "{selector}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_part_that_is_wrong() {
        for text in
            ["", "app=web,", "=x", "app in web", "app in (", "app within (a)", "a b", "app=we b", ")", "!"]
        {
            assert!(parse_selector(text).is_err(), "{text}");
        }
    }
}
