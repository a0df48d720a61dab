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
            .find(|(name, _)| *name == self.0.name)
            .and_then(|(_, value)| u64::from_str_radix(value, 16).ok())
    }

    /// Tells the client. `path` is that of the rule.
    pub(crate) fn set(&self, token: u64, https: bool, path: &str, headers: &mut HeaderMap) {
        let session = &self.0;
        let path = session.path.as_deref().unwrap_or(path);
        let mut cookie = format!("{}={token:016x}; Path={path}; HttpOnly", session.name);
        if let Some(domain) = &session.domain {
            cookie.push_str(&format!("; Domain={domain}"));
        }
        if let Some(seconds) = session.max_age_seconds {
            cookie.push_str(&format!("; Max-Age={seconds}"));
        }
        if let Some(same_site) = &session.same_site {
            cookie.push_str(&format!("; SameSite={same_site}"));
        }
        if session.secure.unwrap_or(https) {
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
        let affinity = Affinity(routing::SessionCookie {
            name: "route".to_owned(),
            path: None,
            domain: None,
            max_age_seconds: Some(60),
            secure: None,
            same_site: Some("Lax".to_owned()),
        });
        let mut headers = HeaderMap::new();
        affinity.set(0xdead_beef, true, "/shop", &mut headers);
        let set = headers.get(SET_COOKIE).unwrap().to_str().unwrap().to_owned();
        assert_eq!(set, "route=00000000deadbeef; Path=/shop; HttpOnly; Max-Age=60; SameSite=Lax; Secure");
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
