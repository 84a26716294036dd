//! Removes rules of other programs, for a person who asks for that.

use super::Ip6tables;
use super::exec::Network;
use crate::backend::BackendError;

impl Ip6tables {
    /// Removes rules from a table, all of them or none: lines of its listing, without their `-A`.
    /// One copy goes for each line.
    ///
    /// # Errors
    /// Why the tool failed; one rule that has gone meanwhile is enough. Nothing was retried.
    pub(crate) fn remove_foreign(
        &mut self,
        table: &str,
        rules: &[String],
    ) -> Result<(), BackendError> {
        let lines = rules.iter().map(|rule| format!("-D {rule}\n"));
        let input = format!("*{table}\n{}COMMIT\n", lines.collect::<String>());
        let what = format!("rules of another program in table {table}");
        self.tools.restore(&what, &input, Network::Own)
    }
}
