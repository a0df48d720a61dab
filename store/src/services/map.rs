//! All services of a configuration, by number.
//!
//! How it works: numbers are dense ([`super::ServiceIds`] gives the lowest free one), so they index pages of states. Pages and states
//! are shared by copies: a copy costs a pointer a page, a change the page it is in, and a comparison looks only into
//! pages that are not the same ones. So one change among ten thousand services costs a few hundred pointers.

use std::sync::Arc;

use protocol::ServiceId;

use super::change::ServiceState;

/// States in a page: few enough to copy for one change, enough that there are few pages.
const PAGE: usize = 64;

type Slot = Option<Arc<ServiceState>>;
type Page = Arc<[Slot; PAGE]>;

/// See the module's text.
///
/// INVARIANT: the last page has a state, so that equal maps have equal pages; `len` counts states.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Services {
    pages: Vec<Page>,
    len: usize,
}

impl Services {
    /// Without any.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: ServiceId) -> Option<&Arc<ServiceState>> {
        let (page, slot) = place(id);
        self.pages.get(page)?.get(slot)?.as_ref()
    }

    /// Puts one; returns the one that had its number.
    pub fn insert(&mut self, id: ServiceId, state: Arc<ServiceState>) -> Slot {
        let (page, slot) = place(id);
        while self.pages.len() <= page {
            self.pages.push(Arc::new(std::array::from_fn(|_| None)));
        }
        let old = self.slot(page, slot).and_then(|slot| slot.replace(state));
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes one out.
    pub fn remove(&mut self, id: ServiceId) -> Slot {
        let (page, slot) = place(id);
        let old = self.slot(page, slot).and_then(Option::take)?;
        self.len -= 1;
        while self.pages.last().is_some_and(|page| page.iter().all(Option::is_none)) {
            self.pages.pop();
        }
        Some(old)
    }

    /// One place, of a page that no other map has.
    fn slot(&mut self, page: usize, slot: usize) -> Option<&mut Slot> {
        Arc::make_mut(self.pages.get_mut(page)?).get_mut(slot)
    }

    /// All, in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (ServiceId, &Arc<ServiceState>)> {
        let slots = self.pages.iter().flat_map(|page| page.iter());
        (0..).map(ServiceId).zip(slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    /// Their states, in order of their numbers.
    pub fn values(&self) -> impl Iterator<Item = &Arc<ServiceState>> {
        self.iter().map(|(_, state)| state)
    }

    /// What turns this map into `new`: numbers with the states before and after. Costs what differs, and a pointer a page.
    pub fn changes<'a>(&'a self, new: &'a Self) -> impl Iterator<Item = Difference<'a>> {
        let differ = move |page: &usize| match (self.pages.get(*page), new.pages.get(*page)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() || new.is_some(),
        };
        let pages = (0..self.pages.len().max(new.pages.len())).filter(differ);
        pages.flat_map(ids).filter_map(move |id| match (self.get(id), new.get(id)) {
            (None, None) => None,
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => None,
            (old, new) => Some((id, old, new)),
        })
    }
}

/// A number, its state before, its state after; the two are not the same.
pub type Difference<'a> = (ServiceId, Option<&'a Arc<ServiceState>>, Option<&'a Arc<ServiceState>>);

/// Page and slot.
const fn place(id: ServiceId) -> (usize, usize) {
    (id.index() / PAGE, id.index() % PAGE)
}

/// The numbers of a page.
fn ids(page: usize) -> impl Iterator<Item = ServiceId> {
    let first = u32::try_from(page * PAGE).unwrap_or(u32::MAX);
    (first..).take(PAGE).map(ServiceId)
}

impl FromIterator<(ServiceId, Arc<ServiceState>)> for Services {
    fn from_iter<T: IntoIterator<Item = (ServiceId, Arc<ServiceState>)>>(all: T) -> Self {
        let mut services = Self::new();
        for (id, state) in all {
            services.insert(id, state);
        }
        services
    }
}
