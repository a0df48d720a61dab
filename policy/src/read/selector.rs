//! Label selectors (apimachinery, `LabelSelector`).

use protocol::name::check_label;
use protocol::problem::Problem;
use serde_json::Value;

use super::fields::{Object, text};
use crate::model::{Labels, Operator, Requirement, Selector};

/// A selector that is there; an empty one matches everything.
pub(super) fn selector(value: &Value, path: String, problems: &mut Vec<Problem>) -> Option<Selector> {
    let object = Object::read(value, path, problems)?;
    object.allow_only(&["matchLabels", "matchExpressions"], problems);
    let labels = match object.get("matchLabels") {
        Some(value) => labels(value, object.at("matchLabels"), problems)?,
        None => Labels::new(),
    };
    let items = object.list("matchExpressions", problems).unwrap_or_default();
    let expressions =
        items.into_iter().filter_map(|(path, item)| requirement(item, path, problems)).collect();
    Some(Selector { labels, expressions })
}

fn labels(value: &Value, path: String, problems: &mut Vec<Problem>) -> Option<Labels> {
    let object = Object::read(value, path, problems)?;
    let mut labels = Labels::new();
    for (key, value) in object.entries() {
        let Some(value) = text(value, object.at(key), problems) else { continue };
        if let Err(error) = check_label(key, value) {
            problems.push(Problem::invalid(object.at(key), value, error));
        }
        labels.insert(key.clone(), value.to_owned());
    }
    Some(labels)
}

fn requirement(value: &Value, path: String, problems: &mut Vec<Problem>) -> Option<Requirement> {
    let object = Object::read(value, path, problems)?;
    object.allow_only(&["key", "operator", "values"], problems);
    object.required("key", problems);
    let key = object.text("key", problems);
    if let Some(key) = key
        && let Err(error) = check_label(key, "")
    {
        problems.push(Problem::invalid(object.at("key"), key, error));
    }
    let values = values(&object, problems);
    object.required("operator", problems);
    let operator = match object.text("operator", problems)? {
        "In" => Operator::In(needed(&object, values, problems)?),
        "NotIn" => Operator::NotIn(needed(&object, values, problems)?),
        word @ ("Exists" | "DoesNotExist") => {
            if !values.is_empty() {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                problems.push(Problem::forbidden(object.at("values"), why));
            }
            if word == "Exists" { Operator::Exists } else { Operator::DoesNotExist }
        }
        other => {
            let known = ["In", "NotIn", "Exists", "DoesNotExist"];
            problems.push(Problem::unsupported(object.at("operator"), other, &known));
            return None;
        }
    };
    Some(Requirement { key: key?.to_owned(), operator })
}

fn values(object: &Object<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut values = Vec::new();
    for (path, item) in object.list("values", problems).unwrap_or_default() {
        let Some(value) = text(item, path.clone(), problems) else { continue };
        // Any key: it is the value that is looked at.
        if let Err(error) = check_label("key", value) {
            problems.push(Problem::invalid(path, value, error));
        }
        values.push(value.to_owned());
    }
    values
}

fn needed(object: &Object<'_>, values: Vec<String>, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
    if values.is_empty() {
        let why = "must be specified when `operator` is 'In' or 'NotIn'";
        problems.push(Problem::required(object.at("values"), why));
        return None;
    }
    Some(values)
}
