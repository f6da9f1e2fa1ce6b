//! Formats: safetensors, Hugging Face folders, the packed format, tokenizers. Bytes in, bytes out; no devices.
