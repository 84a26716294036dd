//! A network of the fake Engine, as the Engine writes it down.

use serde_json::{Value, json};

/// The network that every fake container is in, as its name and id.
pub const BRIDGE: (&str, &str) = (
    "bridge",
    "698eb03721145cfa748ec5e858d03118373a28cc0324221f410dc0e6c4d5a204",
);

/// A row of `/networks`: a bridge network with this IPv6 subnet.
pub fn row(name: &str, id: &str, subnet: &str) -> Value {
    json!({
        "Name": name, "Id": id, "Created": "2026-11-23T19:27:02.870936887Z", "Scope": "local",
        "Driver": "bridge", "EnableIPv6": true,
        "IPAM": {"Driver": "default", "Options": null,
                 "Config": [{"Subnet": "172.17.0.0/16"}, {"Subnet": subnet}]},
        "Internal": false, "Attachable": false, "Ingress": false,
        "ConfigFrom": {"Network": ""}, "ConfigOnly": false, "Containers": {},
        "Options": {}, "Labels": {},
    })
}
