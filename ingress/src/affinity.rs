//! Clients that stay at their endpoint: a cookie names it by a number made of its address.
//!
//! The number says nothing that the client could use: it is looked for among the service's endpoints, and one
//! that is not there is as good as no cookie.

use hyper::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use crate::plan::Affinity;

impl Affinity {
    /// What the client's cookie says.
    pub(crate) fn token(&self, headers: &HeaderMap) -> Option<u64> {
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == self.cookie)
            .and_then(|(_, value)| u64::from_str_radix(value, 16).ok())
    }

    /// Tells the client.
    pub(crate) fn set(&self, token: u64, https: bool, headers: &mut HeaderMap) {
        let mut cookie = format!("{}={token:016x}; Path={}; HttpOnly", self.cookie, self.path);
        if let Some(seconds) = self.max_age {
            cookie.push_str(&format!("; Max-Age={seconds}"));
        }
        if https {
            cookie.push_str("; Secure");
        }
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_was_set_is_understood() {
        let affinity = Affinity { cookie: "route".to_owned(), path: "/".to_owned(), max_age: Some(60) };
        let mut headers = HeaderMap::new();
        affinity.set(0xdead_beef, true, &mut headers);
        let set = headers.get(SET_COOKIE).unwrap().to_str().unwrap().to_owned();
        assert_eq!(set, "route=00000000deadbeef; Path=/; HttpOnly; Max-Age=60; Secure");
        let pair = set.split(';').next().unwrap();
        let cases = [
            (pair.to_owned(), Some(0xdead_beef)),
            (format!("a=b; {pair}; c=d"), Some(0xdead_beef)),
            ("xroute=1".to_owned(), None),
            ("route=hello".to_owned(), None),
            ("route".to_owned(), None),
        ];
        for (sent, token) in cases {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(sent).unwrap())]);
            assert_eq!(affinity.token(&headers), token);
        }
    }
}
