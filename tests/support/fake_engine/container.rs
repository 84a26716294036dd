//! A container of the fake Engine, and how the Engine writes it down.
//!
//! The shapes are those of Engine 20.10 (API 1.41), see `recorded/api-1.41`.

use std::net::Ipv6Addr;

use serde_json::{Value, json};

use super::network::BRIDGE;

/// A published port.
#[derive(Debug, Clone)]
pub struct FakePort {
    /// `tcp`, `udp`, `sctp`, or nonsense.
    pub proto: String,
    pub container_port: u16,
    pub host_port: u16,
    /// The addresses in the rows of `Ports`.
    pub shown: Vec<String>,
    /// The address in `HostConfig.PortBindings`.
    pub asked: String,
}

/// A running container.
#[derive(Debug, Clone)]
pub struct FakeContainer {
    pub id: String,
    pub name: String,
    /// Its image.
    pub image: String,
    pub address: Option<Ipv6Addr>,
    pub ports: Vec<FakePort>,
    /// Its first process.
    pub pid: u32,
    /// Replaces the whole row of the list.
    pub raw_row: Option<Value>,
    /// Replaces the whole body of an inspect.
    pub raw_inspect: Option<String>,
}

impl FakeContainer {
    /// A container that publishes nothing. The same `number` makes the same id and address.
    pub fn new(number: u16, name: &str) -> Self {
        Self {
            id: format!("{number:064x}"),
            name: name.to_owned(),
            image: "image".to_owned(),
            address: Some(Ipv6Addr::new(
                0xfdfd, 0x5898, 0x4917, 1, 0, 0x242, 0xac11, number,
            )),
            ports: Vec::new(),
            pid: 4711,
            raw_row: None,
            raw_inspect: None,
        }
    }

    /// As `-p HOST:CONTAINER`: shown as `0.0.0.0` and `::`.
    pub fn publish(self, host_port: u16, container_port: u16) -> Self {
        self.bind("", &["0.0.0.0", "::"], host_port, container_port)
    }

    /// As `-p ASKED:HOST:CONTAINER`, with the addresses that `Ports` then shows.
    pub fn bind(
        mut self,
        asked: &str,
        shown: &[&str],
        host_port: u16,
        container_port: u16,
    ) -> Self {
        self.ports.push(FakePort {
            proto: "tcp".to_owned(),
            container_port,
            host_port,
            shown: shown.iter().map(|ip| (*ip).to_owned()).collect(),
            asked: asked.to_owned(),
        });
        self
    }

    /// The row of `/containers/json`.
    pub fn row(&self) -> Value {
        if let Some(raw) = &self.raw_row {
            return raw.clone();
        }
        let ports: Vec<Value> = self
            .ports
            .iter()
            .flat_map(|p| {
                p.shown.iter().map(|ip| {
                    json!({"IP": ip, "PrivatePort": p.container_port,
                           "PublicPort": p.host_port, "Type": p.proto})
                })
            })
            .collect();
        json!({
            "Id": self.id, "Names": [format!("/{}", self.name)], "Image": self.image,
            "Command": "/bin/serve", "Created": 1_795_458_833, "Ports": ports, "Labels": {},
            "State": "running", "Status": "Up 2 seconds",
            "HostConfig": {"NetworkMode": "default"},
            "NetworkSettings": {"Networks": self.networks()}, "Mounts": [],
        })
    }

    /// The body of `/containers/{id}/json`.
    pub fn inspect(&self) -> String {
        if let Some(raw) = &self.raw_inspect {
            return raw.clone();
        }
        let mut shown = json!({});
        let mut asked = json!({});
        for p in &self.ports {
            let key = format!("{}/{}", p.container_port, p.proto);
            let port = p.host_port.to_string();
            shown[&key] = p
                .shown
                .iter()
                .map(|ip| json!({"HostIp": ip, "HostPort": port}))
                .collect();
            asked[&key] = json!([{"HostIp": p.asked, "HostPort": port}]);
        }
        json!({
            "Id": self.id, "Name": format!("/{}", self.name),
            "Created": "2026-11-23T18:33:53.190945892Z",
            "State": {"Status": "running", "Running": true, "Paused": false,
                      "Restarting": false, "Dead": false, "Pid": self.pid},
            "HostConfig": {"NetworkMode": "default", "PortBindings": asked,
                           "PublishAllPorts": false},
            "Config": {"Image": self.image, "Labels": {}},
            "NetworkSettings": {"Ports": shown, "Networks": self.networks()},
        })
        .to_string()
    }

    /// The hardware address of its interface, made of its IPv6 address.
    pub fn mac(&self) -> String {
        let Some(address) = self.address else {
            return String::new();
        };
        let [.., high, low] = address.octets();
        format!("02:42:ac:11:{high:02x}:{low:02x}")
    }

    fn networks(&self) -> Value {
        let address = self.address.map(|a| a.to_string()).unwrap_or_default();
        let gateway = if self.address.is_some() {
            "fdfd:5898:4917:1::1"
        } else {
            ""
        };
        json!({BRIDGE.0: {"NetworkID": BRIDGE.1, "IPv6Gateway": gateway, "MacAddress": self.mac(),
                           "GlobalIPv6Address": address, "GlobalIPv6PrefixLen": 64}})
    }
}
