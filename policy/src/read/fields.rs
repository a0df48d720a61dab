//! JSON values with the path to them. Whatever has the wrong type or is not known becomes a problem; `null` is the same as
//! absent, as for the API server.

use protocol::problem::Problem;
use serde_json::{Map, Value};

/// Items of any list: no more than this. Kubernetes bounds the object's size only; here every list has an end.
pub(super) const MAX_ITEMS: usize = 1024;

/// An object's fields.
pub(super) struct Object<'v> {
    path: String,
    fields: &'v Map<String, Value>,
}

impl<'v> Object<'v> {
    pub(super) fn read(
        value: &'v Value,
        path: impl Into<String>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let path = path.into();
        let Value::Object(fields) = value else {
            let path = if path.is_empty() { "object".to_owned() } else { path };
            problems.push(Problem::invalid(path, shown(value), "must be an object"));
            return None;
        };
        Some(Self { path, fields })
    }

    /// Refuses every other field.
    pub(super) fn allow_only(&self, known: &[&str], problems: &mut Vec<Problem>) {
        for (field, value) in self.fields {
            if !known.contains(&field.as_str()) && !value.is_null() {
                let text = format!("Unknown field: known fields: {}", known.join(", "));
                problems.push(Problem { path: self.at(field), text });
            }
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a field.
    pub(super) fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// A field that is there.
    pub(super) fn get(&self, field: &str) -> Option<&'v Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// A field that has to be there.
    pub(super) fn required(&self, field: &str, problems: &mut Vec<Problem>) -> Option<&'v Value> {
        let value = self.get(field);
        if value.is_none() {
            problems.push(Problem::required(self.at(field), ""));
        }
        value
    }

    pub(super) fn text(&self, field: &str, problems: &mut Vec<Problem>) -> Option<&'v str> {
        text(self.get(field)?, self.at(field), problems)
    }

    pub(super) fn list(&self, field: &str, problems: &mut Vec<Problem>) -> Option<Vec<(String, &'v Value)>> {
        let path = self.at(field);
        let Value::Array(items) = self.get(field)? else {
            problems.push(Problem::invalid(path, shown(self.get(field)?), "must be a list"));
            return None;
        };
        if items.len() > MAX_ITEMS {
            let text = format!("Too many: {}: must have at most {MAX_ITEMS} items", items.len());
            problems.push(Problem { path, text });
            return None;
        }
        Some(items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)).collect())
    }

    /// A number within bounds.
    pub(super) fn number(
        &self,
        field: &str,
        least: u32,
        most: u32,
        problems: &mut Vec<Problem>,
    ) -> Option<u32> {
        let value = self.get(field)?;
        number(value, self.at(field), least, most, problems)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'v String, &'v Value)> {
        self.fields.iter().filter(|(_, value)| !value.is_null())
    }
}

pub(super) fn text<'v>(value: &'v Value, path: String, problems: &mut Vec<Problem>) -> Option<&'v str> {
    if value.as_str().is_none() {
        problems.push(Problem::invalid(path, shown(value), "must be a string"));
    }
    value.as_str()
}

pub(super) fn number(
    value: &Value,
    path: String,
    least: u32,
    most: u32,
    problems: &mut Vec<Problem>,
) -> Option<u32> {
    let number = value.as_i64().and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let why = if value.is_i64() || value.is_u64() {
            format!("must be between {least} and {most}, inclusive")
        } else {
            "must be a whole number".to_owned()
        };
        problems.push(Problem::invalid(path, shown(value), why));
    }
    number
}

/// A value in a message: text without its quotes, the rest as JSON, nothing at length.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}...")
}
