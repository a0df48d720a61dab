//! Looks at the bytes of a request's head before the HTTP library does.
//!
//! The library is lenient where RFC 9112 lets it be: a `Content-Length` beside `Transfer-Encoding`
//! is dropped (§6.3), a line may end in a bare LF (§2.2). What is forwarded then is unambiguous, but
//! such a request is how smuggling begins, so it is refused. The library does not tell; hence this
//! scanner. It follows line starts only, keeps a few bytes of state, and is told when a head begins.

/// What was seen in a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// A `Content-Length` field.
    pub(crate) content_length: bool,
    /// A `Transfer-Encoding` field.
    pub(crate) transfer_encoding: bool,
    /// A line that ends in LF without CR.
    pub(crate) bare_lf: bool,
}

impl Seen {
    /// Whether a correct client sends such a head.
    pub(crate) fn is_clean(self) -> bool {
        !(self.bare_lf || (self.content_length && self.transfer_encoding))
    }
}

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
/// No field name of interest is longer.
const NAME_BYTES: usize = 17;

/// Where in a head the bytes so far end.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    seen: Seen,
    /// The line's first bytes, in lower case.
    name: [u8; NAME_BYTES],
    /// Bytes of the line so far, no more than tells long from short.
    line_len: usize,
    last_was_cr: bool,
    /// Lines before the request line do not count: a head may be preceded by empty ones.
    any_line: bool,
    done: bool,
}

impl HeadScanner {
    /// A new head begins.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    /// What has been seen of it.
    pub(crate) fn seen(&self) -> Seen {
        self.seen
    }

    /// Takes the next bytes, and ignores what follows the head.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.done && !bytes.is_empty() {
            let end = bytes.iter().position(|&b| b == b'\n');
            let (line, rest) = match end {
                Some(at) => bytes.split_at_checked(at + 1).unwrap_or((bytes, &[])),
                None => (bytes, &[][..]),
            };
            self.feed_line(line, end.is_some());
            bytes = rest;
        }
    }

    /// A piece of one line.
    fn feed_line(&mut self, piece: &[u8], ends: bool) {
        let text = if ends { piece.split_last().map_or(piece, |(_, text)| text) } else { piece };
        for (slot, byte) in self.name.iter_mut().skip(self.line_len).zip(text) {
            *slot = byte.to_ascii_lowercase();
        }
        self.line_len += text.len();
        if let Some(last) = text.last() {
            self.last_was_cr = *last == b'\r';
        }
        if ends {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        self.seen.bare_lf |= !self.last_was_cr;
        let text_len = self.line_len - usize::from(self.last_was_cr);
        if text_len == 0 {
            self.done = self.any_line;
        } else {
            self.any_line = true;
            self.seen.content_length |= self.name.starts_with(CONTENT_LENGTH);
            self.seen.transfer_encoding |= self.name.starts_with(TRANSFER_ENCODING);
        }
        self.name = [0; NAME_BYTES];
        self.line_len = 0;
        self.last_was_cr = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(head: &[u8]) -> Seen {
        let mut scanner = HeadScanner::default();
        scanner.feed(head);
        scanner.seen()
    }

    #[test]
    fn ambiguous_heads_are_seen() {
        let cases: &[(&str, bool)] = &[
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\nTransfer-Encoding: x\n", true),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", false),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\nX: y\r\nTRANSFER-ENCODING: chunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nContent-Length : 3\r\nTransfer-Encoding\t: chunked\r\n\r\n", false),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", false),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ];
        for (head, clean) in cases {
            assert_eq!(scan(head.as_bytes()).is_clean(), *clean, "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn how_a_head_is_cut_does_not_matter(
            lines in proptest::collection::vec("(content-length|Transfer-Encoding|x-[a-z]{1,30})?[:a-z ]{0,40}(\r)?", 0..8),
            cuts in proptest::collection::vec(0usize..400, 0..8),
        ) {
            let mut head = lines.join("\n");
            head.push_str("\r\n\r\n");
            let bytes = head.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut scanner = HeadScanner::default();
            for pair in cuts.windows(2) {
                scanner.feed(&bytes[pair[0]..pair[1]]);
            }
            prop_assert_eq!(scanner.seen(), scan(bytes));
        }
    }
}
