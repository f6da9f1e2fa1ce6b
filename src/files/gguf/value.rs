//! Metadata of a GGUF file: numbers, texts, and arrays that stay in the file until somebody walks through them.

use super::cursor::{Cursor, Read};

/// Arrays in arrays in arrays are as deep as any writer goes; the format has no bound.
const DEEPEST: usize = 4;

/// The value of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'b> {
    /// An integer without a sign, of 8 to 64 bits.
    Unsigned(u64),
    /// An integer with a sign, of 8 to 64 bits.
    Signed(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// A switch.
    Bool(bool),
    /// A text.
    Text(&'b str),
    /// Values of one type.
    Array(Array<'b>),
}

impl<'b> Value<'b> {
    /// The value as an integer from 0 on.
    pub fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(n),
            Self::Signed(n) => u64::try_from(n).ok(),
            _ => None,
        }
    }

    /// The value as a number. A 32-bit float has the digits that give it back: 1e-5, not 9.999999747378752e-6.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Unsigned(n) => Some(n as f64),
            Self::Signed(n) => Some(n as f64),
            Self::F32(x) => format!("{x:e}").parse().ok(),
            Self::F64(x) => Some(x),
            _ => None,
        }
    }

    /// The value as a text.
    pub fn text(self) -> Option<&'b str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a switch.
    pub fn bool(self) -> Option<bool> {
        match self {
            Self::Bool(on) => Some(on),
            _ => None,
        }
    }

    /// The value as an array.
    pub fn array(self) -> Option<Array<'b>> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// An array of metadata, checked when the file was opened, whose values are made when they are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'b> {
    kind: Kind,
    count: usize,
    bytes: &'b [u8],
}

impl<'b> Array<'b> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values in their order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'b>> + use<'b> {
        let mut cursor = Cursor::new(self.bytes);
        let kind = self.kind;
        // All of them were read before: none is lost here.
        (0..self.count).map_while(move |_| read(&mut cursor, kind, DEEPEST).ok())
    }

    /// The texts in their order; `None` for an array of something else.
    pub fn texts(&self) -> Option<impl Iterator<Item = &'b str> + use<'b>> {
        (self.kind == Kind::Text).then(|| self.iter().filter_map(Value::text))
    }

    /// The numbers in their order; `None` for an array of something else.
    pub fn numbers(&self) -> Option<impl Iterator<Item = f64> + use<'b>> {
        let number = !matches!(self.kind, Kind::Text | Kind::Bool | Kind::Array);
        number.then(|| self.iter().filter_map(Value::number))
    }
}

/// Types of values, by their numbers in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn read(cursor: &mut Cursor<'_>) -> Read<Self> {
        use Kind::*;
        const ALL: [Kind; 13] = [
            U8, I8, U16, I16, U32, I32, F32, Bool, Text, Array, U64, I64, F64,
        ];
        let number = cursor.u32()?;
        let kind = ALL.get(number as usize).copied();
        kind.ok_or_else(|| format!("has the unknown type {number}"))
    }

    /// The fewest bytes that a value has.
    fn least(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Text => 8,
            Self::Array => 12,
        }
    }
}

/// A type and a value of it.
pub(super) fn typed<'b>(cursor: &mut Cursor<'b>) -> Read<Value<'b>> {
    let kind = Kind::read(cursor)?;
    read(cursor, kind, DEEPEST)
}

/// A value; arrays go `deepest` levels down.
fn read<'b>(cursor: &mut Cursor<'b>, kind: Kind, deepest: usize) -> Read<Value<'b>> {
    Ok(match kind {
        Kind::U8 => Value::Unsigned(cursor.u8()?.into()),
        Kind::U16 => Value::Unsigned(cursor.u16()?.into()),
        Kind::U32 => Value::Unsigned(cursor.u32()?.into()),
        Kind::U64 => Value::Unsigned(cursor.u64()?),
        Kind::I8 => Value::Signed((cursor.u8()? as i8).into()),
        Kind::I16 => Value::Signed((cursor.u16()? as i16).into()),
        Kind::I32 => Value::Signed((cursor.u32()? as i32).into()),
        Kind::I64 => Value::Signed(cursor.u64()? as i64),
        Kind::F32 => Value::F32(f32::from_bits(cursor.u32()?)),
        Kind::F64 => Value::F64(f64::from_bits(cursor.u64()?)),
        Kind::Bool => match cursor.u8()? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            other => return Err(format!("is {other}, neither true nor false")),
        },
        Kind::Text => Value::Text(cursor.text()?),
        Kind::Array => Value::Array(array(cursor, deepest)?),
    })
}

/// An array: the type of its values, their number, and the values, all of which are read once so that nothing is wrong
/// with them later.
fn array<'b>(cursor: &mut Cursor<'b>, deepest: usize) -> Read<Array<'b>> {
    let Some(deepest) = deepest.checked_sub(1) else {
        return Err(format!("holds arrays more than {DEEPEST} deep"));
    };
    let kind = Kind::read(cursor)?;
    let count = cursor.u64()?;
    let least = count.checked_mul(kind.least());
    if least.is_none_or(|least| least > cursor.left()) {
        let left = cursor.left();
        return Err(format!(
            "truncated: it claims {count} values, but {left} bytes are left"
        ));
    }
    let (mut rest, start) = (cursor.clone(), cursor.position());
    if matches!(kind, Kind::Text | Kind::Array | Kind::Bool) {
        for _ in 0..count {
            read(&mut rest, kind, deepest)?;
        }
    } else {
        rest.take(count * kind.least())?;
    }
    Ok(Array {
        kind,
        count: count as usize, // not more than bytes in memory
        bytes: cursor.take((rest.position() - start) as u64)?,
    })
}
