//! Arguments of functions, by place or by name.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};

/// What Python would say with a `TypeError` or a `ValueError`.
pub(super) fn type_error(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Arguments of a call.
pub(super) struct Args {
    function: String,
    placed: Vec<Value>,
    named: Kwargs,
}

impl Args {
    /// The arguments of a call of `function`.
    ///
    /// # Errors
    /// None: what does not fit is said by [`Args::bind`].
    pub(super) fn new(function: &str, values: &[Value]) -> Result<Self, Error> {
        let (placed, named) = match values.split_last() {
            Some((last, placed)) if last.is_kwargs() => (placed, Kwargs::try_from(last.clone())?),
            _ => (
                values,
                Kwargs::from_iter(std::iter::empty::<(String, Value)>()),
            ),
        };
        Ok(Self {
            function: function.to_owned(),
            placed: placed.to_vec(),
            named,
        })
    }

    /// The arguments of a function that has these `names`, the first `required` of which must be there.
    ///
    /// # Errors
    /// As Python's: too many, too few, unknown, or given twice.
    pub(super) fn bind<const N: usize>(
        &self,
        names: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N], Error> {
        let function = &self.function;
        if self.placed.len() > N {
            let what = format!(
                "{function}() takes at most {N} arguments ({} given)",
                self.placed.len()
            );
            return Err(type_error(what));
        }
        let mut bound = names.map(|_| None);
        for (slot, value) in bound.iter_mut().zip(&self.placed) {
            *slot = Some(value.clone());
        }
        for name in self.named.args() {
            let Some(at) = names.iter().position(|known| *known == name) else {
                return Err(type_error(format!(
                    "{function}() got an unexpected keyword argument '{name}'"
                )));
            };
            if bound[at].is_some() {
                return Err(type_error(format!(
                    "{function}() got multiple values for argument '{name}'"
                )));
            }
            bound[at] = Some(self.named.peek::<Value>(name)?);
        }
        match names
            .iter()
            .zip(&bound)
            .take(required)
            .find(|(_, value)| value.is_none())
        {
            Some((name, _)) => Err(type_error(format!(
                "{function}() missing required argument: '{name}'"
            ))),
            None => Ok(bound),
        }
    }

    /// Arguments by place.
    pub(super) fn placed(&self) -> &[Value] {
        &self.placed
    }

    /// The arguments as they came.
    pub(super) fn values(&self) -> Vec<Value> {
        let mut values = self.placed.clone();
        if self.named.args().next().is_some() {
            values.push(Value::from(self.named.clone()));
        }
        values
    }
}

/// An optional string; `None` counts as not given.
pub(super) fn string<'v>(value: &'v Option<Value>, what: &str) -> Result<Option<&'v str>, Error> {
    match value {
        None => Ok(None),
        Some(value) if value.is_none() => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(type_error(format!(
                "{what} must be str, not {}",
                super::text::type_name(value)
            ))),
        },
    }
}

/// An optional integer; `None` counts as not given.
pub(super) fn integer(value: &Option<Value>) -> Result<Option<i64>, Error> {
    match value {
        None => Ok(None),
        Some(value) if value.is_none() => Ok(None),
        Some(value) => {
            let name = super::text::type_name(value);
            let integer = i64::try_from(value.clone())
                .ok()
                .filter(|_| matches!(name, "int" | "bool"));
            let wrong = || {
                type_error(format!(
                    "'{name}' object cannot be interpreted as an integer"
                ))
            };
            integer.map(Some).ok_or_else(wrong)
        }
    }
}

/// Whether a flag is given and true.
pub(super) fn flag(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::is_true)
}
