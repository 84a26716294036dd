//! How answers of the Engine are read: into small structs that name the fields which matter here.
//! Every one of these is a [`Field`], so that a value of the wrong kind spoils itself and nothing
//! beside it. Pure; nothing here can panic.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::Error;
use serde_json::value::RawValue;

use super::error::Unreadable;
use crate::model::text::Untrusted;

/// Most faults described per container or network: enough to report it without listing every
/// port.
pub(super) const MAX_NOTES: usize = 16;

/// Longest row of a list, in bytes: as [`super::client`] bounds the inspect of one container. What
/// is kept of it may take several times as much.
const MAX_ROW: usize = 32 << 20;

/// Most rows of a list. What is kept of one takes some hundred bytes though its text may have ten; and
/// a bridge has 1,023 containers at most, a host some thousand.
const MAX_ROWS: usize = 32_768;

/// A value in an answer. `null` counts as absent.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Read(T),
    /// Of another kind than it should be: the beginning of its text.
    Odd(String),
}

impl<T> Field<T> {
    /// The value, if it is there and of the right kind.
    pub(super) fn ok(self) -> Option<T> {
        self.required().ok()
    }

    /// The value, or the text that stands in its place.
    pub(super) fn required(self) -> Result<T, String> {
        match self {
            Self::Absent => Err("null".to_owned()),
            Self::Read(value) => Ok(value),
            Self::Odd(text) => Err(text),
        }
    }

    /// The value; one of another kind is noted.
    pub(super) fn or_note(self, what: &str, notes: &mut Notes) -> Option<T> {
        if let Self::Odd(text) = &self {
            notes.note(what, text);
        }
        self.ok()
    }

    /// The same for a part without which the rest of the answer is not complete.
    pub(super) fn part(self, what: &str, notes: &mut Notes) -> Option<T> {
        notes.structure |= matches!(self, Self::Odd(_));
        self.or_note(what, notes)
    }

    /// The value, or an empty one.
    pub(super) fn or_default(self) -> T
    where
        T: Default,
    {
        self.ok().unwrap_or_default()
    }
}

impl Field<String> {
    /// The text, empty where there is none.
    pub(super) fn text(self) -> Untrusted {
        Untrusted::new(self.or_default())
    }
}

impl<T: DeserializeOwned> Field<T> {
    fn of(text: &str) -> Self {
        T::deserialize(Json(text)).map_or_else(|_| Self::Odd(start(text)), Self::Read)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // As an option, for serde takes a field that is missing for an empty one.
        from.deserialize_option(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Field<T>, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        Ok(Field::of(raw.get()))
    }

    /// From [`Json`], which has found out already where the value ends.
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<T>, E> {
        Ok(Field::of(text))
    }
}

/// The text of a value, for serde. It differs from serde_json's own deserializer in two points: a
/// list is no struct (there, its items would be the fields in their order), and a name that comes
/// twice in an object is no fault: the last one counts, as it does in Go. A [`Field`] gets its text
/// as it is, because looking for its end again at each level takes as long as reading it.
#[derive(Clone, Copy)]
struct Json<'de>(&'de str);

impl<'de> IntoDeserializer<'de, Error> for Json<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Json<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut json = serde_json::Deserializer::from_str(self.0);
        let value = json.deserialize_any(visitor)?;
        json.end().map(|()| value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let fields: BTreeMap<String, &'de RawValue> = serde_json::from_str(self.0)?;
        let fields = fields
            .into_iter()
            .map(|(name, raw)| (name, Json(raw.get())));
        visitor.visit_map(MapDeserializer::new(fields))
    }

    /// Only for a [`Field`].
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "null" => visitor.visit_none(),
            text => visitor.visit_borrowed_str(text),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// What could not be read, described.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) list: Vec<Untrusted>,
    /// Whether a whole part is of another kind than it should be.
    pub(super) structure: bool,
}

impl Notes {
    pub(super) fn note(&mut self, what: &str, value: &str) {
        if self.list.len() < MAX_NOTES {
            let text = format!("{what}: {}", start(value));
            self.list.push(Untrusted::new(text));
        }
    }
}

/// Reads a whole answer.
///
/// # Errors
/// It is no JSON, or of another kind.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    T::deserialize(Json(text)).map_err(|e| unreadable(&e, text))
}

/// Reads an answer that is a list, and hands out its rows one at a time, each with its text: all of
/// them together may take a multiple of the answer's length. A row that is too long is odd.
///
/// # Errors
/// It is no JSON list, or one of too many rows; rows before the fault have been handed out.
pub(super) fn each_row<T: DeserializeOwned>(
    text: &str,
    mut take: impl FnMut(&str, Field<T>),
) -> Result<(), Unreadable> {
    let mut json = serde_json::Deserializer::from_str(text);
    let rows = Rows(|row: &str| match row.len() {
        0..=MAX_ROW => take(row, Field::of(row)),
        _ => take(row, Field::Odd(start(row))),
    });
    let read = json.deserialize_seq(rows).and_then(|()| json.end());
    read.map_err(|e| unreadable(&e, text))
}

struct Rows<F>(F);

impl<'de, F: FnMut(&str)> Visitor<'de> for Rows<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut rows = 0;
        while let Some(row) = list.next_element::<&RawValue>()? {
            rows += 1;
            if rows > MAX_ROWS {
                let too_many = format!("more than {MAX_ROWS} rows");
                return Err(A::Error::custom(too_many));
            }
            (self.0)(row.get());
        }
        Ok(())
    }
}

fn unreadable(error: &Error, text: &str) -> Unreadable {
    Unreadable::new(format!("{error}: {}", start(text)))
}

/// The beginning of a text on one line, short enough for a log.
pub(super) fn start(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    lines.flat_map(str::chars).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Shape {
        number: Field<u16>,
        text: Field<String>,
    }

    #[test]
    fn a_value_of_another_kind_spoils_itself_alone() {
        let shape: Shape =
            parse(r#"{"number": {"a": []}, "x": [1e999], "text": "a"}"#).expect("read");
        assert!(matches!(shape.number, Field::Odd(text) if text == r#"{"a": []}"#));
        assert_eq!(shape.text.ok().as_deref(), Some("a"));
        let shape: Shape = parse(r#"{"number": null}"#).expect("read");
        assert!(matches!(
            (shape.number, shape.text),
            (Field::Absent, Field::Absent)
        ));
    }

    #[test]
    fn a_list_is_no_struct_and_a_name_may_come_twice() {
        for text in [r#"[7, "a"]"#, "7", "null", "{", ""] {
            assert!(parse::<Shape>(text).is_err(), "{text}");
        }
        let shape: Shape = parse(r#"{"number": 1, "number": 2}"#).expect("read");
        assert_eq!(shape.number.ok(), Some(2));
    }

    #[test]
    fn white_space_and_null_mean_nothing_and_what_follows_the_answer_spoils_it() {
        let shape: Shape = parse(" { \"number\" :\n 1 , \"text\" : null } ").expect("read");
        assert!(matches!(
            (shape.number, shape.text),
            (Field::Read(1), Field::Absent)
        ));
        for text in [
            r#"{"number": 1} 2"#,
            r#"{"number": nul}"#,
            r#"{"text": "a"}}"#,
        ] {
            assert!(parse::<Shape>(text).is_err(), "{text}");
        }
        assert!(parse::<u16>("1 2").is_err());
    }

    #[test]
    fn a_list_of_more_rows_than_any_host_has_is_none() {
        let list = |rows: usize| format!("[{}0]", "0,".repeat(rows - 1));
        let mut taken = 0;
        assert_eq!(each_row::<u16>(&list(MAX_ROWS), |_, _| taken += 1), Ok(()));
        assert_eq!(taken, MAX_ROWS);
        let error = each_row::<u16>(&list(MAX_ROWS + 1), |_, _| {}).expect_err("too many");
        assert!(
            error.0.raw().starts_with("more than 32768 rows"),
            "{error:?}"
        );
    }
}
