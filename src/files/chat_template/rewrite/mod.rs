//! What Jinja2 understands and minijinja does not, written in words that both understand.
//!
//! - Line ends become `\n`; a line end behind `{% raw %}` stays.
//! - `{% generation %}`, with which transformers finds the answers of the assistant, is a scope and nothing else.
//! - `a % b` becomes a call, because Python's `%` formats strings.
//! - What a `{% set %}` stores goes through a function that refuses values nested without bounds, and what a `{% for %}`
//!   walks through one that refuses what Python cannot walk: minijinja takes `none` for an empty list.
//! - Escapes of Python's strings that minijinja does not have become what they stand for.
//!
//! Everything else is copied, wrong templates included: minijinja says what is wrong with them.

mod calls;
mod tokens;

use self::calls::{modulo, statement};
use self::tokens::{Kind, Token, kind, token_length, unescape};

/// The function that Python's `%` becomes.
pub(super) const MODULO: &str = "__mod__";
/// The function that sees everything that is stored.
pub(super) const BOUNDED: &str = "__bounded__";
/// The function that sees everything that is walked.
pub(super) const ITERABLE: &str = "__iterable__";
/// Most tokens of one tag. Long chains of filters or slices would nest values deeply.
const MOST_TOKENS: usize = 4096;
/// Most brackets within each other.
const DEEPEST: usize = 24;

/// The template in minijinja's words.
///
/// # Errors
/// A tag that is longer or deeper than any template needs.
pub(super) fn rewrite(source: &str) -> Result<String, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = next_tag(rest) {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        rest = match tag.as_bytes().get(1) {
            Some(b'#') => {
                let end = tag.find("#}").map_or(tag.len(), |end| end + 2);
                out.push_str(&tag[..end]);
                &tag[end..]
            }
            Some(b'%') => match raw(tag, &mut out) {
                Some(after) => after,
                None => expression(tag, "%}", &mut out)?,
            },
            _ => expression(tag, "}}", &mut out)?,
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the first tag begins.
fn next_tag(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(1))
        .find(|&i| bytes[i] == b'{' && matches!(bytes[i + 1], b'{' | b'%' | b'#'))
}

/// The rest behind `{% name %}` if `text` begins with that, and whether its end has no sign.
fn basic_tag<'t>(text: &'t str, name: &str) -> Option<(&'t str, bool)> {
    let inside = text.strip_prefix("{%")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    let inside = inside.trim_start().strip_prefix(name)?.trim_start();
    match inside.strip_prefix("%}") {
        Some(rest) => Some((rest, true)),
        None => Some((inside.strip_prefix(['-', '+'])?.strip_prefix("%}")?, false)),
    }
}

/// Copies a raw block; the rest behind it, if there is one.
fn raw<'t>(tag: &'t str, out: &mut String) -> Option<&'t str> {
    let (inside, plain) = basic_tag(tag, "raw")?;
    let begin = tag.len() - inside.len();
    match plain {
        true => {
            out.push_str(&tag[..begin - 2]);
            out.push_str("+%}");
        }
        false => out.push_str(&tag[..begin]),
    }
    let ends = inside.match_indices("{%").map(|(at, _)| at);
    let end = ends.filter_map(|at| Some((at, basic_tag(&inside[at..], "endraw")?.0)));
    let after = end.map(|(_, after)| after).next().unwrap_or("");
    out.push_str(&inside[..inside.len() - after.len()]);
    Some(after)
}

/// Copies a tag with an expression, changed where it must be; the rest behind it.
fn expression<'t>(tag: &'t str, end: &str, out: &mut String) -> Result<&'t str, String> {
    let begin = 2 + usize::from(tag[2..].starts_with(['-', '+']));
    out.push_str(&tag[..begin]);
    let (mut tokens, behind) = tokens(&tag[begin..], end)?;
    let is_statement = end == "%}";
    if is_statement {
        statement(&mut tokens);
    }
    for token in modulo(tokens, is_statement) {
        out.push_str(&token.space);
        out.push_str(&token.text);
    }
    let closed = behind.trim_start();
    let rest = closing(closed, end).map_or("", |length| &closed[length..]);
    out.push_str(&behind[..behind.len() - rest.len()]);
    Ok(rest)
}

/// The tokens up to the end of a tag, and the text from there on, with the space before the end.
fn tokens<'t>(inside: &'t str, end: &str) -> Result<(Vec<Token>, &'t str), String> {
    let (mut tokens, mut open, mut rest) = (Vec::new(), Vec::new(), inside);
    loop {
        let trimmed = rest.trim_start();
        let Some(first) = trimmed.chars().next() else {
            return Ok((tokens, rest)); // the tag is not closed
        };
        // A brace of a dict is not the end of the tag.
        let in_dict = open.last() == Some(&b'{') && end == "}}";
        if !in_dict && closing(trimmed, end).is_some() {
            return Ok((tokens, rest));
        }
        let (text, behind) = trimmed.split_at(token_length(trimmed, first));
        let kind = kind(text, first);
        match kind {
            Kind::Open => open.extend(text.bytes()),
            Kind::Close => drop(open.pop()),
            _ => {}
        }
        if open.len() > DEEPEST || tokens.len() > MOST_TOKENS {
            return Err("has a tag that is too long or too deep".to_owned());
        }
        tokens.push(Token {
            kind,
            space: rest[..rest.len() - trimmed.len()].to_owned(),
            text: match first {
                '\'' | '"' => unescape(text),
                _ => text.to_owned(),
            },
        });
        rest = behind;
    }
}

/// Bytes of the end of a tag, if that is what `text` begins with.
fn closing(text: &str, end: &str) -> Option<usize> {
    let signs: &[char] = if end == "%}" { &['-', '+'] } else { &['-'] };
    let signed = text
        .strip_prefix(signs)
        .filter(|rest| rest.starts_with(end));
    match signed {
        Some(_) => Some(1 + end.len()),
        None => text.starts_with(end).then_some(end.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_becomes_a_call_with_both_sides() {
        for (template, expected) in [
            ("{{ a % b }}", "{{ __mod__(a, b) }}"),
            (
                "{{ '%s' % x | upper ~ 'y' }}",
                "{{ __mod__('%s', x | upper) ~ 'y' }}",
            ),
            (
                "{{ a + b * c % -d % e - f }}",
                "{{ a + __mod__(__mod__(b * c, -d), e) - f }}",
            ),
            (
                "{{ f(1, a % 2)[x % 3] }}",
                "{{ f(1, __mod__(a, 2))[__mod__(x, 3)] }}",
            ),
            (
                "{% if i % 2 == 0 and not j % 2 %}",
                "{% if __mod__(i, 2) == 0 and not __mod__(j, 2) %}",
            ),
            (
                "{% if x % 2 is not odd %}",
                "{% if __mod__(x, 2 is not odd) %}",
            ),
            ("{{ a if b % 2 else c }}", "{{ a if __mod__(b, 2) else c }}"),
            ("{% for x in y -%}", "{% for x in __iterable__(( y)) -%}"),
            (
                "{% for k, (a, b) in f('in')[1:] if k in x recursive %}",
                "{% for k, (a, b) in __iterable__(( f('in')[1:])) if k in x recursive %}",
            ),
            ("{% set x = a %}", "{% set x = __bounded__(( a)) %}"),
            (
                "{% set x = a % 2 %}",
                "{% set x = __bounded__(( __mod__(a, 2))) %}",
            ),
            (
                "{% set x, y = 1, 2 %}",
                "{% set x, y = __bounded__(( 1, 2)) %}",
            ),
            (
                "{{ '%' }} % {# a % b #} {% raw %}{{ a % b }}{% endraw %}",
                "{{ '%' }} % {# a % b #} {% raw +%}{{ a % b }}{% endraw %}",
            ),
        ] {
            assert_eq!(
                rewrite(template).expect("it fits").replace(" ,", ","),
                expected
            );
        }
    }

    #[test]
    fn anything_else_is_copied() {
        for template in [
            "{{ {'a': {'b': 1}}}} x",
            "{{- a.b[0] -}}\n",
            "{{ 1.5e-3 ~ 0x1f.b }}",
            "{{ 'a\\'}}' }}",
            "{{ open",
            "{% if",
            "{# open",
            "{",
            "{{",
            "{%",
            "a {% raw",
            "{% raw -%} {{ x",
            "{{ a ** 2 // 3 }}",
            "{% set x %}a{% endset %}",
            "{% set = %}",
            "{{ ) ] } }}",
            "{{ \u{1f30d} }}",
        ] {
            assert_eq!(rewrite(template).expect("it fits"), template);
        }
    }

    #[test]
    fn tags_without_bounds_are_refused() {
        let deep = format!("{{{{ {} }}}}", "[".repeat(100));
        assert!(rewrite(&deep).is_err());
        let long = format!("{{{{ x{} }}}}", "|f".repeat(10_000));
        assert!(rewrite(&long).is_err());
    }
}
