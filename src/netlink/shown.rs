//! What the kernel shows of chains and rules in nf_tables, those of any program. Pure.

use super::message::{Attrs, NFGENMSG_IPV6, find, text};
use super::nf_tables::{
    self, DATA_VERDICT, EXPR_DATA, EXPR_NAME, VERDICT_CHAIN, VERDICT_CODE, chain, element, rule, xt,
};

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownChain {
    /// `NFPROTO_*` of its table.
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// The number of its hook and its priority there; `None` for one that is reached by jumps only.
    pub(crate) at: Option<(u32, i32)>,
    /// `NF_DROP` or `NF_ACCEPT`, of a base chain.
    pub(crate) policy: Option<u32>,
    /// `filter`, `nat` or `route`; empty for a chain without a hook.
    pub(crate) kind: String,
}

impl ShownChain {
    /// Reads the payload of a message; `None` where names are missing.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (header, attributes) = payload.split_at_checked(NFGENMSG_IPV6.len())?;
        let part = |kind| find(attributes, kind);
        let hook = part(chain::HOOK);
        let of_hook = |kind| find(hook?, kind).and_then(number);
        Some(Self {
            family: header[0],
            table: string(part(chain::TABLE)?),
            name: string(part(chain::NAME)?),
            at: of_hook(chain::HOOK_NUMBER).map(|hook| {
                let priority = of_hook(chain::HOOK_PRIORITY).unwrap_or_default();
                (hook, priority.cast_signed())
            }),
            policy: part(chain::POLICY).and_then(number),
            kind: part(chain::TYPE).map(string).unwrap_or_default(),
        })
    }

    /// The number of its hook, of a base chain.
    pub(crate) fn hook(&self) -> Option<u32> {
        self.at.map(|(hook, _)| hook)
    }
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShownRule<'p> {
    /// `NFPROTO_*` of its table.
    pub(crate) family: u8,
    attributes: &'p [u8],
}

impl<'p> ShownRule<'p> {
    /// Reads the payload of a message.
    pub(crate) fn read(payload: &'p [u8]) -> Option<Self> {
        let (header, attributes) = payload.split_at_checked(NFGENMSG_IPV6.len())?;
        Some(Self {
            family: header[0],
            attributes,
        })
    }

    pub(crate) fn table(&self) -> Option<String> {
        find(self.attributes, rule::TABLE).map(string)
    }

    pub(crate) fn chain(&self) -> Option<String> {
        find(self.attributes, rule::CHAIN).map(string)
    }

    pub(crate) fn handle(&self) -> Option<u64> {
        let handle = find(self.attributes, rule::HANDLE)?.try_into().ok()?;
        Some(u64::from_be_bytes(handle))
    }

    /// Its expressions, in order. A malformed list ends early.
    pub(crate) fn expressions(
        &self,
    ) -> impl Iterator<Item = ShownExpression<'p>> + Clone + use<'p> {
        let all = find(self.attributes, rule::EXPRESSIONS).unwrap_or_default();
        let all = Attrs::new(all).map_while(Result::ok);
        all.map(|(_, expression)| ShownExpression {
            name: text(find(expression, EXPR_NAME).unwrap_or_default()),
            // A masquerade expression may come without data.
            data: find(expression, EXPR_DATA).unwrap_or_default(),
        })
    }

    /// Its comment: the note that nft and ip6tables store with a rule, or else that in a match of
    /// ip6tables (`struct xt_comment_info`, a text with its NUL).
    pub(crate) fn comment(&self) -> Option<String> {
        let noted = find(self.attributes, rule::USERDATA).and_then(nf_tables::comment);
        let of_match = || {
            let mut all = self.expressions();
            all.find_map(|expression| {
                let info = find(expression.data, xt::INFO)?;
                let is_comment = expression.is_match() && expression.xt_name()? == b"comment";
                info.split(|byte| *byte == 0).next().filter(|_| is_comment)
            })
        };
        noted.or_else(of_match).map(string)
    }
}

/// An expression of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShownExpression<'p> {
    pub(crate) name: &'p [u8],
    pub(crate) data: &'p [u8],
}

impl<'p> ShownExpression<'p> {
    fn is_match(&self) -> bool {
        self.name == b"match"
    }

    /// The name of the match or target of ip6tables that it is.
    fn xt_name(&self) -> Option<&'p [u8]> {
        let is_xt = self.is_match() || self.name == b"target";
        find(self.data, xt::NAME).filter(|_| is_xt).map(text)
    }

    /// What it does: its name, or that of the match or target of ip6tables.
    pub(crate) fn what(&self) -> String {
        string(self.xt_name().unwrap_or(self.name))
    }
}

/// The elements of a set or a map in the payload of a message. A malformed list ends early.
pub(crate) fn elements(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let attributes = payload.get(NFGENMSG_IPV6.len()..).unwrap_or_default();
    let elements = find(attributes, element::LIST_ELEMENTS).unwrap_or_default();
    let elements = Attrs::new(elements).map_while(Result::ok);
    elements.map(|(_, element)| element)
}

/// The code of a verdict in an expression's or an element's data, and the chain to which it leads;
/// `None` if the data is no verdict.
pub(crate) fn verdict(data: &[u8]) -> Option<(u32, Option<String>)> {
    let verdict = find(data, DATA_VERDICT)?;
    let code = find(verdict, VERDICT_CODE).and_then(number)?;
    Some((code, find(verdict, VERDICT_CHAIN).map(string)))
}

/// A number as nf_tables writes them.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A text, up to its NUL.
pub(crate) fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(text(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::message::Writer;
    use super::super::nf_tables::LIST_ELEM;
    use super::*;

    #[test]
    fn a_chain_has_its_hook_or_none() {
        let mut writer = Writer::default();
        writer.raw(&[10, 0, 0, 0]);
        writer.text(chain::TABLE, "t");
        writer.text(chain::NAME, "c");
        let plain = ShownChain::read(writer.bytes()).expect("a chain");
        assert_eq!((plain.at, plain.family), (None, 10));
        writer.nested(chain::HOOK, |w| {
            w.number(chain::HOOK_NUMBER, 2);
            w.number(chain::HOOK_PRIORITY, (-10_i32).cast_unsigned());
        });
        writer.number(chain::POLICY, 0);
        let base = ShownChain::read(writer.bytes()).expect("a chain");
        assert_eq!((base.at, base.policy), (Some((2, -10)), Some(0)));
        assert_eq!(ShownChain::read(&[10, 0, 0, 0]), None);
    }

    #[test]
    fn a_comment_is_a_note_or_a_match() {
        let rule = |fill: &dyn Fn(&mut Writer)| {
            let mut writer = Writer::default();
            writer.raw(&[10, 0, 0, 0]);
            fill(&mut writer);
            let bytes = writer.into_bytes();
            ShownRule::read(&bytes).expect("a rule").comment()
        };
        let in_match = |w: &mut Writer| {
            w.nested(rule::EXPRESSIONS, |w| {
                w.nested(LIST_ELEM, |w| {
                    w.text(EXPR_NAME, "match");
                    w.nested(EXPR_DATA, |w| {
                        w.text(xt::NAME, "comment");
                        w.attr(xt::INFO, b"mine\0rest");
                    });
                });
            });
        };
        assert_eq!(rule(&in_match).as_deref(), Some("mine"));
        let noted = |w: &mut Writer| w.attr(rule::USERDATA, &[0, 2, b'a', 0]);
        assert_eq!(rule(&noted).as_deref(), Some("a"));
        assert_eq!(rule(&|_| {}), None);
    }
}
