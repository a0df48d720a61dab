//! The router against a slow reference that follows the sentences of the specifications: try every rule, keep the best.

use proptest::prelude::*;

use super::*;
use crate::condition::{Condition, Conditions};
use crate::host::{HostPattern, Star};
use crate::path::PathPattern;
use crate::policy::Policy;
use crate::request::{bare_host, bare_path};
use crate::router::{Entry, Listener, Rules};
use crate::rule::{HeaderEdits, Origin, OriginKind, Rule};

/// Few labels, so that hosts meet.
fn host() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|labels| labels.join("."))
}

fn host_pattern() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        1 => Just(HostPattern::Any),
        2 => host().prop_map(HostPattern::Below),
        4 => host().prop_map(HostPattern::Exact),
    ]
}

fn a_path() -> impl Strategy<Value = String> {
    let element = prop::sample::select(vec!["x", "y", "xy", "", ".", "..", "%2e"]);
    prop::collection::vec(element, 0..5).prop_map(|elements| format!("/{}", elements.join("/")))
}

fn path_pattern() -> impl Strategy<Value = PathPattern> {
    let element = prop::sample::select(vec!["x", "y", "xy"]);
    let path = prop::collection::vec(element, 0..4).prop_map(|elements| format!("/{}", elements.join("/")));
    (path, any::<bool>(), any::<bool>()).prop_map(|(path, is_exact, slash)| {
        let path = if slash && path != "/" { format!("{path}/") } else { path };
        if is_exact { PathPattern::Exact(path) } else { PathPattern::prefix(&path) }
    })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let one = |name: &'static str| {
        prop::sample::select(vec!["1", "2"])
            .prop_map(move |value| Condition { name: name.to_owned(), value: value.to_owned() })
    };
    let two = move || (prop::option::of(one("h")), prop::option::of(one("i")));
    (prop::option::of(prop::sample::select(vec!["GET", "PUT"])), two(), two()).prop_map(
        |(method, headers, query)| Conditions {
            method: method.map(str::to_owned),
            headers: headers.0.into_iter().chain(headers.1).collect(),
            query: query.0.into_iter().chain(query.1).collect(),
        },
    )
}

#[derive(Debug, Clone)]
struct Written {
    /// Of the listener with this number; an Ingress's without.
    listener: Option<usize>,
    host: HostPattern,
    path: PathPattern,
    conditions: Conditions,
    created: u64,
}

fn written() -> impl Strategy<Value = Written> {
    let listener = prop::option::of(0..3usize);
    (listener, host_pattern(), path_pattern(), conditions(), 0..4u64).prop_map(
        |(listener, host, path, conditions, created)| {
            let conditions = if listener.is_none() { Conditions::default() } else { conditions };
            Written { listener, host, path, conditions, created }
        },
    )
}

fn rule_of(index: usize, created: u64) -> Rule {
    let none = HeaderEdits::default();
    Rule {
        id: 0,
        origin: Origin {
            created,
            object: protocol::ObjectRef { namespace: "default".parse().unwrap(), name: "n".parse().unwrap() },
            kind: OriginKind::HttpRoute,
            rule: Some(index),
        },
        https_redirect: None,
        redirect: None,
        rewrite: None,
        request_headers: none.clone(),
        response_headers: none,
        mirrors: Vec::new(),
        backends: Vec::new(),
        canary: None,
        policy: std::sync::Arc::new(Policy::default()),
    }
}

fn listener(number: usize, host: &HostPattern) -> Listener {
    Listener {
        gateway: protocol::ObjectRef { namespace: "default".parse().unwrap(), name: "gw".parse().unwrap() },
        name: number.to_string(),
        port: 80,
        https: false,
        host: host.clone(),
        certificates: Vec::new(),
    }
}

/// Sentence by sentence.
fn reference(
    entries: &[(Entry, Option<usize>)],
    listeners: &[HostPattern],
    view: &RequestView<'_>,
) -> Option<usize> {
    let (host, path) = (bare_host(view.host), bare_path(view.path));
    // The most specific listener for the host; of equal ones the first.
    let mut chosen: Option<usize> = None;
    for (number, pattern) in listeners.iter().enumerate() {
        let is_better =
            chosen.and_then(|chosen| listeners.get(chosen)).is_none_or(|best| pattern.rank() > best.rank());
        if pattern.covers(&host, Star::Labels) && is_better {
            chosen = Some(number);
        }
    }
    let fits = |(entry, at): &&(Entry, Option<usize>)| {
        let star = if at.is_none() { Star::OneLabel } else { Star::Labels };
        (at.is_none() || *at == chosen)
            && entry.host.covers(&host, star)
            && entry.path.covers(&path)
            && entry.conditions.hold(view)
    };
    let best = entries.iter().filter(fits).max_by(|(a, _), (b, _)| a.precedence().cmp(&b.precedence()));
    best.and_then(|(entry, _)| entry.rule.origin.rule)
}

proptest! {
    #[test]
    fn the_router_finds_what_trying_every_rule_finds(
        all in prop::collection::vec(written(), 0..40),
        listeners in prop::collection::vec(host_pattern(), 3),
        asked in prop::collection::vec((host(), a_path(), conditions()), 1..20),
    ) {
        let mut router = Router::default();
        let mut at: Vec<Rules> = listeners.iter().map(|_| Rules::new(Star::Labels)).collect();
        let mut entries = Vec::new();
        for (index, one) in all.iter().enumerate() {
            let rule = router.add_rule(rule_of(index, one.created));
            let host = match one.listener.map(|number| (number, one.host.intersection(&listeners[number]))) {
                None => one.host.clone(),
                Some((_, Some(host))) => host,
                Some((_, None)) => continue,
            };
            let entry = Entry { host, path: one.path.clone(), conditions: one.conditions.clone(), rule };
            entries.push((entry.clone(), one.listener));
            match one.listener {
                None => router.insert_ingress(entry),
                Some(number) => at[number].insert(entry),
            }
        }
        for (number, rules) in at.into_iter().enumerate() {
            router.insert_listener(listener(number, &listeners[number]), rules);
        }
        router.finish();
        for (host, path, given) in asked {
            let query: Vec<String> = given.query.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
            let query = query.join("&");
            let fields: Vec<(String, String)> =
                given.headers.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
            let view = RequestView {
                https: false,
                port: 80,
                server_name: None,
                host: &host,
                path: &path,
                query: Some(&query),
                method: given.method.as_deref().unwrap_or("POST"),
                fields: &fields,
                client: IpAddr::from([192, 0, 2, 1]),
            };
            let found = match router.route(&view) {
                Decision::Rule(matched) => matched.rule.origin.rule,
                Decision::NotFound | Decision::Misdirected => None,
            };
            prop_assert_eq!(found, reference(&entries, &listeners, &view), "{:?}", view);
        }
    }

    /// What two patterns have in common covers exactly the hosts that both do.
    #[test]
    fn an_intersection_covers_what_both_cover(a in host_pattern(), b in host_pattern(), host in host()) {
        let both = a.covers(&host, Star::Labels) && b.covers(&host, Star::Labels);
        let found = a.intersection(&b).is_some_and(|common| common.covers(&host, Star::Labels));
        prop_assert_eq!(both, found);
    }

    /// Whatever a manifest says, it is an answer and no panic.
    #[test]
    fn no_manifest_is_too_strange(text in "\\PC{0,80}", kind in 0..6usize, annotation in "\\PC{0,20}") {
        let names = &crate::check::KINDS[kind];
        let value = serde_json::json!({
            "apiVersion": names.version, "kind": names.name,
            "metadata": { "name": "n", "annotations": { "ingress.vpod.io/rewrite-target": text, "ingress.vpod.io/proxy-body-size": annotation } },
            "spec": { "rules": [{ "host": text, "http": { "paths": [{ "path": text, "pathType": "Prefix",
                "backend": { "service": { "name": text, "port": { "name": text } } } }] } }], "controller": text },
        });
        let _ = crate::check::check(names, &value);
        let _ = serde_json::from_str::<Value>(&text).map(|value| crate::check::check(names, &value));
    }
}
