//! Operators and statements that become calls.

use super::tokens::{Kind, Token};
use super::{BOUNDED, ITERABLE, MODULO};

fn made(kind: Kind, text: &str) -> Token {
    let text = text.to_owned();
    Token {
        kind,
        space: String::new(),
        text,
    }
}

/// Makes the tokens from `begin` to `end` the argument of a function.
fn wrap(tokens: &mut Vec<Token>, function: &str, begin: usize, end: usize) {
    let mut name = made(Kind::Operand, function);
    name.space = " ".to_owned();
    let close = || made(Kind::Close, ")");
    tokens.splice(end..end, [close(), close()]);
    tokens.splice(
        begin..begin,
        [name, made(Kind::Open, "("), made(Kind::Open, "(")],
    );
}

/// The places of tokens that are in no brackets.
fn outside(tokens: &[Token]) -> Vec<usize> {
    let mut depth = 0_usize;
    let mut places = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ if depth == 0 => places.push(at),
            _ => {}
        }
    }
    places
}

/// Changes the tokens of a statement.
pub(super) fn statement(tokens: &mut Vec<Token>) {
    let Some(name) = tokens.first_mut() else {
        return;
    };
    match name.text.as_str() {
        "generation" => name.text = "with".to_owned(),
        "endgeneration" => name.text = "endwith".to_owned(),
        "set" => {
            let Some(equals) = tokens.iter().position(|token| token.text == "=") else {
                return;
            };
            if equals + 1 == tokens.len() {
                return;
            }
            wrap(tokens, BOUNDED, equals + 1, tokens.len());
        }
        "for" => {
            let outside = outside(tokens);
            let Some(begin) = outside
                .iter()
                .position(|&at| tokens[at].text == "in")
                .map(|at| outside[at] + 1)
            else {
                return;
            };
            let ends = |&&at: &&usize| {
                at > begin
                    && (tokens[at].text == "if"
                        || (tokens[at].text == "recursive" && at + 1 == tokens.len()))
            };
            let end = outside.iter().find(ends).map_or(tokens.len(), |&at| at);
            if begin < end {
                wrap(tokens, ITERABLE, begin, end);
            }
        }
        _ => {}
    }
}

/// The tokens with calls instead of `%`.
pub(super) fn modulo(tokens: Vec<Token>, is_statement: bool) -> Vec<Token> {
    if !tokens.iter().any(|token| token.text == "%") {
        return tokens;
    }
    let first = Level {
        chain: usize::from(is_statement),
        call: false,
    };
    let mut calls = Calls {
        out: Vec::with_capacity(tokens.len() + 8),
        levels: vec![first],
        is_statement,
    };
    for token in tokens {
        calls.push(token);
    }
    calls.close();
    calls.out
}

/// A pair of brackets, or all of a tag.
struct Level {
    /// Where the operands of `*`, `/`, `//` and `%` begin, of which the last one is being read.
    chain: usize,
    /// Whether that one is the right side of a `%` that became a call.
    call: bool,
}

struct Calls {
    out: Vec<Token>,
    /// The outermost one first.
    levels: Vec<Level>,
    is_statement: bool,
}

impl Calls {
    fn push(&mut self, token: Token) {
        let joins = self.joins(&token);
        let ends = self.ends(&token, joins);
        if ends || joins {
            self.close();
        }
        match token.kind {
            Kind::Close => {
                self.out.push(token);
                if self.levels.len() > 1 {
                    self.levels.pop();
                }
            }
            Kind::Open => {
                self.out.push(token);
                let chain = self.out.len();
                self.levels.push(Level { chain, call: false });
            }
            _ if joins && token.text == "%" => self.call(),
            _ => {
                self.out.push(token);
                let chain = self.out.len();
                if let Some(level) = self.levels.last_mut().filter(|_| ends) {
                    level.chain = chain;
                }
            }
        }
    }

    /// Whether the last token may be the end of an operand.
    fn after_operand(&self) -> bool {
        let named = self.is_statement && self.out.len() == 1; // the name of the statement
        let last = self.out.last().filter(|_| !named);
        last.is_some_and(|last| matches!(last.kind, Kind::Operand | Kind::Close))
    }

    /// Whether a token is an operator that goes on with the operands before it.
    fn joins(&self, token: &Token) -> bool {
        let operator = matches!(token.text.as_str(), "*" | "/" | "//" | "%");
        operator && self.after_operand()
    }

    /// Whether the operands before a token end with it.
    fn ends(&self, token: &Token, joins: bool) -> bool {
        match token.kind {
            Kind::Close => true,
            Kind::Keyword => {
                let in_test = self.out.last().is_some_and(|last| last.text == "is");
                token.text != "is" && !in_test
            }
            Kind::Other if joins || matches!(token.text.as_str(), "." | "|" | "**") => false,
            Kind::Other => self.after_operand() || !matches!(token.text.as_str(), "-" | "+"),
            Kind::Operand | Kind::Open => false,
        }
    }

    /// Makes the operands so far the first argument of a call.
    fn call(&mut self) {
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        level.call = true;
        let at = level.chain.min(self.out.len());
        let mut name = made(Kind::Operand, MODULO);
        if let Some(first) = self.out.get_mut(at) {
            name.space = std::mem::take(&mut first.space);
        }
        self.out.splice(at..at, [name, made(Kind::Open, "(")]);
        self.out.push(made(Kind::Other, ","));
    }

    /// Ends the call whose second argument is being read.
    fn close(&mut self) {
        let call = self.levels.last_mut().map(|level| &mut level.call);
        if call.is_some_and(std::mem::take) {
            self.out.push(made(Kind::Close, ")"));
        }
    }
}
