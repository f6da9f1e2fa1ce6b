//! Tokens that stand in messages are text.
//!
//! A rendered chat does not say which of its `<|im_end|>` the template wrote and which somebody typed. So the variables
//! are marked before they are rendered: in every occurrence of a control token one character becomes another one that
//! occurs nowhere, and where tokens are looked for it is still there. Characters are exchanged one for one, so a template
//! may trim, slice and measure what it is given.
//!
//! A template may also look for a token in a message, to take the thoughts out of an answer for instance. Then its text
//! is another one with marks than without; the marks that make the difference are found, and in answers of the assistant
//! they are left away: there the template has dealt with the token. Marks of special tokens in other messages stay.

use super::{ChatInput, ChatTemplate};
use crate::error::Result;
use crate::files::Tokenizer;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Characters for private use, of which texts hold few.
const PRIVATE: [std::ops::RangeInclusive<u32>; 2] = [0xe000..=0xf8ff, 0xf0000..=0xffffd];
/// Most renderings to find the marks that make a difference.
const MOST_TRIES: usize = 48;

/// The ids of a chat; see [`ChatTemplate::encode`].
pub(super) fn encode(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    input: &ChatInput,
) -> Result<Vec<u32>> {
    let tools = input.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    let control = tokenizer.control_words(template.source(tools));
    let variables = template.variables(input);
    let plain = template.render_variables(&variables, input)?;
    let trusted = template.specials.iter().map(|(name, _)| name.as_str());
    let trusted = trusted
        .filter(|name| !input.variables.contains_key(*name))
        .collect();
    let mut chat = Chat {
        template,
        input,
        variables: &variables,
        control: &control,
        trusted,
        marks: Marks::new(&variables, template.source(tools)),
    };
    let text = chat.marked(&plain)?;
    let back = chat.marks.back();
    tokenizer.encode_marked(&text, &|c| back.get(&c).copied().unwrap_or(c))
}

/// Characters and what stands for them.
struct Marks {
    marks: BTreeMap<char, char>,
    used: BTreeSet<char>,
}

impl Marks {
    /// Marks that neither the variables nor the template hold.
    fn new(variables: &Map<String, Value>, template: &str) -> Self {
        let private = |c: &char| PRIVATE.iter().any(|range| range.contains(&u32::from(*c)));
        let mut used: BTreeSet<char> = template.chars().filter(private).collect();
        for (name, value) in variables {
            used.extend(name.chars().filter(private));
            texts(value, &mut |text| used.extend(text.chars().filter(private)));
        }
        Self {
            marks: BTreeMap::new(),
            used,
        }
    }

    /// What stands for `c`.
    fn mark(&mut self, c: char) -> char {
        if let Some(&mark) = self.marks.get(&c) {
            return mark;
        }
        let all = PRIVATE.iter().cloned().flatten().filter_map(char::from_u32);
        let taken = |mark: &char| self.used.contains(mark);
        // There are more of them than characters in a text of the longest context.
        let mark = all
            .into_iter()
            .find(|mark| !taken(mark))
            .unwrap_or(char::REPLACEMENT_CHARACTER);
        self.used.insert(mark);
        self.marks.insert(c, mark);
        mark
    }

    /// What the marks stand for.
    fn back(&self) -> BTreeMap<char, char> {
        self.marks.iter().map(|(&c, &mark)| (mark, c)).collect()
    }
}

/// Calls `f` for all texts and keys of a value.
fn texts(value: &Value, f: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => f(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, f)),
        Value::Object(fields) => fields.iter().for_each(|(key, item)| {
            f(key);
            texts(item, f);
        }),
        _ => {}
    }
}

/// What a mark is for: a token by its number, or the beginning or end of one at the edge of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Token(usize),
    Edge,
}

/// A text of the variables, counted in their order, and a reason to mark it.
type Spot = (usize, Reason);

struct Chat<'a> {
    template: &'a ChatTemplate,
    input: &'a ChatInput,
    variables: &'a Map<String, Value>,
    /// Control tokens, and whether they are special.
    control: &'a [(String, bool)],
    /// Variables that are not marked.
    trusted: BTreeSet<&'a str>,
    marks: Marks,
}

/// A walk through the variables that marks them.
struct Walk<'w> {
    control: &'w [(String, bool)],
    marks: &'w mut Marks,
    /// Which marks are made.
    wanted: &'w dyn Fn(Spot) -> bool,
    text: usize,
    /// The spots with marks, and whether each is in a message of the assistant.
    spots: BTreeMap<Spot, bool>,
    in_answer: bool,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value, edges: bool) -> Value {
        match value {
            Value::String(text) => Value::String(self.string(text, edges)),
            Value::Array(items) => items.iter().map(|item| self.value(item, edges)).collect(),
            Value::Object(fields) => {
                let mut marked = Map::new();
                for (key, item) in fields {
                    let key = self.string(key, false);
                    // A template may make a token of a role, by brackets around it.
                    let item = self.value(item, edges && key != "role");
                    marked.insert(key, item);
                }
                Value::Object(marked)
            }
            other => other.clone(),
        }
    }

    fn note(&mut self, reason: Reason) -> bool {
        let spot = (self.text, reason);
        let wanted = (self.wanted)(spot);
        if wanted {
            self.spots.insert(spot, self.in_answer);
        }
        wanted
    }

    fn string(&mut self, text: &str, edges: bool) -> String {
        self.text += 1;
        let mut marked = text.to_owned();
        for (number, (token, _)) in self.control.iter().enumerate() {
            if !marked.contains(token.as_str()) || !self.note(Reason::Token(number)) {
                continue;
            }
            while let Some(at) = marked.find(token.as_str()) {
                let inner = token
                    .chars()
                    .nth(1)
                    .map_or(0, |_| token.chars().next().map_or(0, char::len_utf8));
                self.exchange(&mut marked, at + inner);
            }
        }
        if edges {
            self.edges(&mut marked);
        }
        marked
    }

    /// Marks what another text could make a token of: the beginning of one at the end, the end of one at the beginning.
    fn edges(&mut self, text: &mut String) {
        let ends = |text: &str, token: &str| {
            token
                .char_indices()
                .skip(1)
                .any(|(at, _)| text.ends_with(&token[..at]))
        };
        let begins = |text: &str, token: &str| {
            token
                .char_indices()
                .skip(1)
                .any(|(at, _)| text.starts_with(&token[at..]))
        };
        let any = |text: &str, is: &dyn Fn(&str, &str) -> bool| {
            self.control.iter().any(|(token, _)| is(text, token))
        };
        let end = text.trim_end();
        let last = end.char_indices().next_back().map(|(at, _)| at);
        let last = last.filter(|_| any(end, &ends));
        let start = text.trim_start();
        let first = (!start.is_empty() && any(start, &begins)).then_some(text.len() - start.len());
        if (last.is_some() || first.is_some()) && self.note(Reason::Edge) {
            // From behind, because a mark may be longer than what it stands for.
            last.into_iter().for_each(|at| self.exchange(text, at));
            first
                .filter(|first| last != Some(*first))
                .into_iter()
                .for_each(|at| self.exchange(text, at));
        }
    }

    fn exchange(&mut self, text: &mut String, at: usize) {
        if let Some(c) = text[at..].chars().next() {
            let mark = self.marks.mark(c);
            text.replace_range(at..at + c.len_utf8(), mark.encode_utf8(&mut [0; 4]));
        }
    }
}

impl Chat<'_> {
    /// The variables with the wanted marks, and where those are.
    fn mark(
        &mut self,
        wanted: &dyn Fn(Spot) -> bool,
    ) -> (Map<String, Value>, BTreeMap<Spot, bool>) {
        let mut walk = Walk {
            control: self.control,
            marks: &mut self.marks,
            wanted,
            text: 0,
            spots: BTreeMap::new(),
            in_answer: false,
        };
        let mut marked = Map::new();
        for (name, value) in self.variables {
            let value = match value {
                value if self.trusted.contains(name.as_str()) => value.clone(),
                Value::Array(messages) if name == "messages" => {
                    let one = |message: &Value| {
                        walk.in_answer =
                            message.get("role").and_then(Value::as_str) == Some("assistant");
                        walk.value(message, true)
                    };
                    messages.iter().map(one).collect()
                }
                value => {
                    walk.in_answer = false;
                    walk.value(value, true)
                }
            };
            marked.insert(name.clone(), value);
        }
        (marked, walk.spots)
    }

    /// The text for marked variables; `None` where the template refuses them.
    fn render(&self, marked: &Map<String, Value>) -> Option<String> {
        let mut text = self.template.render_variables(marked, self.input).ok()?;
        // JSON in ASCII has written them as escapes.
        for &mark in self.marks.marks.values() {
            let escape = mark
                .encode_utf16(&mut [0; 2])
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect::<String>();
            if text.contains(&escape) {
                text = text.replace(&escape, mark.encode_utf8(&mut [0; 4]));
            }
        }
        Some(text)
    }

    fn without_marks(&self, text: &str) -> String {
        let back = self.marks.back();
        text.chars()
            .map(|c| back.get(&c).copied().unwrap_or(c))
            .collect()
    }

    /// The marked text, if the marks make no difference to it.
    fn same(&mut self, plain: &str, wanted: &dyn Fn(Spot) -> bool) -> Option<String> {
        let (marked, _) = self.mark(wanted);
        let text = self.render(&marked)?;
        (self.without_marks(&text) == plain).then_some(text)
    }

    /// The text whose only unmarked control tokens are those of the template. `plain` is the text without marks.
    fn marked(&mut self, plain: &str) -> Result<String> {
        let (marked, spots) = self.mark(&|_| true);
        if spots.is_empty() {
            return Ok(plain.to_owned());
        }
        if let Some(text) = self
            .render(&marked)
            .filter(|text| self.without_marks(text) == plain)
        {
            return Ok(text);
        }
        let dropped = self.disturbing(plain, &spots);
        let (marked, _) = self.mark(&|spot| !dropped.contains(&spot));
        self.template.render_variables(&marked, self.input)?; // a refusal is the template's own word
        Ok(self.render(&marked).unwrap_or_default())
    }

    /// The marks that must go: they make a difference, and the template has seen to the token.
    fn disturbing(&mut self, plain: &str, spots: &BTreeMap<Spot, bool>) -> BTreeSet<Spot> {
        let mut dropped = BTreeSet::new();
        let reasons: BTreeSet<Reason> = spots.keys().map(|(_, reason)| *reason).collect();
        let mut tries = MOST_TRIES;
        let mut neutral = |chat: &mut Self, wanted: &dyn Fn(Spot) -> bool| {
            tries = tries.saturating_sub(1);
            tries > 0 && chat.same(plain, wanted).is_some()
        };
        for reason in reasons {
            if neutral(self, &|(_, other)| other == reason) {
                continue;
            }
            for (&spot, &in_answer) in spots.iter().filter(|(spot, _)| spot.1 == reason) {
                let special = match reason {
                    Reason::Token(number) => self
                        .control
                        .get(number)
                        .is_some_and(|(_, special)| *special),
                    Reason::Edge => false,
                };
                if (in_answer || !special) && !neutral(self, &|other| other == spot) {
                    dropped.insert(spot);
                }
            }
        }
        dropped
    }
}
