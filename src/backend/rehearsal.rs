//! A backend that lists the real kernel once and changes only what it remembers of it.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Backend, BackendError, Batch, ObservedRule, Verb};
use crate::model::rule::{BackendKind, Rule};

/// What the changes would be, as the documented log lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script(Arc<Mutex<Vec<String>>>);

impl Script {
    /// The lines so far, in the order of the changes.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }
}

/// See the module's documentation.
pub(crate) struct Rehearsal {
    real: Box<dyn Backend>,
    /// What the kernel would hold; `None` before the first listing.
    held: Option<Vec<ObservedRule>>,
    script: Script,
}

impl Rehearsal {
    /// A rehearsal on this backend, of which only [`Backend::list`] and [`Backend::describe`] are
    /// called.
    pub(crate) fn new(real: Box<dyn Backend>, script: Script) -> Self {
        let held = None;
        Self { real, held, script }
    }
}

impl Backend for Rehearsal {
    fn kind(&self) -> BackendKind {
        self.real.kind()
    }

    fn list(&mut self) -> Result<Vec<ObservedRule>, BackendError> {
        match &self.held {
            Some(held) => Ok(held.clone()),
            None => {
                let held = self.real.list()?;
                self.held = Some(held.clone());
                Ok(held)
            }
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        let held = self.held.get_or_insert_default();
        for gone in &batch.remove {
            let is_it = |seen: &ObservedRule| seen.id == gone.id && seen.locator == gone.locator;
            if let Some(at) = held.iter().position(is_it) {
                held.remove(at);
            }
            self.script.push(match gone.content() {
                Some(rule) => self.real.describe(Verb::Del, rule),
                None => format!("remove what others have made of docker-nat66:{}", gone.id),
            });
        }
        for rule in &batch.insert {
            let locator = format!("rehearsed {}", rule.id());
            held.push(ObservedRule::new(rule.id(), Some(rule.clone()), locator));
            self.script.push(self.real.describe(Verb::Add, rule));
        }
        Ok(())
    }

    fn describe(&self, verb: Verb, rule: &Rule) -> String {
        self.real.describe(verb, rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::FakeKernel;
    use crate::backend::ip6tables::facts::MASQUERADE;

    #[test]
    fn what_is_rehearsed_is_remembered_and_the_kernel_stays_as_it_is() {
        let kernel = FakeKernel::new();
        let script = Script::default();
        let mut rehearsal = Rehearsal::new(Box::new(kernel.backend()), script.clone());
        let rule = Rule::new(
            BackendKind::Ip6tables,
            "nat POSTROUTING",
            MASQUERADE.facts(),
        );
        let insert = vec![rule];
        let remove = Vec::new();
        rehearsal
            .commit(&Batch { remove, insert })
            .expect("it cannot fail");
        let held = rehearsal.list().expect("it is remembered");
        assert_eq!((held.len(), kernel.ours().len()), (1, 0));
        let insert = Vec::new();
        rehearsal
            .commit(&Batch {
                remove: held,
                insert,
            })
            .expect("it cannot fail");
        assert_eq!(rehearsal.list().expect("it is remembered"), []);
        assert_eq!(script.lines().len(), 2);
    }
}
