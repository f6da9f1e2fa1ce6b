//! What a chat looks like to a model that brings no template: the tokens of its vocabulary tell.

use crate::files::Tokenizer;

/// A usual form of chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `<|im_start|>user … <|im_end|>`
    ChatMl,
    /// `<|start_header_id|>user<|end_header_id|> … <|eot_id|>`
    Llama3,
    /// `<start_of_turn>user … <end_of_turn>`
    Gemma,
    /// `<|user|> … <|end|>`
    Phi,
    /// `<|user|> …` and the end token
    Zephyr,
    /// `[INST] … [/INST]`
    Llama2,
    /// `User: … Assistant:`, where no token speaks of chats
    Plain,
}

/// Families with the tokens that all must be there; the first that fits is taken.
const FAMILIES: [(Family, &[&str]); 7] = [
    (Family::ChatMl, &["<|im_start|>", "<|im_end|>"]),
    (
        Family::Llama3,
        &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    (Family::Gemma, &["<start_of_turn>", "<end_of_turn>"]),
    (Family::Phi, &["<|user|>", "<|assistant|>", "<|end|>"]),
    (Family::Zephyr, &["<|user|>", "<|assistant|>"]),
    (Family::Llama2, &["[INST]", "[/INST]"]),
    (Family::Plain, &[]),
];

/// The text of a message, whose content may be a list of parts.
const CONTENT: &str = "\
{%- macro text(content) -%}
    {%- if content is string -%}{{ content }}
    {%- elif content is iterable -%}{%- for part in content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
";

impl Family {
    /// The family that a vocabulary is made for.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let known = |tokens: &[&str]| tokens.iter().all(|token| tokenizer.id(token).is_some());
        let found = FAMILIES.iter().find(|(_, tokens)| known(tokens));
        found.map_or(Self::Plain, |(family, _)| *family)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChatMl => "ChatML",
            Self::Llama3 => "Llama 3",
            Self::Gemma => "Gemma",
            Self::Phi => "Phi",
            Self::Zephyr => "Zephyr",
            Self::Llama2 => "Llama 2",
            Self::Plain => "plain (User: … Assistant: …)",
        }
    }

    /// Strings that end an answer where no token does.
    pub fn stops(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["\nUser:", "\nSystem:"],
            _ => &[],
        }
    }

    /// Its template.
    pub(super) fn template(self) -> String {
        let body = match self {
            Self::ChatMl => {
                "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\\n' }}{{ text(m.content) }}{{ '<|im_end|>\\n' }}{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
            }
            Self::Llama3 => {
                "{{- bos_token -}}
{%- for m in messages -%}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}{{ text(m.content) | trim }}{{ '<|eot_id|>' }}{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}"
            }
            Self::Gemma => {
                "{{- bos_token -}}{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
    {%- if m.role == 'system' -%}{%- set ns.system = text(m.content) + '\\n\\n' -%}
    {%- else -%}
        {{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + ns.system -}}{%- set ns.system = '' -%}
        {{- text(m.content) | trim }}{{ '<end_of_turn>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
            }
            Self::Phi => {
                "{%- for m in messages -%}{{ '<|' + m.role + '|>\\n' }}{{ text(m.content) }}{{ '<|end|>\\n' }}{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}"
            }
            Self::Zephyr => {
                "{%- for m in messages -%}{{ '<|' + m.role + '|>\\n' }}{{ text(m.content) }}{{ eos_token + '\\n' }}{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}"
            }
            Self::Llama2 => {
                "{{- bos_token -}}{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
    {%- if m.role == 'system' -%}{%- set ns.system = '<<SYS>>\\n' + text(m.content) + '\\n<</SYS>>\\n\\n' -%}
    {%- elif m.role == 'assistant' -%}{{- ' ' + text(m.content) | trim + eos_token -}}
    {%- else -%}{{- '[INST] ' + ns.system + text(m.content) | trim + ' [/INST]' -}}{%- set ns.system = '' -%}
    {%- endif -%}
{%- endfor -%}"
            }
            Self::Plain => {
                "{{- bos_token -}}
{%- for m in messages -%}{{ m.role | capitalize + ': ' + text(m.content) | trim + '\\n' }}{%- endfor -%}
{%- if add_generation_prompt -%}Assistant:{%- endif -%}"
            }
        };
        format!("{CONTENT}{body}")
    }
}
