//! Tokens of Jinja's expressions.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string, a number, or a name that is no keyword.
    Operand,
    Keyword,
    Open,
    Close,
    /// Operators and punctuation.
    Other,
}

/// A token with the space before it.
pub(super) struct Token {
    pub kind: Kind,
    pub space: String,
    pub text: String,
}

const KEYWORDS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];
const OPERATORS: [&str; 7] = ["**", "//", "==", "!=", "<=", ">=", "%"];

/// Bytes of the token that `text` begins with.
pub(super) fn token_length(text: &str, first: char) -> usize {
    if matches!(first, '\'' | '"') {
        let mut escaped = false;
        let end = text.char_indices().skip(1).find(|&(_, c)| {
            let ends = c == first && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map_or(text.len(), |(at, c)| at + c.len_utf8());
    }
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if word(first) {
        // The dot of a number, but not that of an attribute.
        let number = first.is_ascii_digit();
        let digit_follows = |at: usize| text[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        let exponent = |at: usize| {
            number && at > 0 && text[..at].ends_with(['e', 'E']) && !text.starts_with("0x")
        };
        let inside = |(at, c): (usize, char)| {
            word(c)
                || (number && c == '.' && digit_follows(at))
                || (matches!(c, '-' | '+') && exponent(at) && digit_follows(at))
        };
        return text
            .char_indices()
            .find(|&at| !inside(at))
            .map_or(text.len(), |(at, _)| at);
    }
    let operator = OPERATORS
        .iter()
        .find(|operator| text.starts_with(**operator));
    operator.map_or(first.len_utf8(), |operator| operator.len())
}

/// What a token is.
pub(super) fn kind(text: &str, first: char) -> Kind {
    match first {
        '(' | '[' | '{' => Kind::Open,
        ')' | ']' | '}' => Kind::Close,
        '\'' | '"' => Kind::Operand,
        _ if KEYWORDS.contains(&text) => Kind::Keyword,
        c if c.is_alphanumeric() || c == '_' => Kind::Operand,
        _ => Kind::Other,
    }
}

/// A string literal without the escapes that minijinja does not know.
pub(super) fn unescape(literal: &str) -> String {
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let long = |digits: &str| char::from_u32(u32::from_str_radix(digits, 16).ok()?);
        let (replaced, length) = match escape.as_bytes().get(1) {
            Some(b'a') => (Some("\x07".to_owned()), 2),
            Some(b'v') => (Some("\x0b".to_owned()), 2),
            Some(b'\n') => (Some(String::new()), 2),
            Some(b'U') => (escape.get(2..10).and_then(long).map(String::from), 10),
            _ => (None, 0),
        };
        match replaced {
            Some(text) => {
                out.push_str(&text);
                rest = &escape[length..];
            }
            None => {
                let length = escape.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&escape[..length]);
                rest = &escape[length..];
            }
        }
    }
    out.push_str(rest);
    out
}
