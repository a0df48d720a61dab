//! Which objects a change can concern, without looking at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use protocol::Namespace;

use super::super::names::ObjectRef;
use super::super::pods::PodFacts;
use super::super::slice::SliceSpec;
use super::super::spec::Spec;

/// A map with several values a key. Most keys have one, which needs no set: a cluster has ten addresses a service.
#[derive(Debug, Clone)]
pub(super) struct Multi<K, V>(BTreeMap<K, Values<V>>);

/// INVARIANT: [`Values::Several`] is never empty.
#[derive(Debug, Clone)]
enum Values<V> {
    One(V),
    Several(BTreeSet<V>),
}

impl<K, V> Default for Multi<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V: Ord> Multi<K, V> {
    pub(super) fn add(&mut self, key: K, value: V) {
        let values = match self.0.remove(&key) {
            None => Values::One(value),
            Some(Values::One(one)) if one == value => Values::One(one),
            Some(Values::One(one)) => Values::Several([one, value].into()),
            Some(Values::Several(mut all)) => {
                all.insert(value);
                Values::Several(all)
            }
        };
        self.0.insert(key, values);
    }

    pub(super) fn remove(&mut self, key: &K, value: &V) {
        let is_last = match self.0.get_mut(key) {
            None => false,
            Some(Values::One(one)) => one == value,
            Some(Values::Several(all)) => {
                all.remove(value);
                all.is_empty()
            }
        };
        if is_last {
            self.0.remove(key);
        }
    }

    pub(super) fn all(&self, key: &K) -> impl Iterator<Item = &V> + use<'_, K, V> {
        let (one, several) = match self.0.get(key) {
            None => (None, None),
            Some(Values::One(one)) => (Some(one), None),
            Some(Values::Several(all)) => (None, Some(all)),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    pub(super) fn count(&self, key: &K) -> usize {
        match self.0.get(key) {
            None => 0,
            Some(Values::One(_)) => 1,
            Some(Values::Several(all)) => all.len(),
        }
    }
}

/// A label within a namespace.
type Label = (Namespace, String, String);

fn labels<'a>(
    object: &'a ObjectRef,
    labels: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Label> + 'a {
    labels.iter().map(|(key, value)| (object.namespace.clone(), key.clone(), value.clone()))
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Index {
    pods_with: Multi<Label, ObjectRef>,
    /// By the first label of their selectors: a pod they select has it.
    selecting: Multi<Label, ObjectRef>,
    pods_at: Multi<IpAddr, ObjectRef>,
    slices_of: Multi<ObjectRef, ObjectRef>,
    slices_at: Multi<IpAddr, ObjectRef>,
}

impl Index {
    pub(super) fn add_pod(&mut self, pod: &PodFacts) {
        for label in labels(&pod.object, &pod.labels) {
            self.pods_with.add(label, pod.object.clone());
        }
        for ip in &pod.addresses {
            self.pods_at.add(*ip, pod.object.clone());
        }
    }

    pub(super) fn remove_pod(&mut self, pod: &PodFacts) {
        for label in labels(&pod.object, &pod.labels) {
            self.pods_with.remove(&label, &pod.object);
        }
        for ip in &pod.addresses {
            self.pods_at.remove(ip, &pod.object);
        }
    }

    pub(super) fn add_service(&mut self, spec: &Spec) {
        if let Some(first) = labels(&spec.object, &spec.selector).next() {
            self.selecting.add(first, spec.object.clone());
        }
    }

    pub(super) fn remove_service(&mut self, spec: &Spec) {
        if let Some(first) = labels(&spec.object, &spec.selector).next() {
            self.selecting.remove(&first, &spec.object);
        }
    }

    pub(super) fn add_slice(&mut self, slice: &SliceSpec) {
        if let Some(service) = &slice.service {
            self.slices_of.add(service.clone(), slice.object.clone());
        }
        for endpoint in &slice.endpoints {
            self.slices_at.add(endpoint.address, slice.object.clone());
        }
    }

    pub(super) fn remove_slice(&mut self, slice: &SliceSpec) {
        if let Some(service) = &slice.service {
            self.slices_of.remove(service, &slice.object);
        }
        for endpoint in &slice.endpoints {
            self.slices_at.remove(&endpoint.address, &slice.object);
        }
    }

    /// Services that may select a pod; each is to be asked.
    pub(super) fn may_select(&self, pod: &PodFacts) -> BTreeSet<ObjectRef> {
        labels(&pod.object, &pod.labels)
            .flat_map(|label| self.selecting.all(&label).cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Pods that a service may select, each of which is to be looked at: those with the rarest of its labels.
    pub(super) fn candidates(&self, spec: &Spec) -> impl Iterator<Item = &ObjectRef> {
        let rarest = labels(&spec.object, &spec.selector).min_by_key(|label| self.pods_with.count(label));
        rarest.into_iter().flat_map(|label| self.pods_with.all(&label))
    }

    pub(super) fn pods_at(&self, ip: IpAddr) -> impl Iterator<Item = &ObjectRef> {
        self.pods_at.all(&ip)
    }

    pub(super) fn slices_of(&self, service: &ObjectRef) -> impl Iterator<Item = &ObjectRef> {
        self.slices_of.all(service)
    }

    pub(super) fn slices_at(&self, ip: IpAddr) -> impl Iterator<Item = &ObjectRef> {
        self.slices_at.all(&ip)
    }
}
