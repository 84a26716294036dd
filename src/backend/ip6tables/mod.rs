//! Rules in the tables of ip6tables.
mod parse;
pub mod render;
#[cfg(test)]
mod testing;
mod words;
