//! Domain names in wire form, lower case (RFC 1035 §3.1): lengths and labels, ended by the root's zero.
//!
//! [`QueryName`] is a question's, on the stack, with the places of its labels, so that the part of it that is a key of a table
//! is a slice of it. [`Name`] is one that is kept.

use std::fmt;

/// Longest name in wire form, with the root.
pub const MAX_NAME_BYTES: usize = 255;
/// Longest label.
pub const MAX_LABEL_BYTES: usize = 63;
/// A name of 255 bytes has at most 127 labels of one byte.
const MAX_LABELS: usize = 127;

/// A kept name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads `a.b.c` or `a.b.c.`; `None` where a label or the whole is empty or too long. No escapes.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Some(Self::root());
        }
        Self::from_labels(text.split('.').map(str::as_bytes))
    }

    /// Puts labels together; `None` where one is empty or too long, or all together are.
    #[must_use]
    pub fn from_labels<'l>(labels: impl IntoIterator<Item = &'l [u8]>) -> Option<Self> {
        let mut wire = Vec::with_capacity(64);
        for label in labels {
            push_label(&mut wire, label)?;
        }
        wire.push(0);
        (wire.len() <= MAX_NAME_BYTES).then(|| Self(wire.into_boxed_slice()))
    }

    /// Labels in wire form (without the root) before another name; `None` where that is too long.
    #[must_use]
    pub fn below(labels: &[u8], parent: &Self) -> Option<Self> {
        (labels.len() + parent.0.len() <= MAX_NAME_BYTES).then(|| Self([labels, &parent.0].concat().into()))
    }

    /// A question's name, kept.
    #[must_use]
    pub fn from_query(name: &QueryName) -> Self {
        Self(name.as_wire().into())
    }

    /// The bytes, with the root.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The bytes without the root.
    #[must_use]
    pub fn without_root(&self) -> &[u8] {
        self.0.split_last().map_or(&[], |(_, labels)| labels)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

/// Appends a label in lower case.
#[must_use]
pub fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Option<()> {
    let len = u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len))?;
    wire.push(len);
    wire.extend(label.iter().map(u8::to_ascii_lowercase));
    Some(())
}

/// A question's name: lower case, with the places of its labels.
#[derive(Clone)]
pub struct QueryName {
    bytes: [u8; MAX_NAME_BYTES],
    len: u8,
    starts: [u8; MAX_LABELS],
    labels: u8,
}

impl QueryName {
    /// Reads an uncompressed name from the beginning of `wire`; says how long it is. `None` for anything else than a whole one.
    #[must_use]
    pub fn read(wire: &[u8]) -> Option<(Self, usize)> {
        let mut name = Self { bytes: [0; MAX_NAME_BYTES], len: 0, starts: [0; MAX_LABELS], labels: 0 };
        let mut at = 0_usize;
        loop {
            let len = usize::from(*wire.get(at)?);
            if len == 0 {
                break;
            }
            // One byte has to remain for the root; a pointer (the two upper bits) is too long a label.
            if len > MAX_LABEL_BYTES || at + 1 + len >= MAX_NAME_BYTES {
                return None;
            }
            *name.starts.get_mut(usize::from(name.labels))? = u8::try_from(at).ok()?;
            name.labels += 1;
            at += 1 + len;
        }
        let whole = at + 1;
        // Lengths are below 64 and so never letters: lowering all bytes lowers the labels.
        for (to, from) in name.bytes.iter_mut().zip(wire.get(..whole)?) {
            *to = from.to_ascii_lowercase();
        }
        name.len = u8::try_from(whole).ok()?;
        Some((name, whole))
    }

    /// A kept name as a question's.
    #[must_use]
    pub fn of(name: &Name) -> Option<Self> {
        Self::read(name.as_wire()).map(|(name, _)| name)
    }

    /// The bytes, with the root.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// How many labels, without the root.
    #[must_use]
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// Where label `index` begins, counted from the left; where the root is behind the last.
    #[must_use]
    pub fn start(&self, index: usize) -> usize {
        if index >= self.labels() {
            return usize::from(self.len).saturating_sub(1);
        }
        self.starts.get(index).copied().map_or(0, usize::from)
    }

    /// Label `index` without its length, counted from the left.
    #[must_use]
    pub fn label(&self, index: usize) -> &[u8] {
        self.labels_wire(index, index + 1).split_first().map_or(&[], |(_, label)| label)
    }

    /// Labels `from..to` in wire form.
    #[must_use]
    pub fn labels_wire(&self, from: usize, to: usize) -> &[u8] {
        self.bytes.get(self.start(from)..self.start(to)).unwrap_or_default()
    }

    /// How many labels are before `suffix`, if the name ends with it.
    #[must_use]
    pub fn labels_before(&self, suffix: &Self) -> Option<usize> {
        let before = self.labels().checked_sub(suffix.labels())?;
        (self.bytes.get(self.start(before)..usize::from(self.len))? == suffix.as_wire()).then_some(before)
    }
}

impl fmt::Display for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(self.as_wire(), f)
    }
}

impl fmt::Debug for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// RFC 1035 §5.1: what is no plain character is `\DDD`, so that no name can forge a line of a log.
fn write_text(wire: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = wire;
    while let Some((&len, behind)) = rest.split_first().filter(|(len, _)| **len > 0) {
        let (label, next) = behind.split_at_checked(usize::from(len)).unwrap_or((behind, &[]));
        for &byte in label {
            match byte {
                b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
        f.write_str(".")?;
        rest = next;
    }
    if wire.first() == Some(&0) { f.write_str(".") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (text, wire) in [
            (".", &b"\0"[..]),
            ("a.", b"\x01a\0"),
            ("Web.Default.svc.cluster.local", b"\x03web\x07default\x03svc\x07cluster\x05local\0"),
        ] {
            let name = Name::from_text(text).unwrap();
            assert_eq!(name.as_wire(), wire);
            let lower = text.to_ascii_lowercase();
            assert_eq!(name.to_string().trim_end_matches('.'), lower.trim_end_matches('.'));
        }
        for text in ["a..b", ".a", &"a".repeat(64), &"a.".repeat(128)] {
            assert_eq!(Name::from_text(text), None, "{text}");
        }
        assert_eq!(Name::from_text(&"a.".repeat(127)).unwrap().as_wire().len(), 255);
    }

    #[test]
    fn a_question_knows_its_labels() {
        let (name, len) = QueryName::read(b"\x01A\x02bC\x03svc\0rest").unwrap();
        assert_eq!((len, name.labels()), (10, 3));
        assert_eq!(
            (name.label(0), name.label(1), name.label(2), name.label(3)),
            (&b"a"[..], &b"bc"[..], &b"svc"[..], &b""[..])
        );
        assert_eq!(name.labels_wire(0, 2), b"\x01a\x02bc");
        let zone = QueryName::of(&Name::from_text("svc").unwrap()).unwrap();
        assert_eq!(name.labels_before(&zone), Some(2));
        assert_eq!(name.labels_before(&QueryName::of(&Name::root()).unwrap()), Some(3));
        assert_eq!(zone.labels_before(&name), None);
    }

    #[test]
    fn a_suffix_ends_at_a_label() {
        // The bytes of "\x01b" are at the end of the label "a\x01b" as well.
        let (name, _) = QueryName::read(b"\x03a\x01b\0").unwrap();
        let zone = QueryName::of(&Name::from_text("b").unwrap()).unwrap();
        assert_eq!(name.labels_before(&zone), None);
    }

    #[test]
    fn no_name_is_read_from_less_than_one() {
        for wire in [&b""[..], b"\x01", b"\x01a", b"\xc0\x0c", b"\x40a\0", b"\x02a\0"] {
            assert!(QueryName::read(wire).is_none(), "{wire:?}");
        }
        let mut long = [1; 257];
        assert!(QueryName::read(&long).is_none());
        long[254] = 0;
        assert_eq!(QueryName::read(&long).unwrap().0.labels(), 127);
    }

    #[test]
    fn odd_bytes_are_written_as_numbers() {
        let (name, _) = QueryName::read(b"\x04a.\n\xff\0").unwrap();
        assert_eq!(name.to_string(), "a\\.\\010\\255.");
    }
}
