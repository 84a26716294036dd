//! How many connections each published port has taken: the answer to a question of `status --watch`.

use serde::{Deserialize, Serialize};

/// A published port and its counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConnections {
    /// The port: `8080/tcp`, `[2001:db8::1]:8080/tcp`.
    pub port: String,
    /// The name of the container that it leads to, as Docker gave it.
    pub container: String,
    /// Connections since its rules were put into the kernel.
    pub connections: u64,
}
