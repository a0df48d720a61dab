//! Bodies in chunks (RFC 9112 §7.1), decoded strictly: what a lenient reader would let pass is an error here.
//!
//! ```text
//!   size ──▶ data ──▶ its line end ──▶ size …
//!    │ 0
//!    └──▶ trailers ──▶ done
//! ```
//! Extensions are read over, and trailers thrown away: nothing that comes behind a body may change what its head said.

use bytes::{Bytes, BytesMut};

use super::Malformed;

/// Longest line of a chunk's size with its extensions, and of a trailer field.
const MAX_LINE_BYTES: usize = 4096;
/// All trailers together.
const MAX_TRAILER_BYTES: usize = 16 << 10;
/// Digits of a size: what 64 bits can hold.
const MAX_SIZE_DIGITS: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    trailer_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What the bytes so far come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A piece of the body.
    Data(Bytes),
    /// More has to be read.
    More,
    /// The body is complete.
    End,
}

impl Chunked {
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes from the input what belongs together.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Step, Malformed> {
        loop {
            match self.state {
                State::Done => return Ok(Step::End),
                State::Size => {
                    let Some(line) = take_line(input)? else { return Ok(Step::More) };
                    self.state = match size(&line)? {
                        0 => State::Trailers,
                        size => State::Data(size),
                    };
                }
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(Step::More);
                    }
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let left = left.saturating_sub(len as u64);
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Step::Data(input.split_to(len).freeze()));
                }
                State::DataEnd => {
                    let Some(end) = input.get(..2) else { return Ok(Step::More) };
                    if end != b"\r\n" {
                        return Err(Malformed::Chunk);
                    }
                    let _ = input.split_to(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(line) = take_line(input)? else { return Ok(Step::More) };
                    self.trailer_bytes += line.len();
                    if self.trailer_bytes > MAX_TRAILER_BYTES {
                        return Err(Malformed::Chunk);
                    }
                    if line.is_empty() {
                        self.state = State::Done;
                    }
                }
            }
        }
    }
}

/// A line without its end, if it is all there.
fn take_line(input: &mut BytesMut) -> Result<Option<BytesMut>, Malformed> {
    let Some(end) = input.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\n') else {
        return if input.len() < MAX_LINE_BYTES { Ok(None) } else { Err(Malformed::Chunk) };
    };
    let mut line = input.split_to(end + 1);
    line.truncate(end);
    match line.split_last() {
        Some((b'\r', text)) if !text.contains(&b'\r') => line.truncate(end - 1),
        _ => return Err(Malformed::Chunk),
    }
    Ok(Some(line))
}

/// The number that a chunk begins with; extensions follow it.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    if digits.is_empty() || digits.len() > MAX_SIZE_DIGITS || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed::Chunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Malformed::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes what comes in these pieces, and says what is left behind the body.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), Malformed> {
        let (mut chunked, mut input, mut body) = (Chunked::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match chunked.next(&mut input)? {
                    Step::Data(data) => body.extend_from_slice(&data),
                    Step::More => break,
                    Step::End => break,
                }
            }
        }
        Ok((body, chunked.is_done(), input.to_vec()))
    }

    #[test]
    fn chunks_are_one_body() {
        let cases: &[(&str, &str, &str)] = &[
            ("0\r\n\r\n", "", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc", ""),
            ("03\r\nabc\r\n2 ;x=\"y\"\r\nde\r\n0;z\r\nX: y\r\n\r\nHTTP", "abcde", "HTTP"),
            ("A\r\n0123456789\r\n00\r\n\r\n", "0123456789", ""),
        ];
        for (wire, body, rest) in cases {
            let found = decode(&[wire.as_bytes()]).unwrap();
            assert_eq!(found, (body.as_bytes().to_vec(), true, rest.as_bytes().to_vec()), "{wire:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        let long = format!("3;{}", "x".repeat(MAX_LINE_BYTES));
        let trailers = format!("0\r\n{}", format!("X: {}\r\n", "y".repeat(4000)).repeat(5));
        let cases = [
            "xyz\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1\n",
            "1\r\r\n",
            "11111111111111111\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            " 3\r\nabc\r\n",
            "3 3\r\nabc\r\n",
            &long,
            &trailers,
        ];
        for wire in cases {
            assert_eq!(decode(&[wire.as_bytes()]), Err(Malformed::Chunk), "{wire:?}");
        }
    }

    proptest! {
        /// However a body is cut into chunks, and its bytes into pieces, it is the same.
        #[test]
        fn any_cut_is_the_same_body(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
            cuts in proptest::collection::vec(0usize..500, 0..8),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\nrest");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&pieces), Ok((chunks.concat(), true, b"rest".to_vec())));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&[&bytes]);
        }
    }
}
