//! Computes what Docker publishes over IPv6, without regard to our prefixes and labels. The audit
//! compares Docker's own NAT with it.

use std::sync::Arc;

use super::part::Bounds;
use super::parts::Parts;
use crate::model::container::Snapshot;
use crate::model::published::Published;

/// All that Docker publishes on the host; ports of routed networks are not. `None` as long as
/// Docker has not answered about some containers and the others publish nothing; once the grace for
/// forwards of an earlier run is over, what is known counts.
pub fn published(snapshot: &Snapshot, grace_over: bool) -> Option<Published> {
    let mut parts = Parts::default();
    parts.resolve(snapshot, &Bounds::default());
    let published = parts.published(snapshot, grace_over);
    drop(parts);
    published.map(Arc::unwrap_or_clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::forwards::resolve;
    use crate::mapper::forwards::samples::{known, row, snapshot};
    use crate::model::container::GatewayMode;
    use crate::model::published::HostForward;

    fn so_far(snapshot: &Snapshot) -> Published {
        published(snapshot, true).expect("as much as there is")
    }

    fn texts<'a>(forwards: impl IntoIterator<Item = &'a HostForward>) -> Vec<String> {
        forwards.into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_that_docker_publishes_counts_whatever_a_label_says_of_it() {
        let mut all = snapshot();
        let c = all.containers.get_mut("c1").unwrap();
        c.ports.extend([
            row("2001:db8::1", Some(8081), 81),
            row("::1", Some(8082), 82),
            row("127.0.0.1", Some(8083), 83),
            row("", None, 84),
        ]);
        let open = so_far(&all);
        let forwards = [
            "8080/tcp to [fd00::2]:80",
            "[2001:db8::1]:8081/tcp to [fd00::2]:81",
        ];
        assert_eq!(texts(&open.forwards), forwards);
        assert_eq!(texts(&open.local), ["[::1]:8082/tcp to [fd00::2]:82"]);
        assert!(open.closed.is_empty());

        let labels = [
            ("docker-nat66.enable", "false", 3),
            ("docker-nat66.ports", "81/tcp", 2),
            ("docker-nat66.allow", "2001:db8::/32", 3),
            ("docker-nat66.nonsense", "1", 3),
        ];
        for (label, value, closed) in labels {
            let mut all = all.clone();
            let c = all.containers.get_mut("c1").unwrap();
            c.labels.insert(label.into(), value.into());
            let by_label = so_far(&all);
            assert_eq!(by_label.forwards, open.forwards, "{label}");
            assert_eq!(by_label.local, open.local, "{label}");
            assert_eq!(by_label.closed.len(), closed, "{label}");
        }
    }

    #[test]
    fn what_is_routed_or_internal_is_not_served_on_the_host() {
        let nothing = Published {
            answered: ["fd00::2".parse().unwrap()].into(),
            ..Published::default()
        };
        let mut routed = snapshot();
        let network = routed.networks.get_mut("n").unwrap();
        network.gateway_mode = GatewayMode::Routed;
        assert_eq!(so_far(&routed), nothing);
        let mut internal = snapshot();
        internal.networks.get_mut("n").unwrap().internal = true;
        assert_eq!(so_far(&internal), nothing);
        let mut bare = snapshot();
        bare.networks.get_mut("n").unwrap().masquerade = false;
        assert_eq!(so_far(&bare).forwards.len(), 1);
    }

    #[test]
    fn nothing_is_known_while_one_is_unanswered_until_the_grace_is_over() {
        let mut all = snapshot();
        all.unanswered.insert("c2".to_owned(), "two".into());
        let known = published(&all, false).expect("one of them is known");
        assert!(known.partial && !known.answered.is_empty());
        all.unanswered.insert("c1".to_owned(), "one".into());
        all.containers.clear();
        assert_eq!(published(&all, false), None);
        let known = published(&all, true).expect("as much as there is");
        assert!(known.partial && known.forwards.is_empty() && known.answered.is_empty());
    }

    #[test]
    fn a_port_that_is_shown_on_any_ipv4_address_alone_is_kept_with_its_report() {
        let mut all = snapshot();
        let c = all.containers.get_mut("c1").unwrap();
        c.ports = vec![row("0.0.0.0", Some(8080), 80)];
        c.bindings = known(&[("0.0.0.0", Some(8080))]);
        let open = so_far(&all);
        assert!(open.forwards.is_empty());
        let resolved = resolve(&all, &Bounds::default());
        let lines: Vec<String> = resolved.skipped.iter().map(ToString::to_string).collect();
        assert!(open.any_v4.values().eq(&lines), "{open:?} {lines:?}");
    }
}
