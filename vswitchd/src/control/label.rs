//! `label`: labels of pods and namespaces that are there, by which services and policies go.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::message::{ApiError, ErrorCode, Kind, PodRef};
use protocol::{Namespace, ObjectName};
use store::Transaction;

use super::inventory::Life;
use super::node::Control;
use super::pods::create::{check_labels, store_error};
use super::{pods, services};

/// What is to become of labels.
pub(crate) struct Labels {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) remove: Vec<String>,
    pub(crate) overwrite: bool,
}

impl Labels {
    /// Changes the labels of `object`; nothing if one of them may not be changed.
    pub(super) fn apply(&self, object: &str, labels: &mut BTreeMap<String, String>) -> Result<(), ApiError> {
        let mut new = labels.clone();
        for (key, value) in &self.set {
            let other = new.insert(key.clone(), value.clone()).filter(|old| old != value);
            if let Some(old) = other.filter(|_| !self.overwrite) {
                let text =
                    format!("{object}: label {key} is {old} already; --overwrite changes it to {value}");
                return Err(ApiError::new(ErrorCode::Conflict, text));
            }
        }
        for key in &self.remove {
            new.remove(key);
        }
        check_labels(&new)
            .map_err(|problem| ApiError::new(ErrorCode::Invalid, format!("{object}: {problem}")))?;
        *labels = new;
        Ok(())
    }
}

/// Changes labels; the datapath goes by those of a pod when this returns.
pub(crate) fn label(
    control: &Control,
    kind: Kind,
    namespace: &Namespace,
    name: &ObjectName,
    labels: &Labels,
) -> Result<(), ApiError> {
    match kind {
        Kind::Pods => {
            label_pod(control, &PodRef { namespace: namespace.clone(), name: name.clone() }, labels)
        }
        Kind::Namespaces => services::label_namespace(control, name, labels),
        _ => Err(ApiError::new(
            ErrorCode::Invalid,
            "labels of pods and namespaces can be changed; other objects are applied",
        )),
    }
}

fn label_pod(control: &Control, pod: &PodRef, labels: &Labels) -> Result<(), ApiError> {
    let operation = {
        let inventory = control.inventory.lock();
        let entry = inventory.get(pod).ok_or_else(|| pods::not_found(pod))?;
        Arc::clone(&entry.operation)
    };
    let _held = operation.lock();
    let record = {
        let inventory = control.inventory.lock();
        let entry = inventory.get(pod).filter(|entry| entry.life == Life::Ready);
        let mut record = entry.ok_or_else(|| pods::not_found(pod))?.record.clone();
        labels.apply(&format!("pod {pod}"), &mut record.metadata.labels)?;
        record
    };
    control
        .commit(Transaction::new().put(record.key(), &record, None))
        .map_err(|error| store_error(&format!("pod {pod}"), &error))?;
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record.metadata.labels.clone_from(&record.metadata.labels);
    }
    control.services.on_pods_changed();
    control.sync();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn labels(set: &[(&str, &str)], remove: &[&str], overwrite: bool) -> Labels {
        Labels { set: map(set), remove: remove.iter().map(|key| (*key).to_owned()).collect(), overwrite }
    }

    #[test]
    fn labels_are_set_changed_and_removed_all_or_none() {
        let mut known = map(&[("app", "web"), ("tier", "front")]);
        labels(&[("app", "web"), ("new", "x")], &["tier", "none"], false).apply("p", &mut known).unwrap();
        assert_eq!(known, map(&[("app", "web"), ("new", "x")]));
        let before = known.clone();
        let error = labels(&[("a", "b"), ("app", "db")], &[], false).apply("pod x/y", &mut known);
        let error = error.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
        assert!(error.message.contains("pod x/y") && error.message.contains("--overwrite"), "{error}");
        assert_eq!(known, before);
        labels(&[("app", "db")], &[], true).apply("p", &mut known).unwrap();
        assert_eq!(known["app"], "db");
        let error = labels(&[("app", "no spaces")], &[], true).apply("p", &mut known).unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        assert_eq!(known["app"], "db");
    }
}
