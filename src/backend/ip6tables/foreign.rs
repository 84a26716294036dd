//! Changes what other programs have left, for a person who asks for that.

use super::Ip6tables;
use super::exec::Network;
use crate::backend::BackendError;

impl Ip6tables {
    /// Makes changes of a table, all of them or none: `-D` and a rule as it is listed, of which one
    /// copy goes, or `-X` and a chain.
    ///
    /// # Errors
    /// Why the tool failed; one rule that has gone meanwhile is enough. Nothing was retried.
    pub(crate) fn change_foreign(
        &mut self,
        table: &str,
        changes: &[String],
    ) -> Result<(), BackendError> {
        let lines = changes.iter().map(|change| format!("{change}\n"));
        let input = format!("*{table}\n{}COMMIT\n", lines.collect::<String>());
        let what = format!("rules of another program in table {table}");
        self.tools.restore(&what, &input, Network::Own)
    }
}
