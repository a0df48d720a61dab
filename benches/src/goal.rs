//! What vpod wants to reach, beside what it reaches: said at the end of a run that measures it.

use std::fmt;

use crate::metric::{Metric, Samples, VPOD};

/// A figure that is wanted of one metric of vpod's.
struct Goal {
    workload: &'static str,
    metric: &'static str,
    /// Parameters of the run that it is about.
    params: &'static [(&'static str, &'static str)],
    against: Against,
    wanted: Wanted,
}

/// By what vpod's median is divided.
enum Against {
    Nothing,
    /// A peer's in the same metric.
    Peer(&'static str),
    /// Vpod's own where this parameter is another.
    Own(&'static str, &'static str),
}

enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

const MANY: &[(&str, &str)] = &[("services", "10000")];

const GOALS: &[Goal] = &[
    Goal {
        workload: "service-tcp",
        metric: "service ÷ pod",
        params: &[("services", "1")],
        against: Against::Nothing,
        wanted: Wanted::AtLeast(0.97),
    },
    Goal {
        workload: "service-tcp",
        metric: "service ÷ pod",
        params: MANY,
        against: Against::Nothing,
        wanted: Wanted::AtLeast(0.97),
    },
    Goal {
        workload: "service-crr",
        metric: "rate",
        params: MANY,
        against: Against::Own("services", "1"),
        wanted: Wanted::AtLeast(0.97),
    },
    Goal {
        workload: "service-crr",
        metric: "rate",
        params: MANY,
        against: Against::Peer("kube-proxy-iptables"),
        wanted: Wanted::AtLeast(3.0),
    },
    Goal {
        workload: "service-crr",
        metric: "rate",
        params: MANY,
        against: Against::Peer("kube-proxy-nft"),
        wanted: Wanted::AtLeast(0.9),
    },
    Goal {
        workload: "policies",
        metric: "same-node-tcp",
        params: &[("policies", "1000")],
        against: Against::Own("policies", "0"),
        wanted: Wanted::AtLeast(0.97),
    },
    Goal {
        workload: "policies",
        metric: "same-node-crr",
        params: &[("policies", "1000")],
        against: Against::Own("policies", "0"),
        wanted: Wanted::AtLeast(0.97),
    },
    Goal {
        workload: "program",
        metric: "one change, since heard of",
        params: MANY,
        against: Against::Nothing,
        wanted: Wanted::AtMost(5.0),
    },
    Goal {
        workload: "program",
        metric: "load of all",
        params: MANY,
        against: Against::Nothing,
        wanted: Wanted::AtMost(1.0),
    },
    Goal {
        workload: "program",
        metric: "datapath's memory of an endpoint",
        params: MANY,
        against: Against::Nothing,
        wanted: Wanted::AtMost(200.0),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "off"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "off"), ("connections", "kept")],
        against: Against::Peer("haproxy"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "on"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "on"), ("connections", "kept")],
        against: Against::Peer("haproxy"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "102400"), ("tls", "off"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "102400"), ("tls", "off"), ("connections", "kept")],
        against: Against::Peer("haproxy"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "102400"), ("tls", "on"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "102400"), ("tls", "on"), ("connections", "kept")],
        against: Against::Peer("haproxy"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "added p99",
        params: &[("bytes", "1024"), ("tls", "off"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtMost(2.0),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "off"), ("connections", "new")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "off"), ("connections", "new")],
        against: Against::Peer("haproxy"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "on"), ("connections", "new")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "on"), ("connections", "new")],
        against: Against::Peer("haproxy"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "on"), ("connections", "HTTP/2")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "requests per CPU second",
        params: &[("bytes", "1024"), ("tls", "on"), ("connections", "HTTP/2")],
        against: Against::Peer("haproxy"),
        wanted: Wanted::AtLeast(0.8),
    },
    Goal {
        workload: "ingress",
        metric: "added p99",
        params: &[("bytes", "1024"), ("tls", "on"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtMost(2.0),
    },
    Goal {
        workload: "ingress",
        metric: "added p99",
        params: &[("bytes", "102400"), ("tls", "off"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtMost(2.0),
    },
    Goal {
        workload: "ingress",
        metric: "added p99",
        params: &[("bytes", "102400"), ("tls", "on"), ("connections", "kept")],
        against: Against::Peer("nginx"),
        wanted: Wanted::AtMost(2.0),
    },
    Goal {
        workload: "ingress",
        metric: "memory of an idle connection",
        params: &[("tls", "off")],
        against: Against::Nothing,
        wanted: Wanted::AtMost(20_480.0),
    },
    Goal {
        workload: "ingress",
        metric: "memory of an idle connection",
        params: &[("tls", "on")],
        against: Against::Nothing,
        wanted: Wanted::AtMost(20_480.0),
    },
    Goal {
        workload: "dns",
        metric: "rate",
        params: &[],
        against: Against::Peer("unbound"),
        wanted: Wanted::AtLeast(1.0),
    },
    Goal {
        workload: "dns",
        metric: "rate",
        params: &[],
        against: Against::Peer("knot-resolver"),
        wanted: Wanted::AtLeast(1.0),
    },
    Goal {
        workload: "dns",
        metric: "rate",
        params: &[],
        against: Against::Peer("dnsmasq"),
        wanted: Wanted::AtLeast(1.0),
    },
    Goal {
        workload: "dns",
        metric: "rate",
        params: &[],
        against: Against::Nothing,
        wanted: Wanted::AtLeast(30_000.0),
    },
    Goal {
        workload: "dns",
        metric: "p99 at half load",
        params: &[],
        against: Against::Nothing,
        wanted: Wanted::AtMost(2000.0),
    },
    Goal {
        workload: "dns-pod",
        metric: "a new name, since its service was asked for",
        params: &[],
        against: Against::Nothing,
        wanted: Wanted::AtMost(100.0),
    },
    Goal {
        workload: "cni",
        metric: "ADD p50",
        params: &[("parallel", "16")],
        against: Against::Nothing,
        wanted: Wanted::AtMost(50.0),
    },
    Goal {
        workload: "cni",
        metric: "ADD p99",
        params: &[("parallel", "16")],
        against: Against::Nothing,
        wanted: Wanted::AtMost(100.0),
    },
    Goal {
        workload: "cni",
        metric: "ADD p50",
        params: &[("parallel", "16")],
        against: Against::Peer("bridge-host-local"),
        wanted: Wanted::AtMost(1.0),
    },
    Goal {
        workload: "bandwidth",
        metric: "least share",
        params: &[("nodes", "1")],
        against: Against::Nothing,
        wanted: Wanted::AtLeast(0.90),
    },
    Goal {
        workload: "bandwidth",
        metric: "most share",
        params: &[("nodes", "1")],
        against: Against::Nothing,
        wanted: Wanted::AtMost(1.05),
    },
    Goal {
        workload: "bandwidth",
        metric: "least share",
        params: &[("nodes", "2")],
        against: Against::Nothing,
        wanted: Wanted::AtLeast(0.90),
    },
    Goal {
        workload: "bandwidth",
        metric: "most share",
        params: &[("nodes", "2")],
        against: Against::Nothing,
        wanted: Wanted::AtMost(1.05),
    },
];

/// A line for each goal about which enough was measured.
pub(crate) fn lines(metrics: &[Metric]) -> Vec<String> {
    GOALS.iter().filter_map(|goal| Some(goal.line(&goal.reached(metrics)?))).collect()
}

impl Goal {
    /// The quotient of medians, and each round's own: what disturbs a machine disturbs a whole round.
    fn reached(&self, metrics: &[Metric]) -> Option<Samples> {
        let ours = self.find(metrics, self.params)?;
        let own = ours.subjects.get(VPOD)?;
        let theirs = match self.against {
            Against::Nothing => return Some(own.clone()),
            Against::Peer(peer) => ours.subjects.get(peer)?,
            Against::Own(name, value) => self.find(metrics, &[(name, value)])?.subjects.get(VPOD)?,
        };
        let quotients = own.samples.iter().zip(&theirs.samples).map(|(own, theirs)| own / theirs);
        let mut reached = Samples::new(quotients.collect())?;
        reached.median = own.median / theirs.median;
        Some(reached)
    }

    fn find<'a>(&self, metrics: &'a [Metric], params: &[(&str, &str)]) -> Option<&'a Metric> {
        let has = |metric: &Metric, (name, value): &(&str, &str)| {
            metric.params.get(*name).is_some_and(|found| found == value)
        };
        let is_it = |metric: &&Metric| {
            metric.workload == self.workload
                && metric.metric == self.metric
                && params.iter().all(|param| has(metric, param))
        };
        metrics.iter().find(is_it)
    }

    fn line(&self, reached: &Samples) -> String {
        let Samples { median, min, max, .. } = reached;
        let is_met = match self.wanted {
            Wanted::AtLeast(least) => *median >= least,
            Wanted::AtMost(most) => *median <= most,
        };
        let verdict = if is_met { "met   " } else { "missed" };
        let params: Vec<String> = self.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (workload, metric, params) = (self.workload, self.metric, params.join(", "));
        let Self { against, wanted, .. } = self;
        format!(
            "{verdict} {workload} {metric} ({params}){against}: {median:.2} ({min:.2}–{max:.2}), wanted {wanted}"
        )
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Peer(peer) => write!(f, " ÷ {peer}"),
            Self::Own(name, value) => write!(f, " ÷ ours with {name}={value}"),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Better;

    fn rates(services: u32, ours: &[f64], theirs: &[f64]) -> Metric {
        let samples = [(VPOD.to_owned(), ours.to_vec()), ("kube-proxy-iptables".to_owned(), theirs.to_vec())];
        Metric::new("service-crr", "rate", "requests/s", Better::Higher, samples)
            .with_param("services", services)
    }

    #[test]
    fn goals_are_about_the_runs_they_name() {
        let metrics =
            [rates(1, &[100.0, 110.0], &[90.0, 90.0]), rates(10_000, &[99.0, 101.0], &[50.0, 40.0])];
        assert_eq!(
            lines(&metrics),
            [
                "missed service-crr rate (services=10000) ÷ ours with services=1: 0.95 (0.92–0.99), wanted ≥ 0.97",
                "missed service-crr rate (services=10000) ÷ kube-proxy-iptables: 2.22 (1.98–2.52), wanted ≥ 3",
            ]
        );
        assert!(lines(&metrics[..1]).is_empty());
    }

    #[test]
    fn a_goal_without_a_divisor_is_about_the_median() {
        let samples = [(VPOD.to_owned(), vec![4.0, 5.5, 4.5])];
        let metric = Metric::new("program", "one change, since heard of", "ms", Better::Lower, samples);
        let lines = lines(&[metric.with_param("services", 10_000)]);
        let expected =
            "met    program one change, since heard of (services=10000): 4.50 (4.00–5.50), wanted ≤ 5";
        assert_eq!(lines, [expected]);
    }
}
