//! HTTPRoute: what the rules in its CustomResourceDefinition check.

use std::collections::BTreeSet;

use protocol::problem::Problem;

use super::words;
use crate::gateway_api::{
    BackendRef, CorsFilter, Filter, HeaderFilter, HeaderMatch, HttpRoute, MirrorFilter, PathModifier,
    RedirectFilter, RewriteFilter, RouteMatch, RouteRule,
};

/// The Gateway API's `maxItems`.
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 64;
const MAX_HOSTS: usize = 16;
const MAX_PARENTS: usize = 32;
const MAX_FILTERS: usize = 16;
const MAX_WEIGHT: i64 = 1_000_000;

pub(super) fn http_route(object: &mut HttpRoute, problems: &mut Vec<Problem>) {
    object.status = None;
    let spec = &object.spec;
    cap("spec.parentRefs", spec.parent_refs.len(), MAX_PARENTS, problems);
    cap("spec.hostnames", spec.hostnames.len(), MAX_HOSTS, problems);
    cap("spec.rules", spec.rules.len(), MAX_RULES, problems);
    for (index, host) in spec.hostnames.iter().enumerate() {
        words::host(host, format!("spec.hostnames[{index}]"), problems);
    }
    for (index, parent) in spec.parent_refs.iter().enumerate() {
        if let Some(port) = parent.port {
            words::port(port, format!("spec.parentRefs[{index}].port"), problems);
        }
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        self::rule(rule, &format!("spec.rules[{index}]"), problems);
    }
}

fn cap(path: &str, len: usize, most: usize, problems: &mut Vec<Problem>) {
    if len > most {
        problems.push(Problem::invalid(path, len, format!("must have at most {most} items")));
    }
}

fn rule(rule: &RouteRule, at: &str, problems: &mut Vec<Problem>) {
    cap(&format!("{at}.matches"), rule.matches.len(), MAX_MATCHES, problems);
    cap(&format!("{at}.backendRefs"), rule.backend_refs.len(), MAX_FILTERS, problems);
    for (index, wanted) in rule.matches.iter().enumerate() {
        matches(wanted, &format!("{at}.matches[{index}]"), problems);
    }
    filters(&rule.filters, at, problems);
    let has = |type_: &str| rule.filters.iter().any(|filter| filter.type_ == type_);
    if has("RequestRedirect") && !rule.backend_refs.is_empty() {
        let why = "RequestRedirect filter must not be used together with backendRefs";
        problems.push(Problem::forbidden(format!("{at}.filters"), why));
    }
    if replaces_prefix(&rule.filters) && !has_one_prefix(rule) {
        let why = "When using RequestRedirect or URLRewrite with replacePrefixMatch, exactly one PathPrefix match must be specified";
        problems.push(Problem::forbidden(format!("{at}.filters"), why));
    }
    for (index, backend) in rule.backend_refs.iter().enumerate() {
        self::backend(backend, &format!("{at}.backendRefs[{index}]"), problems);
    }
    let timeouts = rule.timeouts.as_ref();
    let mut timeout = |text: Option<&String>, name: &str| {
        let read = text.map(|text| (text, words::duration(text)));
        if let Some((text, None)) = read {
            let why = "must be a duration such as 500ms or 1m30s";
            problems.push(Problem::invalid(format!("{at}.timeouts.{name}"), text, why));
        }
        read.and_then(|(_, read)| read).filter(|read| !read.is_zero())
    };
    let request = timeout(timeouts.and_then(|all| all.request.as_ref()), "request");
    let backend = timeout(timeouts.and_then(|all| all.backend_request.as_ref()), "backendRequest");
    if let (Some(request), Some(backend)) = (request, backend)
        && backend > request
    {
        let why = "backendRequest timeout cannot be longer than request timeout";
        problems.push(Problem::forbidden(format!("{at}.timeouts"), why));
    }
    if let Some(retry) = &rule.retry {
        if let Some(text) = retry.backoff.as_ref().filter(|text| words::duration(text).is_none()) {
            problems.push(Problem::invalid(
                format!("{at}.retry.backoff"),
                text,
                "must be a duration such as 500ms",
            ));
        }
        for code in retry.codes.iter().filter(|code| !(400..=599).contains(*code)) {
            problems.push(Problem::invalid(format!("{at}.retry.codes"), code, "must be from 400 to 599"));
        }
    }
}

fn replaces_prefix(filters: &[Filter]) -> bool {
    let redirects = filters.iter().filter_map(|filter| filter.request_redirect.as_ref()?.path.as_ref());
    let rewrites = filters.iter().filter_map(|filter| filter.url_rewrite.as_ref()?.path.as_ref());
    redirects.chain(rewrites).any(|path| path.type_ == "ReplacePrefixMatch")
}

fn has_one_prefix(rule: &RouteRule) -> bool {
    let is_prefix = |wanted: &RouteMatch| {
        let type_ = wanted.path.as_ref().and_then(|path| path.type_.as_deref());
        matches!(type_, None | Some("PathPrefix"))
    };
    match rule.matches.as_slice() {
        [] => true,
        [one] => is_prefix(one),
        [..] => false,
    }
}

fn matches(wanted: &RouteMatch, at: &str, problems: &mut Vec<Problem>) {
    if let Some(path) = &wanted.path {
        match path.type_.as_deref() {
            None | Some("Exact" | "PathPrefix") => {
                words::path(path.value.as_deref().unwrap_or("/"), format!("{at}.path.value"), problems);
            }
            // Not of the core: accepted, and its rule refused with a condition.
            Some("RegularExpression") => {}
            Some(other) => {
                let known = ["Exact", "PathPrefix", "RegularExpression"];
                problems.push(Problem::unsupported(format!("{at}.path.type"), other, &known));
            }
        }
    }
    if let Some(method) = wanted.method.as_deref().filter(|method| !words::METHODS.contains(method)) {
        problems.push(Problem::unsupported(format!("{at}.method"), method, &words::METHODS));
    }
    named(&wanted.headers, &format!("{at}.headers"), problems);
    named(&wanted.query_params, &format!("{at}.queryParams"), problems);
}

fn named(all: &[HeaderMatch], at: &str, problems: &mut Vec<Problem>) {
    cap(at, all.len(), MAX_FILTERS, problems);
    for (index, one) in all.iter().enumerate() {
        if !words::is_field_name(&one.name) {
            problems.push(Problem::invalid(
                format!("{at}[{index}].name"),
                &one.name,
                "must be a token (RFC 9110)",
            ));
        }
        match one.type_.as_deref() {
            None | Some("Exact" | "RegularExpression") => {}
            Some(other) => {
                let known = ["Exact", "RegularExpression"];
                problems.push(Problem::unsupported(format!("{at}[{index}].type"), other, &known));
            }
        }
    }
}

const TYPES: [&str; 6] = [
    "CORS",
    "RequestHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "ResponseHeaderModifier",
    "URLRewrite",
];

fn filters(all: &[Filter], at: &str, problems: &mut Vec<Problem>) {
    cap(&format!("{at}.filters"), all.len(), MAX_FILTERS, problems);
    let mut seen = BTreeSet::new();
    for (index, filter) in all.iter().enumerate() {
        let at = format!("{at}.filters[{index}]");
        if filter.type_ != "RequestMirror" && !seen.insert(filter.type_.as_str()) {
            problems.push(Problem::forbidden(&at, format!("{} filter cannot be repeated", filter.type_)));
        }
        self::filter(filter, &at, problems);
    }
    if seen.contains("RequestRedirect") && seen.contains("URLRewrite") {
        let why = "May specify either RequestRedirect or URLRewrite, but not both";
        problems.push(Problem::forbidden(format!("{at}.filters"), why));
    }
}

fn filter(filter: &Filter, at: &str, problems: &mut Vec<Problem>) {
    let given = [
        ("CORS", filter.cors.is_some()),
        ("RequestHeaderModifier", filter.request_header_modifier.is_some()),
        ("RequestMirror", filter.request_mirror.is_some()),
        ("RequestRedirect", filter.request_redirect.is_some()),
        ("ResponseHeaderModifier", filter.response_header_modifier.is_some()),
        ("URLRewrite", filter.url_rewrite.is_some()),
    ];
    if !TYPES.contains(&filter.type_.as_str()) {
        problems.push(Problem::unsupported(format!("{at}.type"), &filter.type_, &TYPES));
        return;
    }
    for (type_, is_given) in given {
        if is_given != (type_ == filter.type_) {
            let word = if is_given { "must be nil if" } else { "must be specified for" };
            let text = format!("the settings of {type_} {word} the filter.type is {}", filter.type_);
            problems.push(Problem::forbidden(at, text));
        }
    }
    for edits in filter.request_header_modifier.iter().chain(&filter.response_header_modifier) {
        headers(edits, at, problems);
    }
    filter.request_mirror.iter().for_each(|mirror| self::mirror(mirror, at, problems));
    filter.request_redirect.iter().for_each(|redirect| self::redirect(redirect, at, problems));
    filter.url_rewrite.iter().for_each(|rewrite| self::rewrite(rewrite, at, problems));
    filter.cors.iter().for_each(|cors| self::cors(cors, at, problems));
}

fn headers(edits: &HeaderFilter, at: &str, problems: &mut Vec<Problem>) {
    let pairs = edits.set.iter().chain(&edits.add);
    let names = pairs.clone().map(|pair| &pair.name).chain(&edits.remove);
    for name in names.filter(|name| !words::is_field_name(name)) {
        problems.push(Problem::invalid(at, name, "must be the name of a header field (RFC 9110)"));
    }
    for pair in pairs.filter(|pair| !words::is_field_value(&pair.value)) {
        let why = format!(
            "the value of {} must be visible characters and spaces between them (RFC 9110)",
            pair.name
        );
        problems.push(Problem::invalid(at, pair.value.escape_debug(), why));
    }
}

fn mirror(mirror: &MirrorFilter, at: &str, problems: &mut Vec<Problem>) {
    backend(&mirror.backend_ref, &format!("{at}.requestMirror.backendRef"), problems);
    if let Some(percent) = mirror.percent.filter(|percent| *percent > 100) {
        problems.push(Problem::invalid(
            format!("{at}.requestMirror.percent"),
            percent,
            "must be from 0 to 100",
        ));
    }
    if mirror.percent.is_some() && mirror.fraction.is_some() {
        let why = "Only one of percent or fraction may be specified";
        problems.push(Problem::forbidden(format!("{at}.requestMirror"), why));
    }
    if let Some(fraction) = &mirror.fraction {
        let denominator = fraction.denominator.unwrap_or(100);
        if denominator == 0 || fraction.numerator > denominator {
            let why = "numerator must be less than or equal to denominator, which is not 0";
            problems.push(Problem::invalid(format!("{at}.requestMirror.fraction"), fraction.numerator, why));
        }
    }
}

fn redirect(redirect: &RedirectFilter, at: &str, problems: &mut Vec<Problem>) {
    if let Some(scheme) = redirect.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        problems.push(Problem::unsupported(
            format!("{at}.requestRedirect.scheme"),
            scheme,
            &["http", "https"],
        ));
    }
    if let Some(host) = &redirect.hostname {
        words::exact_host(host, format!("{at}.requestRedirect.hostname"), problems);
    }
    if let Some(port) = redirect.port {
        words::port(port, format!("{at}.requestRedirect.port"), problems);
    }
    if let Some(code) = redirect.status_code.filter(|code| ![301, 302, 303, 307, 308].contains(code)) {
        let known = ["301", "302", "303", "307", "308"];
        problems.push(Problem::unsupported(
            format!("{at}.requestRedirect.statusCode"),
            &code.to_string(),
            &known,
        ));
    }
    redirect.path.iter().for_each(|path| modifier(path, &format!("{at}.requestRedirect.path"), problems));
}

fn rewrite(rewrite: &RewriteFilter, at: &str, problems: &mut Vec<Problem>) {
    if let Some(host) = &rewrite.hostname {
        words::exact_host(host, format!("{at}.urlRewrite.hostname"), problems);
    }
    rewrite.path.iter().for_each(|path| modifier(path, &format!("{at}.urlRewrite.path"), problems));
}

fn modifier(path: &PathModifier, at: &str, problems: &mut Vec<Problem>) {
    let (given, other) = match path.type_.as_str() {
        "ReplaceFullPath" => (&path.replace_full_path, &path.replace_prefix_match),
        "ReplacePrefixMatch" => (&path.replace_prefix_match, &path.replace_full_path),
        type_ => {
            let known = ["ReplaceFullPath", "ReplacePrefixMatch"];
            problems.push(Problem::unsupported(format!("{at}.type"), type_, &known));
            return;
        }
    };
    let Some(text) = given.as_ref().filter(|_| other.is_none()) else {
        problems.push(Problem::required(at, &format!("{} alone must have its value", path.type_)));
        return;
    };
    if text.len() > 1024 || !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
    {
        problems.push(Problem::invalid(
            at,
            text.escape_debug(),
            "may have only characters of a path, 1024 at most",
        ));
    }
}

fn cors(cors: &CorsFilter, at: &str, problems: &mut Vec<Problem>) {
    let lists = [&cors.allow_headers, &cors.expose_headers, &cors.allow_methods];
    for name in lists.into_iter().flatten().filter(|name| *name != "*" && !words::is_field_name(name)) {
        problems.push(Problem::invalid(
            format!("{at}.cors"),
            name.escape_debug(),
            "must be a token (RFC 9110)",
        ));
    }
    for origin in cors.allow_origins.iter().filter(|origin| !is_origin(origin)) {
        let why = "must be * or an origin such as https://foo.com or https://*.foo.com:8443";
        problems.push(Problem::invalid(format!("{at}.cors.allowOrigins"), origin.escape_debug(), why));
    }
}

/// `*`, or scheme, host and perhaps a port.
pub(crate) fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (host, port) = rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_host = host == "*" || words::is_subdomain(host.strip_prefix("*.").unwrap_or(host));
    matches!(scheme, "http" | "https") && is_host && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn backend(backend: &BackendRef, at: &str, problems: &mut Vec<Problem>) {
    if let Some(weight) = backend.weight.filter(|weight| !(0..=MAX_WEIGHT).contains(weight)) {
        problems.push(Problem::invalid(
            format!("{at}.weight"),
            weight,
            format!("must be from 0 to {MAX_WEIGHT}"),
        ));
    }
    let is_service = matches!(backend.group.as_deref(), None | Some(""))
        && matches!(backend.kind.as_deref(), None | Some("Service"));
    match backend.port {
        Some(port) => {
            words::port(port, format!("{at}.port"), problems);
        }
        None if is_service => {
            problems.push(Problem::required(format!("{at}.port"), "Must have port for Service reference"));
        }
        None => {}
    }
    filters(&backend.filters, at, problems);
}
